"""Fine-tuning of a causal model on completions, with Hugging Face's `Trainer`; TRL's trainers are in `causal_trl`.

Devices, mixed precision, accumulation, distributed runs and checkpoints are theirs.
"""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from steelyard.causal_lm import completion_log_probabilities
from steelyard.training.completion_rows import CompletionDataset, CompletionRows, PadCompletions
from steelyard.training.objective_trainer import Schedule, run


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
