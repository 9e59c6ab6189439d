"""A small causal language model and its tokenizer, trained on the spot: what stands in for a pretrained model in proofs and tests.

Byte-level BPE (Sennrich et al. 2016) and a Llama (Touvron et al. 2023) of a chosen size, from scratch on the given texts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from steelyard.errors import ConfigError, TrainingError
from steelyard.training.fine_tuning import load_model, save_model

SIZES = {"nano": (1, 48, 2), "micro": (2, 64, 4), "mini": (4, 128, 4), "small": (6, 256, 8), "base": (8, 512, 8), "large": (12, 768, 12)}
"""Layers, width, attention heads; about 0.05, 0.15, 0.9, 5, 27 and 90 million weights."""

_PAD, _END = "<|pad|>", "<|end|>"


class TinyLM(NamedTuple):
    """A model and its tokenizer: the pair that `CausalStudent` takes.

    Examples
    --------
    >>> import tempfile
    >>> made = tiny_lm(["ab" * 20], size="nano", steps=2)
    >>> folder = tempfile.mkdtemp()
    >>> made.save(folder)
    >>> TinyLM.load(folder).tokenizer("ab")["input_ids"] == made.tokenizer("ab")["input_ids"]
    True
    """

    model: Any
    tokenizer: Any

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the weights as safetensors, the rest as JSON; `folder/model` is what `CausalStudent` takes by name."""
        save_model(self.model, self.tokenizer, Path(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TinyLM:
        """Read what `save` wrote; a missing folder raises `TrainingError`."""
        return cls(*load_model(LlamaForCausalLM, Path(folder)))


def tiny_lm(
    texts: Sequence[str],
    *,
    size: str = "micro",
    tokens: int = 512,
    context: int = 128,
    steps: int = 300,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> TinyLM:
    """Train a tokenizer and a language model on `texts` from scratch.

    Parameters
    ----------
    texts
        What the model is to know, each ended by the end token; shuffled, it reads them one after the other in windows of `context` tokens.
    size
        One of `SIZES`.
    tokens
        Size of the vocabulary: 256 bytes, two special tokens and the most frequent merges. 258 for single bytes.
    context
        Most tokens that the model reads at once.
    steps, batch_size, learning_rate
        AdamW, the rate rising for a tenth of the steps and falling to zero after; each step reads `batch_size` windows.
    seed
        Decides weights and order: the same seed gives the same model on the same machine.

    Returns
    -------
    TinyLM
        Model (on the CPU, or the GPU where there is one) and tokenizer.

    Raises
    ------
    ConfigError
        An unknown size or a number out of range.
    TrainingError
        The texts are empty.

    Examples
    --------
    >>> model, tokenizer = tiny_lm(["1+1=2", "2+1=3"] * 50, size="nano", tokens=258, context=32, steps=5)
    >>> tokenizer.decode(tokenizer("1+1=2")["input_ids"])
    '1+1=2'
    """
    if size not in SIZES:
        raise ConfigError(f"tiny_lm: size is '{size}'; use {', '.join(map(repr, SIZES))}")
    if tokens < 258 or context < 2 or steps < 0:
        raise ConfigError(f"tiny_lm: tokens={tokens} must be at least 258, context={context} at least 2, steps={steps} not negative")
    if not any(texts):
        raise TrainingError("tiny_lm: there is no text to learn from")
    tokenizer = _tokenizer(texts, tokens, context)
    layers, width, heads = SIZES[size]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=8 * width // 3,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                max_position_embeddings=context,
                # Narrow layers start from wider numbers than the usual 0.02, or nothing is learned in a few hundred steps.
                initializer_range=width**-0.5,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        ).to("cuda" if torch.cuda.is_available() else "cpu")
    _train(model, _windows(tokenizer, texts, context, seed), steps, batch_size, learning_rate, seed)
    return TinyLM(model.eval(), tokenizer)


def _tokenizer(texts: Sequence[str], tokens: int, context: int) -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=tokens, special_tokens=[_PAD, _END], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=_PAD, eos_token=_END, model_max_length=context, padding_side="left")


def _windows(tokenizer: Any, texts: Sequence[str], context: int, seed: int) -> torch.Tensor:
    """(w, context) consecutive tokens of all texts, which are shuffled; the last window is filled up from the beginning."""
    texts = [texts[row] for row in np.random.default_rng(seed).permutation(len(texts)).tolist()]
    rows = tokenizer([text + _END for text in texts])["input_ids"]
    stream = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return torch.from_numpy(np.resize(stream, (-(-len(stream) // context), context)))


def _train(model: Any, windows: torch.Tensor, steps: int, batch_size: int, learning_rate: float, seed: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm)))
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(windows)) for _ in range(-(-steps * batch_size // len(windows)))]) if steps else np.zeros(0)
    model.train()
    for step in range(steps):
        ids = windows[order[step * batch_size : (step + 1) * batch_size]].to(model.device)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
