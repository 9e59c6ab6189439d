"""Vectors of the words of a text in their context, from a frozen encoder: what small decoders attend to.

A word's vector is the mean over its word pieces of the last hidden layer. Large sets of texts are kept on disk, so that a second run
embeds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.encoders import TextEncoder, import_torch, quiet
from steelyard.storage import atomic_path, cache_dir, config_hash

_WORTH_A_FILE = 256


class WordFeatures:
    """Frozen word vectors of a Hugging Face encoder, cached in memory and, from 256 new texts on, on disk.

    Parameters
    ----------
    encoder
        Names the model; its pooling is not used.
    batch_size
        Texts per forward pass.

    Examples
    --------
    >>> first, second = WordFeatures(TextEncoder("minilm-offline")).encode([("two", "apples"), ("one", "pear", ".")])
    >>> first.shape, second.shape
    ((2, 384), (3, 384))
    """

    def __init__(self, encoder: TextEncoder, *, batch_size: int = 64) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self._known: dict[tuple[str, ...], NDArray[np.float16]] = {}
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[tuple[str, ...]]) -> list[NDArray[np.float16]]:
        """Return one (w, d) float16 array per text of w words.

        Parameters
        ----------
        texts
            Each a tuple of words. A word beyond the model's window gets zeros.
        """
        missing = sorted({words for words in texts if words not in self._known}, key=lambda words: (len(words), words))
        if missing:
            self._known |= zip(missing, self._found_or_embedded(missing), strict=True)
        return [self._known[words] for words in texts]

    def __deepcopy__(self, memo: Any) -> Self:
        # Frozen vectors are shared by the copies of a policy.
        return self

    def _found_or_embedded(self, texts: list[tuple[str, ...]]) -> list[NDArray[np.float16]]:
        if len(texts) < _WORTH_A_FILE:
            return self._embed(texts)
        file: Path = cache_dir() / "word_features" / f"{config_hash([self.encoder.identity, texts])}.npz"
        ends = np.cumsum([len(words) for words in texts])[:-1]
        if file.exists():
            with np.load(file, allow_pickle=False) as arrays:
                return np.split(arrays["vectors"], ends)
        found = self._embed(texts)
        with atomic_path(file) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, vectors=np.concatenate(found))
        return found

    def _embed(self, texts: list[tuple[str, ...]]) -> list[NDArray[np.float16]]:
        torch, transformers = import_torch()
        if self._loaded is None:
            source = self.encoder.folder_or_name()
            options = {"revision": self.encoder.revision}
            with quiet():
                model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, **options).eval()
            self._loaded = transformers.AutoTokenizer.from_pretrained(source, **options), model
        tokenizer, model = self._loaded
        found: list[NDArray[np.float16]] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            tokens = tokenizer(
                [list(words) for words in batch],
                is_split_into_words=True,
                padding=True,
                truncation=True,
                max_length=self.encoder.max_length,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = model(**tokens).last_hidden_state.float().numpy()  # (b, t, d)
            starts = np.cumsum([0, *(len(words) for words in batch)])
            # Flat number of the word that each piece belongs to; pieces of no word are left out.
            place = np.array([[-1 if w is None else starts[i] + w for w in tokens.word_ids(i)] for i in range(len(batch))])
            total = np.zeros((starts[-1], hidden.shape[-1]), dtype=np.float32)
            np.add.at(total, place[place >= 0], hidden[place >= 0])
            pieces = np.bincount(place[place >= 0], minlength=starts[-1])
            found += np.split((total / np.maximum(pieces, 1)[:, None]).astype(np.float16), starts[1:-1])
        return found
