"""A causal language model in this process: prompts as its tokens, batched generation, exact log-probabilities of completions.

Below the sources that ask it and the students that train it, so that both read a prompt alike. Everything is padded on the left: the
completions of a batch then end in the same column, and only their columns go through the wide output layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.encoders import import_torch, quiet
from steelyard.errors import DataError

if TYPE_CHECKING:
    import torch


class Generated(NamedTuple):
    """One drawn text: its tokens without the end token, whether the end token came, and log p of all drawn tokens at temperature 1."""

    tokens: list[int]
    finished: bool
    logprob: float


def load_causal_lm(source: str, **options: Any) -> tuple[Any, Any]:
    """Return (model, tokenizer) from a hub name or folder; `options` go to `AutoModelForCausalLM.from_pretrained`.

    Raises
    ------
    DataError
        The model cannot be loaded.
    """
    _, transformers = import_torch()
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            network = transformers.AutoModelForCausalLM.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise DataError(f"language model '{source}' cannot be loaded ({reason}); check the name or folder") from None
    return network, tokenizer


def render_prompt(tokenizer: Any, prompt: str, system: str | None = None) -> str:
    """What the model reads before it answers: the chat template's user turn and the opening of its answer, or the plain text.

    Examples
    --------
    >>> class Plain:
    ...     chat_template = None
    >>> render_prompt(Plain(), "1+1=", system="Be brief.")
    'Be brief.\\n\\n1+1='
    """
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    return f"{system}\n\n{prompt}" if system else prompt


def context_tokens(network: Any, tokenizer: Any, rendered: Sequence[str]) -> list[list[int]]:
    """Return the tokens of rendered prompts, at least one each; a template has written its special tokens itself."""
    if not rendered:
        return []
    templated = bool(getattr(tokenizer, "chat_template", None))
    rows = tokenizer(list(rendered), add_special_tokens=not templated, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    if not templated:
        # A tokenizer that ends every text would have the model answer after the end.
        rows = [row[:-1] if len(row) > 1 and row[-1] == end else row for row in rows]
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else network.config.eos_token_id
    return [list(row) or [0 if start is None else int(start)] for row in rows]


def end_tokens(network: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text: the tokenizer's and those of the model's generation settings.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> end_tokens(Some(generation_config=Some(eos_token_id=[2, 7])), Some(eos_token_id=2))
    [2, 7]
    """
    known = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    listed = known if isinstance(known, list) else [known]
    return list(dict.fromkeys(token for token in [tokenizer.eos_token_id, *listed] if token is not None))


def generate(
    network: Any,
    tokenizer: Any,
    contexts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: Sequence[int] | None = None,
    batch_size: int = 32,
) -> list[Generated]:
    """Draw one text after each of n contexts, in batches of similar length.

    Parameters
    ----------
    contexts
        n rows of tokens, none empty.
    max_new_tokens
        Length at which a text is stopped.
    temperature
        Divides the logits; 0 takes the most probable token.
    top_p
        Share in (0, 1] of the probability, most probable tokens first, that may be drawn from (Holtzman et al. 2020, "The curious case
        of neural text degeneration").
    seeds
        (n,) one seed per text, so that a draw depends on neither its batch nor its place in it; not looked at for temperature 0.
    """
    torch, transformers = import_torch()
    pad = padding_token(tokenizer)
    ends = end_tokens(network, tokenizer)
    settings = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, repetition_penalty=1.0, pad_token_id=pad, eos_token_id=ends or None
    )
    drawn: list[Generated | None] = [None] * len(contexts)
    order = sorted(range(len(contexts)), key=lambda row: -len(contexts[row]))
    training = network.training
    network.eval()
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        ids, mask = pad_left([contexts[row] for row in part], pad, device_of(network))
        draw = _Draw(temperature, top_p, None if seeds is None else [seeds[row] for row in part])
        with torch.no_grad():
            grown = network.generate(input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=[draw])
        steps = torch.stack(draw.logprobs, dim=1).cpu().numpy()  # (b, t)
        for row, tokens, logprobs in zip(part, grown[:, ids.shape[1] :].tolist(), steps, strict=True):
            length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
            drawn[row] = Generated(tokens[:length], length < len(tokens), float(logprobs[: length + 1].sum()))
    network.train(training)
    return [text for text in drawn if text is not None]


def completion_log_probabilities(network: Any, ids: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return (b,) log p of the last `lengths` tokens of each row given those before, with gradients.

    Parameters
    ----------
    ids, mask
        (b, t) tokens padded on the left, and 1 where there is a token.
    lengths
        (b,) number of completion tokens at the end of each row, from 1 to its tokens less one.
    """
    torch, _ = import_torch()
    widest = int(lengths.max())
    accepted = _forward_parameters(network)
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in accepted else {}
    if "position_ids" in accepted:
        options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:  # the vocabulary is wide: not for every token
        options["logits_to_keep"] = widest + 1
    logits = network(input_ids=ids, attention_mask=mask, **options).logits[:, -widest - 1 :]  # (b, widest + 1, vocabulary)
    # The next token of each column, and nothing before a completion or after its last token.
    columns = torch.arange(widest + 1, device=ids.device)
    learned = (columns >= widest - lengths[:, None]) & (columns < widest)
    nexts = ids[:, -widest - 1 :].roll(-1, dims=1).masked_fill(~learned, -100)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), nexts.flatten(), ignore_index=-100, reduction="none")
    return -losses.view_as(nexts).sum(1)


def pad_left(rows: Sequence[Any], pad: int, device: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, (b, longest) int64, of b rows of tokens (lists or arrays) that end in the last column.

    Examples
    --------
    >>> ids, mask = pad_left([[7, 8], [9]], pad=0)
    >>> ids.tolist(), mask.tolist()
    ([[7, 8], [0, 9]], [[1, 1], [0, 1]])
    """
    torch, _ = import_torch()
    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    mask = np.arange(longest) >= longest - lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask.astype(np.int64)).to(device)


def padding_token(tokenizer: Any) -> int:
    """Return a token to pad with: the tokenizer's, else its end token, else 0; the mask hides it anyway.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> padding_token(Some(pad_token_id=None, eos_token_id=3))
    3
    """
    known = (token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None)
    return int(next(known, 0))


def device_of(network: Any) -> Any:
    """The device the model's weights lie on."""
    return next(iter(network.parameters())).device


def _forward_parameters(network: Any) -> frozenset[str]:
    inner = getattr(network, "module", network)  # as wrapped for several devices
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return frozenset(inspect.signature(inner.forward).parameters)


class _Draw:
    """A logits processor after which the greedy choice is a draw: the Gumbel-max trick (Maddison et al. 2014, "A* sampling").

    With noise from a generator per row, a text depends on its own seed and context alone.
    """

    def __init__(self, temperature: float, top_p: float, seeds: Sequence[int] | None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.seeds = seeds
        self.generators: list[Any] = []
        self.logprobs: list[Any] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        plain = scores.float().log_softmax(-1)  # (b, vocabulary)
        keys = plain if self.temperature == 0 else self._noisy((plain / self.temperature).log_softmax(-1))
        self.logprobs.append(plain.gather(1, keys.argmax(-1, keepdim=True))[:, 0])
        return keys

    def _noisy(self, logp: torch.Tensor) -> torch.Tensor:
        torch, _ = import_torch()
        if not self.generators:
            seeds = self.seeds if self.seeds is not None else range(len(logp))
            self.generators = [torch.Generator(logp.device).manual_seed(int(seed)) for seed in seeds]
        if self.top_p < 1:
            ordered, places = logp.sort(descending=True, dim=-1)
            before = ordered.exp().cumsum(-1) - ordered.exp()
            logp = logp.scatter(1, places, ordered.masked_fill(before >= self.top_p, float("-inf")))
        waits = torch.stack([torch.empty_like(logp[0]).exponential_(generator=generator) for generator in self.generators])
        return logp - waits.log()  # -log of an exponential is a standard Gumbel variable
