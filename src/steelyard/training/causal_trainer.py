"""Two ways in which Hugging Face trainers move a causal model: fine-tuning on completions, and TRL's preference trainers.

Devices, mixed precision, accumulation, distributed runs and checkpoints are theirs. TRL is given our tokens, so that a preference is
trained on the very sequences that are scored and sampled.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import Trainer

from steelyard.causal_lm import completion_log_probabilities
from steelyard.errors import ConfigError
from steelyard.preferences import Preferences
from steelyard.training.completion_rows import CompletionDataset, CompletionRows, PadCompletions
from steelyard.training.fine_tuning import lora_config
from steelyard.training.objective_trainer import Schedule, run
from steelyard.training.preference import another_row


class CompletionTrainer(Trainer):
    """`transformers.Trainer` with the loss −(1/b) Σ w_i log p(text_i | prompt_i), divided by the tokens of an average row.

    The constant makes it a loss per token, whatever the batch holds, so that accumulated batches add up exactly. Only the learned
    columns go through the output layer.
    """

    loss_is_scaled_for_ga = False  # a mean over the batch, which the Trainer divides by the number of accumulated batches

    def __init__(self, *positional: Any, tokens_per_row: float, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.tokens_per_row = tokens_per_row

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Return the loss of one batch."""
        log_p = completion_log_probabilities(model, inputs["ids"], inputs["mask"], inputs["lengths"])
        loss = -(inputs["weights"] * log_p).mean() / self.tokens_per_row
        return (loss, {}) if return_outputs else loss


def fine_tune(model: Any, rows: CompletionRows, weights: Any, pad: int, schedule: Schedule, folder: Any) -> list[dict[str, Any]]:
    """Fine-tune `model` in place on tokenised completions and return the history."""
    mean = float(rows.lengths.mean())

    def build(arguments: Any) -> Trainer:
        dataset = CompletionDataset(rows, weights)
        return CompletionTrainer(model, arguments, data_collator=PadCompletions(pad), train_dataset=dataset, tokens_per_row=mean)

    return run(build, schedule, folder=folder)


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
    nll_weight: float,
    lora_rank: int | None,
) -> tuple[Any, list[dict[str, Any]]]:
    """Train on n hard pairs with TRL's `DPOTrainer` or `KTOTrainer`; the reference is the model as given.

    Returns
    -------
    The trained model (adapters merged) and the history.

    Raises
    ------
    ConfigError
        Another method, or pairs that are not certain.
    """
    if method not in ("dpo", "kto") or (preferences.probabilities < 1).any():
        raise ConfigError("TRL trains 'dpo' and 'kto' on certain pairs; harden() the preferences, or use through='steelyard'")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    kind: Any = DPOConfig if method == "dpo" else KTOConfig
    parent: Any = DPOTrainer if method == "dpo" else KTOTrainer

    class OnOurTokens(parent):  # type: ignore[misc]
        """Takes the tokens as they are instead of tokenising prompt and text together and cutting them."""

        def _prepare_dataset(self, dataset: Any, *positional: Any, **named: Any) -> Any:
            return dataset

    columns = _pairs(chosen, rejected) if method == "dpo" else _singles(chosen, rejected, schedule.seed)
    if method == "kto":  # TRL counts texts, not pairs
        schedule = replace(schedule, batch_size=2 * schedule.batch_size)
    options: dict[str, Any] = {
        "beta": beta,
        "max_length": None,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "gradient_checkpointing": False,
    }
    if method == "dpo" and nll_weight:
        options |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, nll_weight]}
    elif nll_weight:
        raise ConfigError("TRL's KTO has no anchor on the likelihood; leave nll_weight at 0 or use through='steelyard'")
    reference = None if lora_rank else copy.deepcopy(model)
    made: list[Any] = []

    def build(arguments: Any) -> Trainer:
        config = lora_config("CAUSAL_LM", lora_rank) if lora_rank else None
        trainer = OnOurTokens(
            model, reference, arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer, peft_config=config
        )
        made.append(trainer)
        return trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TRL asks transformers by old names
        history = run(build, schedule, kind=kind, **options)
    trained = made[0].model.merge_and_unload() if lora_rank else made[0].model
    trained.__dict__.pop("forward", None)  # the fused output layer that TRL put over the model's own
    return trained, history


def _pairs(chosen: CompletionRows, rejected: CompletionRows) -> dict[str, list[Any]]:
    prompts, first = _split(chosen)
    return {"prompt_ids": prompts, "chosen_ids": first, "rejected_ids": _split(rejected)[1]}


def _singles(chosen: CompletionRows, rejected: CompletionRows, seed: int) -> dict[str, list[Any]]:
    (prompts, good), (_, bad) = _split(chosen), _split(rejected)
    other = another_row(len(prompts), np.random.default_rng(seed))
    foreign = [texts[row] for texts in (good, bad) for row in other]
    labels = [True] * len(good) + [False] * len(bad)
    return {"prompt_ids": prompts * 2, "completion_ids": [*good, *bad], "KL_completion_ids": foreign, "label": labels}


def _split(rows: CompletionRows) -> tuple[list[list[int]], list[list[int]]]:
    whole = [rows.tokens[row].tolist() for row in range(len(rows))]
    cut = [len(tokens) - int(length) for tokens, length in zip(whole, rows.lengths, strict=True)]
    return [tokens[:at] for tokens, at in zip(whole, cut, strict=True)], [tokens[at:] for tokens, at in zip(whole, cut, strict=True)]
