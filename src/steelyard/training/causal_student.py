"""A Hugging Face causal language model as a `Policy`: fine-tuned on completions, sampled in batches, trained by preferences.

Fine-tuning runs on `transformers.Trainer`; preference training on the loop of `preference`, or on TRL's trainers where asked. The prompt
is masked, the reasoning is not, and nothing is ever cut off the end (the failures listed in replications of weak-to-strong reasoning).
"""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import AutoModelForCausalLM, set_seed

from steelyard.causal_lm import (
    completion_log_probabilities,
    context_tokens,
    device_of,
    generate,
    load_causal_lm,
    pad_left,
    padding_token,
    render_prompt,
)
from steelyard.completions import Completions
from steelyard.encoders import fingerprint, quiet
from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.storage import config_hash, read_json, write_json
from steelyard.training.base import DESCRIPTION
from steelyard.training.causal_trainer import fine_tune
from steelyard.training.causal_trl import fine_tune_through_trl, prefer_through_trl
from steelyard.training.completion_rows import CompletionRows, Overlong, Rendering, completion_rows, row_weights
from steelyard.training.fine_tuning import add_lora, load_model, model_digest, run_in_folder, save_model
from steelyard.training.objective_trainer import Schedule
from steelyard.training.policy import LogProbabilities, Method, Policy
from steelyard.training.preference_losses import BETAS
from steelyard.training.token_rows import batches_by_length, context_length

Through = Literal["steelyard", "trl"]

_LEARNING_RATES = {"full": 2e-5, "lora": 1e-4}


class CausalStudent(Policy):
    """A causal language model that is sampled, scored and trained.

    Parameters
    ----------
    model
        Hub name, local folder, or a pair (model, tokenizer), which is copied, not changed.
    tune
        `"full"`: all weights. `"lora"`: low-rank updates of all linear layers, merged into the weights at the end.
    epochs, batch_size, learning_rate, warmup, weight_decay
        AdamW with a linear schedule, for `fit`; `learning_rate` is 2e-5 for `"full"` and 1e-4 for `"lora"` when left out.
    seed
        Decides adapters, the order of the rows and dropout: the same seed gives the same weights on the same machine.
    max_length
        Most tokens of prompt and text together; by default what the model can take.
    overlong
        A longer training row: `"raise"`, `"drop"` (counted in `dropped_`, with a warning) or `"cut_prompt"` (from the left). Never its end.
    rendering
        `"raw"`: user turn, text as it is, end token. `"template"`: the chat template writes the answer's turn, refused where it drops text.
    max_new_tokens, top_p
        Length limit of a drawn text, and the share of the probability, most probable tokens first, that is drawn from.
    lora_rank
        Rank of the updates.
    output_dir
        Run folder of `fit`: checkpoints while training, the model at the end. `fit` on the same data goes on after a kill, to the same
        weights, and reads a finished run instead of repeating it. `None` keeps nothing on disk.
    checkpoint_steps
        Optimiser steps between two checkpoints.
    progress
        Draw a bar; by default on a terminal.
    arguments
        Further `transformers.TrainingArguments`, such as `{"bf16": True, "gradient_accumulation_steps": 4}`.

    Attributes
    ----------
    model_, tokenizer_
        The model as it is now: pretrained before any `fit`.
    history_
        Loss and learning rate by step of the last `fit`.
    dropped_
        Training rows of the last `fit` that were too long.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> student = CausalStudent(tiny_lm(["2+2=4"] * 40, size="nano", steps=5), epochs=20, learning_rate=1e-2, max_new_tokens=8)
    >>> student = student.fit(Completions(["ab>", "cd>"] * 8, ["ba", "dc"] * 8))
    >>> student.sample(["cd>"], temperature=0).texts
    ('dc',)
    """

    def __init__(
        self,
        model: Any,
        *,
        tune: Literal["full", "lora"] = "full",
        epochs: float = 3,
        batch_size: int = 32,
        learning_rate: float | None = None,
        warmup: float = 0.1,
        weight_decay: float = 0.0,
        seed: int = 0,
        max_length: int | None = None,
        overlong: Overlong = "raise",
        rendering: Rendering = "raw",
        max_new_tokens: int = 256,
        top_p: float = 1.0,
        lora_rank: int = 16,
        output_dir: str | os.PathLike[str] | None = None,
        checkpoint_steps: int = 500,
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.tune = tune
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.seed = seed
        self.max_length = max_length
        self.overlong = overlong
        self.rendering = rendering
        self.max_new_tokens = max_new_tokens
        self.top_p = top_p
        self.lora_rank = lora_rank
        self.output_dir = output_dir
        self.checkpoint_steps = checkpoint_steps
        self.progress = progress
        self.arguments = arguments

    def fit(self, completions: Completions, weights: ArrayLike | None = None, *, through: Through = "steelyard") -> Self:
        """Fine-tune from the pretrained weights; see `Policy.fit`.

        `through="trl"` trains with TRL's `SFTTrainer`, whose loss is a mean over tokens, not over texts, and takes no weights.

        Raises
        ------
        ConfigError
            Weights that differ, which TRL cannot take.
        TrainingError
            Nothing to learn from, a row that is too long, a template that drops text, an `output_dir` that holds another run, divergence.
        """
        schedule = self._schedule(self.learning_rate)
        scaled = row_weights(weights, len(completions))
        if through not in get_args(Through) or (through == "trl" and (scaled != 1).any()):
            raise ConfigError(f"fit: through={through!r}; use 'steelyard', or 'trl' without weights, which TRL's SFTTrainer cannot take")
        train = partial(self._fine_tune, completions, scaled, schedule, through)
        if self.output_dir is None:
            train(None)
            return self
        folder = Path(self.output_dir)
        if run_in_folder(folder, self._run_name(completions, scaled, through), train, self.save):
            finished = type(self).load(folder)
            self.__dict__.update({name: value for name, value in vars(finished).items() if name.endswith("_")})
        return self

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Write n texts per prompt; see `Policy.sample`. A draw depends on the numbers of its prompt and its own, not on its batch.

        For vLLM, `save` the model, serve it, and draw with `steelyard.language.served_writer.ServedWriter`.

        Raises
        ------
        TrainingError
            A prompt leaves no room for `max_new_tokens`.
        """
        if n < 1 or temperature < 0:
            raise ConfigError(f"sample: n is {n} and temperature {temperature}; n must be at least 1, temperature not negative")
        network, tokenizer = self._network()
        contexts = context_tokens(network, tokenizer, [render_prompt(tokenizer, prompt) for prompt in prompts])
        limit = context_length(tokenizer, network, None)
        for row, context in enumerate(contexts):
            if len(context) + self.max_new_tokens > limit:
                raise TrainingError(
                    f"prompt {row} has {len(context)} tokens; with max_new_tokens={self.max_new_tokens} they exceed the {limit} that the "
                    "model reads: shorten it or lower max_new_tokens"
                )
        each = n if temperature > 0 else 1  # without noise all n are equal
        seeds = [int(np.random.SeedSequence([seed, row, draw]).generate_state(1)[0]) for row in range(len(prompts)) for draw in range(each)]
        with quiet():
            drawn = generate(
                network,
                tokenizer,
                [context for context in contexts for _ in range(each)],
                max_new_tokens=self.max_new_tokens,
                temperature=temperature,
                top_p=self.top_p,
                seeds=seeds,
                batch_size=self.batch_size,
            )
        drawn = drawn if each == n else [one for one in drawn for _ in range(n)]
        rows = np.repeat(np.arange(len(prompts)), n)
        return Completions(
            [prompts[int(row)] for row in rows],
            # Special tokens stay: a reasoning model's marks are part of its text.
            [tokenizer.decode(one.tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False) for one in drawn],
            rows=rows,
            logprobs=np.array([one.logprob for one in drawn], dtype=np.float32),
            finished=np.array([one.finished for one in drawn], dtype=bool),
        )

    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(text and end token | prompt), (n,) with gradients, and the numbers of tokens; see `Policy.log_probabilities`."""
        return self.prepared(prompts, texts)(np.arange(len(prompts)))

    def prepared(self, prompts: Sequence[str], texts: Sequence[str]) -> LogProbabilities:
        """Tokenise once; see `Policy.prepared`."""
        return self._scorer(self._rows(prompts, texts, self._uncut))

    def logprob(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return log p(text and end token | prompt), (n,) float32, in batches of similar length."""
        rows = self._rows(prompts, texts, self._uncut)
        score, scores = self._scorer(rows), np.zeros(len(rows), dtype=np.float32)
        with torch.no_grad():
            for part in batches_by_length(rows.tokens, self.batch_size):
                scores[part] = score(part)[0].float().cpu().numpy()
        return scores

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return all weights, or the adapters while there are some."""
        named = list(self._network()[0].named_parameters())
        return [weight for name, weight in named if "lora_" in name] or [weight for _, weight in named]

    def prefer(
        self,
        preferences: Preferences,
        method: Method = "dpo",
        *,
        beta: float | None = None,
        gamma: float = 1.0,
        nll_weight: float = 0.0,
        epochs: int = 1,
        learning_rate: float = 1e-5,
        batch_size: int = 32,
        seed: int = 0,
        through: Through = "steelyard",
        **options: Any,
    ) -> Self:
        """Learn from pairs, starting from the weights as they are; see `Policy.prefer`.

        `through="trl"` trains hard pairs with TRL's `DPOTrainer`, `KTOTrainer`, `CPOTrainer` (SimPO) and `ORPOTrainer`, which bring mixed
        precision, accumulation and distributed runs (`arguments`); both ways take the same steps. Soft pairs and conflicts are trained by
        our own loop.
        """
        if through not in get_args(Through) or (through == "trl" and options):
            raise ConfigError(f"prefer: through={through!r} with {', '.join(options) or 'no further option'}; only 'steelyard' takes more")
        network, tokenizer = self._network()
        if through == "trl":
            chosen, rejected = (self._rows(preferences.prompts, texts, self._uncut) for texts in (preferences.chosen, preferences.rejected))
            timing: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "warmup": 0.0, "weight_decay": 0.0}
            trained, self.preference_history_ = prefer_through_trl(
                network.requires_grad_(True),
                tokenizer,
                preferences,
                chosen,
                rejected,
                method,
                self._schedule(learning_rate, **timing),
                beta=BETAS.get(method, 0.1) if beta is None else beta,
                gamma=gamma,
                nll_weight=nll_weight,
                lora_rank=self.lora_rank if self.tune == "lora" else None,
            )
            self.model_ = trained.eval()
            return self
        if self.tune == "lora":
            set_seed(seed)
            self.model_ = add_lora(network, "CAUSAL_LM", self.lora_rank).eval()
        try:
            strength: dict[str, Any] = {"beta": beta, "gamma": gamma, "nll_weight": nll_weight, **options}
            timing = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "seed": seed}
            return super().prefer(preferences, method, **strength, **timing)
        finally:
            if self.tune == "lora":
                self.model_ = self.model_.merge_and_unload()

    def copy(self) -> Self:
        """Return a frozen copy; see `Policy.copy`."""
        network, tokenizer = self._network()
        twin = copy.copy(self)
        twin.model_, twin.tokenizer_ = copy.deepcopy(network).requires_grad_(False), tokenizer
        return twin

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model (safetensors), its tokenizer and, last, the parameters as JSON."""
        network, tokenizer = self._network()
        save_model(network, tokenizer, Path(folder))
        content = {"history": getattr(self, "history_", []), "dropped": getattr(self, "dropped_", 0)}
        write_json(Path(folder) / DESCRIPTION, {"kind": "CausalStudent", "parameters": self._parameters(), **content})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` or a finished run wrote; its weights are then the pretrained ones of a further `fit`."""
        content = read_json(Path(folder) / DESCRIPTION)
        if not isinstance(content, dict) or content.get("kind") != "CausalStudent":
            raise TrainingError(f"'{folder}' holds no CausalStudent; use load_student(folder) for other students")
        student = cls(str(Path(folder) / "model"), **content["parameters"])
        network, student.tokenizer_ = load_model(AutoModelForCausalLM, Path(folder))
        student.model_ = _placed(network)
        student.history_, student.dropped_ = content["history"], content["dropped"]
        return student

    def _fine_tune(
        self, completions: Completions, weights: NDArray[np.float32], schedule: Schedule, through: Through, folder: Path | None
    ) -> None:
        set_seed(self.seed)
        self.model_, self.tokenizer_ = self._pretrained()
        rows = self._rows(completions.prompts, completions.texts, self.overlong)
        self.dropped_ = len(completions) - len(rows)
        if self.dropped_:
            warnings.warn(f"{self.dropped_} of {len(completions)} texts are too long for the model and were left out", stacklevel=3)
        lora = self.tune == "lora"
        network = add_lora(self.model_, "CAUSAL_LM", self.lora_rank) if lora else self.model_.requires_grad_(True)
        scaled = row_weights(weights[rows.kept], len(rows))
        if through == "trl":
            self.history_ = fine_tune_through_trl(network, self.tokenizer_, rows, schedule, folder)
        else:
            self.history_ = fine_tune(network, rows, scaled, padding_token(self.tokenizer_), schedule, folder)
        self.model_ = (network.merge_and_unload() if lora else network).eval()

    def _scorer(self, rows: CompletionRows) -> LogProbabilities:
        network, tokenizer = self._network()
        pad, device = padding_token(tokenizer), device_of(network)

        def score(part: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
            ids, mask = pad_left([rows.tokens[row] for row in part], pad, device)
            lengths = torch.from_numpy(rows.lengths[part]).to(device)
            # Read afresh: adapters may have been put around the model meanwhile.
            return completion_log_probabilities(self.model_, ids, mask, lengths), lengths

        return score

    def _rows(self, prompts: Sequence[str], texts: Sequence[str], overlong: Overlong) -> CompletionRows:
        network, tokenizer = self._network()
        limit = context_length(tokenizer, network, self.max_length)
        return completion_rows(network, tokenizer, prompts, texts, limit=limit, rendering=self.rendering, overlong=overlong)

    @property
    def _uncut(self) -> Overlong:
        """What to do with a row that is too long where none may be missing."""
        return "cut_prompt" if self.overlong == "cut_prompt" else "raise"

    def _network(self) -> tuple[Any, Any]:
        if not hasattr(self, "model_"):
            self.model_, self.tokenizer_ = self._pretrained()
        return self.model_, self.tokenizer_

    def _pretrained(self) -> tuple[Any, Any]:
        if isinstance(self.model, tuple | list):
            network, tokenizer = (copy.deepcopy(part) for part in self.model)
        else:
            with quiet():
                # Optimisers need full precision; frozen weights under adapters may stay as they were stored.
                network, tokenizer = load_causal_lm(os.fspath(self.model), dtype="auto" if self.tune == "lora" else torch.float32)
        return _placed(network), tokenizer

    def _schedule(self, learning_rate: float | None, **changes: Any) -> Schedule:
        if self.tune not in _LEARNING_RATES:
            raise ConfigError(f"CausalStudent: tune is '{self.tune}'; use {', '.join(map(repr, _LEARNING_RATES))}")
        names = ("epochs", "batch_size", "warmup", "weight_decay", "seed", "checkpoint_steps", "progress")
        rate = _LEARNING_RATES[self.tune] if learning_rate is None else learning_rate
        return Schedule(**{**{name: getattr(self, name) for name in names}, **changes}, learning_rate=rate, arguments=self.arguments or {})

    def _parameters(self) -> dict[str, Any]:
        apart = {"model", "output_dir", "progress", "checkpoint_steps"}
        return {name: value for name, value in self.get_params(deep=False).items() if name not in apart}

    def _run_name(self, completions: Completions, weights: NDArray[np.float32], through: Through) -> str:
        digest = hashlib.sha256(weights.tobytes())
        for pair in zip(completions.prompts, completions.texts, strict=True):
            digest.update(repr(pair).encode("utf-8", "surrogatepass"))
        is_pair = isinstance(self.model, tuple | list)
        start = [repr(self.model[0].config), model_digest(self.model[0])] if is_pair else fingerprint(os.fspath(self.model))
        # How texts are drawn has no part in how they are learned.
        learned = {name: value for name, value in self._parameters().items() if name not in ("max_new_tokens", "top_p")}
        way = {} if through == "steelyard" else {"through": through}
        return config_hash({"model": start, "data": digest.hexdigest(), **learned, **way})


def _placed(network: Any) -> Any:
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
