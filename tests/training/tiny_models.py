"""Models of a few thousand weights and a task they can learn in seconds, shared by the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
)

from steelyard.targets import Targets
from steelyard.training import SoftCrossEntropy, StudentTrainer

PRAISE = ["good", "fine", "great", "nice"]
BLAME = ["bad", "poor", "awful", "sad"]
NEUTRAL = ["cat", "dog", "house", "tree", "car", "river", "stone", "cloud"]
CLASSES = ["blame", "praise"]


def tokenizer(*, special: bool = True, pad: bool = True) -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PRAISE, *BLAME, *NEUTRAL]
    core = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = Whitespace()
    if special:
        core.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"} if pad else {"eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def bert(outputs: int = 2, *, tokens: bool = False, positions: int = 32) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        num_labels=outputs,
    )
    return (BertForTokenClassification if tokens else BertForSequenceClassification)(config), tokenizer()


def gpt2_without_padding() -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=24, n_embd=32, n_layer=1, n_head=2, n_positions=32, num_labels=2)
    return GPT2ForSequenceClassification(config), tokenizer(special=False, pad=False)


def toy_task(n: int, seed: int = 0, accuracy: float = 0.9) -> tuple[list[str], np.ndarray, Targets]:
    """Texts, their true classes, and soft labels that lean to the wrong class with probability 1 - accuracy."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    texts = [" ".join(rng.permutation([*rng.choice(NEUTRAL, 4), *rng.choice(PRAISE if label else BLAME, 2)])) for label in y]
    weak = np.where(rng.random(n) < accuracy, y, 1 - y)
    return texts, y, Targets(np.where(weak[:, None] == np.arange(2), 0.85, 0.15), classes=CLASSES)


class CountedCrossEntropy(SoftCrossEntropy):
    """Counts its calls, which tells a resumed run from a repeated one."""

    calls = 0

    def forward(self, *arguments: Any, **batch: Any) -> torch.Tensor:
        self.calls += 1
        return super().forward(*arguments, **batch)


def long_run(folder: str | Path | None, tune: str) -> StudentTrainer:
    """120 steps with dropout, a checkpoint each 20."""
    torch.set_num_threads(1)
    texts, _, targets = toy_task(240)
    options = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "seed": 3, "checkpoint_steps": 20, "progress": False}
    return StudentTrainer(bert(), CountedCrossEntropy(), tune=tune, output_dir=folder, **options).fit(texts, targets)


if __name__ == "__main__":
    long_run(sys.argv[1], sys.argv[2])
