"""A causal language model in this process as a backend: it scores the labels exactly, or generates an answer to be read.

Scoring compares log p(label | prompt), summed over the label's tokens: the "rank classification" of Brown et al. 2020, "Language Models
are Few-Shot Learners".
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Generator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steelyard.causal_lm import context_tokens, generate, load_causal_lm, render_prompt
from steelyard.errors import SourceError
from steelyard.sources.prompt_backends import Answer, BackendError, Request


class LocalCausalLM:
    """A Hugging Face causal language model that answers prompts.

    Chat models get their own chat template; others get the system message and the prompt as plain text.

    Parameters
    ----------
    model
        Hub name or folder, or a loaded `(model, tokenizer)`.
    mode
        `"score"`: log-probability of every choice, one forward pass per prompt when choices are single tokens. `"generate"`: greedy text.
    batch_size
        Sequences per forward pass.
    max_tokens
        Length of a generated answer.
    device
        By default CUDA where there is some; a loaded model stays where it is.

    Raises
    ------
    DataError
        The model cannot be loaded.
    """

    prices = (0.0, 0.0)

    def __init__(
        self,
        model: str | tuple[Any, Any],
        *,
        mode: Literal["score", "generate"] = "score",
        batch_size: int = 16,
        max_tokens: int = 16,
        device: str | None = None,
    ) -> None:
        if mode not in ("score", "generate"):
            raise SourceError(f"backend: mode '{mode}' is unknown; use 'score' or 'generate'")
        self.name = model if isinstance(model, str) else type(model[0]).__name__
        self.mode = mode
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.device = device
        self._loaded: tuple[Any, Any] | None = None if isinstance(model, str) else (model[0].eval(), model[1])
        self._given = not isinstance(model, str)
        self._weights: str | None = None

    @property
    def identity(self) -> str:
        """The weights' fingerprint and how they are asked."""
        from steelyard.encoders import fingerprint

        if self._weights is None:
            self._weights = _weights_digest(*self._load()) if self._given else fingerprint(self.name)
        return f"local {self._weights} {self.mode}" + (f" {self.max_tokens}" if self.mode == "generate" else "")

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Answer | BackendError], None, None]:
        """Answer in batches of similar length."""
        contexts = self._contexts(requests)
        limit = getattr(self._load()[0].config, "max_position_embeddings", None)
        fitting = []
        for index in sorted(range(len(requests)), key=lambda index: len(contexts[index])):
            needed = len(contexts[index]) + (self.max_tokens if self.mode == "generate" else 1)
            if limit is not None and needed > limit:
                yield index, BackendError(f"the prompt needs {needed} tokens, the model reads {limit}; shorten it")
            else:
                fitting.append(index)
        for start in range(0, len(fitting), self.batch_size):
            part = fitting[start : start + self.batch_size]
            if self.mode == "generate":
                answers = self._generate([contexts[index] for index in part])
            else:
                answers = self._score([contexts[index] for index in part], [requests[index].choices for index in part])
            yield from zip(part, answers, strict=True)

    def __repr__(self) -> str:
        return f"LocalCausalLM({self.name!r}, mode={self.mode!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._given else {**self.__dict__, "_loaded": None}

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from steelyard.encoders import import_torch

            torch, _ = import_torch()
            network, tokenizer = load_causal_lm(self.name)
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = network.to(device).eval(), tokenizer
        return self._loaded

    def _contexts(self, requests: Sequence[Request]) -> list[list[int]]:
        network, tokenizer = self._load()
        rendered = [render_prompt(tokenizer, request.prompt, request.system) for request in requests]
        if not getattr(tokenizer, "chat_template", None):
            # A trailing space would be a token of its own, after which no word begins naturally.
            rendered = [text.rstrip(" ") for text in rendered]
        return context_tokens(network, tokenizer, rendered)

    def _continuation(self, choice: str) -> tuple[int, ...]:
        tokenizer = self._load()[1]
        lead = "" if getattr(tokenizer, "chat_template", None) else " "
        tokens = tuple(tokenizer(lead + choice, add_special_tokens=False)["input_ids"])
        if not tokens:
            raise SourceError(f"backend: the label '{choice}' has no token in the vocabulary of {self.name}")
        return tokens

    def _score(self, contexts: list[list[int]], choices: list[tuple[str, ...]]) -> list[Answer]:
        words = {word: self._continuation(word) for words in choices for word in words}
        # The last token of a choice is never fed, so that single-token choices share the one pass over their prompt.
        sequences = {(*context, *words[word][:-1]): None for context, own in zip(contexts, choices, strict=True) for word in own}
        logprobs: dict[tuple[int, ...], NDArray[np.float32]] = {}
        ordered = sorted(sequences, key=len)
        tail = max(len(tokens) for tokens in words.values())
        for start in range(0, len(ordered), self.batch_size):
            batch = ordered[start : start + self.batch_size]
            logprobs.update(zip(batch, self._last_logprobs(batch, tail), strict=True))
        answers = []
        for context, own in zip(contexts, choices, strict=True):
            scores = []
            for word in own:
                tokens = words[word]
                rows = logprobs[(*context, *tokens[:-1])][-len(tokens) :]  # (t, vocabulary), one row before each token
                scores.append(float(rows[np.arange(len(tokens)), list(tokens)].sum()))
            answers.append(Answer(own[int(np.argmax(scores))], tuple(scores), prompt_tokens=len(context)))
        return answers

    def _last_logprobs(self, sequences: list[tuple[int, ...]], tail: int) -> list[NDArray[np.float32]]:
        """Log-probabilities of the next token after each of the last `tail` tokens of every sequence."""
        import torch

        network, tokenizer = self._load()
        longest = max(map(len, sequences))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        device = next(network.parameters()).device
        ids = torch.tensor([[*sequence, *[pad] * (longest - len(sequence))] for sequence in sequences], device=device)
        mask = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences], device=device)
        first = max(0, min(map(len, sequences)) - tail)
        options = {}
        if "logits_to_keep" in inspect.signature(network.forward).parameters:
            options["logits_to_keep"] = torch.arange(first, longest, device=device)  # the vocabulary is wide: not for every token
        with torch.inference_mode():
            logits = network(input_ids=ids, attention_mask=mask, **options).logits
            if not options:
                logits = logits[:, first:]
            table = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return [row[max(0, len(sequence) - tail - first) : len(sequence) - first] for row, sequence in zip(table, sequences, strict=True)]

    def _generate(self, contexts: list[list[int]]) -> list[Answer]:
        network, tokenizer = self._load()
        drawn = generate(network, tokenizer, contexts, max_new_tokens=self.max_tokens, batch_size=self.batch_size)
        texts = (tokenizer.decode(text.tokens, skip_special_tokens=True) for text in drawn)
        return [Answer(text, None, len(context), len(one.tokens)) for text, context, one in zip(texts, contexts, drawn, strict=True)]


def _weights_digest(network: Any, tokenizer: Any) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().float().contiguous().numpy().tobytes())
    digest.update(repr(sorted(tokenizer.get_vocab().items())).encode())
    return digest.hexdigest()
