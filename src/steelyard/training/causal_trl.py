"""TRL's trainers on our tokens: `SFTTrainer`, and those of DPO, KTO, SimPO and ORPO, for `CausalStudent(...).fit/prefer(through="trl")`.

They bring mixed precision, accumulation and distributed runs. TRL is given tokens instead of texts, so that what is learned are the very
sequences that are scored and sampled; where its loss is not ours, it is said below.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import Trainer

from steelyard.errors import ConfigError
from steelyard.preferences import Preferences
from steelyard.training.completion_rows import CompletionRows
from steelyard.training.fine_tuning import lora_config
from steelyard.training.objective_trainer import Schedule, run
from steelyard.training.preference import another_row

_MASKED = -100
_PLAIN = {"max_length": None, "bf16": False, "gradient_checkpointing": False}
"""TRL's defaults that would cut texts or change the numbers."""


def fine_tune_through_trl(model: Any, tokenizer: Any, rows: CompletionRows, schedule: Schedule, folder: Any) -> list[dict[str, Any]]:
    """Fine-tune `model` in place with TRL's `SFTTrainer`, prompts masked, and return the history.

    The loss is the mean over a batch's learned tokens; ours is a mean over its texts. They agree where texts are equally long, or where a
    batch holds all of them; elsewhere TRL gives a long text more weight.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dataset = Dataset.from_dict(_learned(rows))

    def build(arguments: Any) -> Trainer:
        made: Trainer = SFTTrainer(model, arguments, train_dataset=dataset, processing_class=tokenizer)
        return made

    with _quiet_trl():
        options: dict[str, Any] = {**_PLAIN, "lr_scheduler_type": "linear", "loss_type": "nll"}
        history = run(build, schedule, folder=folder, kind=SFTConfig, **options)
    model.__dict__.pop("forward", None)
    return history


def prefer_through_trl(
    model: Any,
    tokenizer: Any,
    preferences: Preferences,
    chosen: CompletionRows,
    rejected: CompletionRows,
    method: str,
    schedule: Schedule,
    *,
    beta: float,
    gamma: float,
    nll_weight: float,
    lora_rank: int | None,
) -> tuple[Any, list[dict[str, Any]]]:
    """Train on n hard pairs with TRL's `DPOTrainer`, `KTOTrainer`, `CPOTrainer` (SimPO) or `ORPOTrainer`.

    The reference of DPO and KTO is the model as given. TRL's own ORPO also fine-tunes on the prompts; here it does so on the chosen texts
    alone, as Hong et al. 2024 write it.

    Returns
    -------
    The trained model (adapters merged) and the history.

    Raises
    ------
    ConfigError
        Another method, or pairs that are not certain.
    """
    if method not in _COLUMNS or (preferences.probabilities < 1).any():
        known = ", ".join(map(repr, _COLUMNS))
        raise ConfigError(f"TRL trains {known} on certain pairs; harden() the preferences, or use through='steelyard'")
    if method == "kto" and nll_weight:
        raise ConfigError("TRL's KTO has no anchor on the likelihood; leave nll_weight at 0 or use through='steelyard'")
    from datasets import Dataset

    with _quiet_trl():
        parent, kind, options = _trainer(method, gamma, nll_weight)
    columns = _COLUMNS[method](chosen, rejected, schedule.seed)
    if method == "kto":  # TRL counts texts, not pairs
        schedule = replace(schedule, batch_size=2 * schedule.batch_size)
    named: dict[str, Any] = {"peft_config": lora_config("CAUSAL_LM", lora_rank) if lora_rank else None}
    if method in ("dpo", "kto"):
        named["ref_model"] = None if lora_rank else copy.deepcopy(model)
    made: list[Any] = []

    def build(arguments: Any) -> Trainer:
        dataset = Dataset.from_dict(columns)
        made.append(parent(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, **named))
        trainer: Trainer = made[0]
        return trainer

    with _quiet_trl():
        history = run(build, schedule, kind=kind, **{**_PLAIN, "beta": beta, "lr_scheduler_type": "constant", **options})
    trained = made[0].model.merge_and_unload() if lora_rank else made[0].model
    trained.__dict__.pop("forward", None)  # the fused output layer that TRL put over the model's own
    return trained, history


def _trainer(method: str, gamma: float, nll_weight: float) -> tuple[Any, Any, dict[str, Any]]:
    """The trainer that takes our tokens, its class of arguments, and those that are the method's own."""
    if method in ("dpo", "kto"):
        from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

        parent: Any = DPOTrainer if method == "dpo" else KTOTrainer

        class OnOurTokens(parent):  # type: ignore[misc]
            """Takes the tokens as they are instead of tokenising prompt and text together and cutting them."""

            def _prepare_dataset(self, dataset: Any, *positional: Any, **named: Any) -> Any:
                return dataset

        anchored = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, nll_weight]} if nll_weight else {}
        return OnOurTokens, DPOConfig if method == "dpo" else KTOConfig, anchored
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    without_reference: Any = CPOTrainer if method == "simpo" else ORPOTrainer
    # SimPO's anchor is an option of TRL's; ORPO fine-tunes by itself, with weight 1.
    fine_tuning = 1.0 if method == "simpo" else 1.0 + nll_weight

    class PairsOnOurTokens(without_reference):  # type: ignore[misc]
        """Takes the tokens as they are; its fine-tuning part is the mean −log p per token of the chosen texts."""

        def tokenize_row(self, feature: Any, model: Any = None) -> Any:
            return feature

        def concatenated_forward(self, model: Any, batch: Any) -> Any:
            chosen, rejected, chosen_logits, rejected_logits, _, *further = super().concatenated_forward(model, batch)
            return (chosen, rejected, chosen_logits, rejected_logits, -fine_tuning * chosen.mean(), *further)

    if method == "orpo":
        return PairsOnOurTokens, ORPOConfig, {}
    return PairsOnOurTokens, CPOConfig, {"loss_type": "simpo", "simpo_gamma": gamma, "cpo_alpha": nll_weight}


@contextmanager
def _quiet_trl() -> Iterator[None]:
    """TRL asks transformers by old names and says of some trainers that they are experimental."""
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")
            yield
    finally:
        if shown:
            enable_progress_bars()


def _learned(rows: CompletionRows) -> dict[str, list[Any]]:
    prompts, texts = _split(rows)
    pairs = list(zip(prompts, texts, strict=True))
    return {"input_ids": [[*prompt, *text] for prompt, text in pairs], "labels": [[_MASKED] * len(prompt) + text for prompt, text in pairs]}


def _pairs(chosen: CompletionRows, rejected: CompletionRows, seed: int) -> dict[str, list[Any]]:
    prompts, first = _split(chosen)
    return {"prompt_ids": prompts, "chosen_ids": first, "rejected_ids": _split(rejected)[1]}


def _singles(chosen: CompletionRows, rejected: CompletionRows, seed: int) -> dict[str, list[Any]]:
    (prompts, good), (_, bad) = _split(chosen), _split(rejected)
    other = another_row(len(prompts), np.random.default_rng(seed))
    foreign = [texts[row] for texts in (good, bad) for row in other]
    labels = [True] * len(good) + [False] * len(bad)
    return {"prompt_ids": prompts * 2, "completion_ids": [*good, *bad], "KL_completion_ids": foreign, "label": labels}


def _masked_pairs(chosen: CompletionRows, rejected: CompletionRows, seed: int) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for side, rows in {"chosen": chosen, "rejected": rejected}.items():
        columns |= {f"{side}_{name}": values for name, values in _learned(rows).items()}
        columns[f"{side}_attention_mask"] = [[1] * len(tokens) for tokens in columns[f"{side}_input_ids"]]
    return columns


_COLUMNS = {"dpo": _pairs, "kto": _singles, "simpo": _masked_pairs, "orpo": _masked_pairs}


def _split(rows: CompletionRows) -> tuple[list[list[int]], list[list[int]]]:
    whole = [rows.tokens[row].tolist() for row in range(len(rows))]
    cut = [len(tokens) - int(length) for tokens, length in zip(whole, rows.lengths, strict=True)]
    return [tokens[:at] for tokens, at in zip(whole, cut, strict=True)], [tokens[at:] for tokens, at in zip(whole, cut, strict=True)]
