"""A cross-encoder with one output: a pretrained encoder reads prompt and response, a network on its first token gives the score.

The distilled verifier of Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.trainer_utils import set_seed

from steelyard.encoders import TextEncoder
from steelyard.errors import TrainingError
from steelyard.storage import atomic_path
from steelyard.training.fine_tuning import load_model, save_model

_HEAD = "head.safetensors"


def score_head(width: int) -> nn.Sequential:
    """Network (n, width) → (n, 1) with layers of 512 and 256, GELU and dropout of 0.1.

    Examples
    --------
    >>> score_head(8)(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """
    wide = nn.Sequential(nn.Linear(width, 512), nn.GELU(), nn.Dropout(0.1), nn.Linear(512, 256), nn.GELU(), nn.Dropout(0.1))
    return nn.Sequential(*wide, nn.Linear(256, 1))


class ClsScorer(nn.Module):
    """`body`, whose last hidden states (n, length, d) start with the token that stands for the whole text, and `score_head(d)`.

    Examples
    --------
    >>> from transformers import BertConfig, BertModel
    >>> body = BertModel(BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    >>> ClsScorer(body)(input_ids=torch.tensor([[1, 2, 3]]))["logits"].shape
    torch.Size([1, 1])
    """

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self.head = score_head(int(body.config.hidden_size))

    @property
    def config(self) -> Any:
        """The configuration of the body."""
        return self.body.config

    def forward(self, **batch: Any) -> dict[str, torch.Tensor]:
        """Return ``{"logits": (n, 1)}``."""
        states = self.body(**batch).last_hidden_state
        return {"logits": self.head(states[:, 0].to(self.head[0].weight.dtype))}

    @classmethod
    def build(cls, model: str | os.PathLike[str], seed: int) -> tuple[Self, Any]:
        """Return the pretrained encoder of a hub name or folder with a new head drawn from `seed`, and its tokenizer.

        Raises
        ------
        TrainingError
            The model cannot be loaded.
        """
        source = TextEncoder(os.fspath(model)).folder_or_name()
        set_seed(seed)
        try:
            return cls(AutoModel.from_pretrained(source, dtype=torch.float32)), AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"model '{model}' cannot be loaded: {str(error).strip().splitlines()[0]}; check the name or give a local folder"
            ) from error

    def save(self, tokenizer: Any, folder: Path) -> None:
        """Write body and tokenizer to ``folder/model`` and the head beside them."""
        save_model(self.body, tokenizer, folder)
        with atomic_path(folder / _HEAD) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in self.head.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, Any]:
        """Read what `save` wrote: the scorer and its tokenizer."""
        body, tokenizer = load_model(AutoModel, folder)
        scorer = cls(body)
        scorer.head.load_state_dict(load_file(folder / _HEAD))
        return scorer, tokenizer
