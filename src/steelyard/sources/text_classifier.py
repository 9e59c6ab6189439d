"""A Hugging Face text-classification model, by name or folder, as anything that has `predict_proba` and `classes_`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import DataError


class TextClassifier:
    """A Hugging Face text-classification model as a `Classifier`; loaded at its first text.

    Parameters
    ----------
    name
        Hub name or local folder.
    batch_size, device, max_length
        Texts per forward pass, where it runs, and tokens after which a text is cut.
    """

    def __init__(self, name: str, *, batch_size: int = 32, device: str | None = None, max_length: int = 512) -> None:
        self.name = name
        self.batch_size = batch_size
        self.device = device
        self.max_length = max_length
        self._loaded: tuple[Any, Any, str] | None = None

    @property
    def classes_(self) -> list[str]:
        """Class names as the model's configuration gives them."""
        names = self._load()[1].config.id2label
        return [str(names[index]) for index in range(len(names))]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Softmax of the logits, `(n, k)`; one logit is read as the log-odds of the second of two classes."""
        import torch

        tokenizer, network, device = self._load()
        order = np.argsort([-len(text) for text in texts], kind="stable")
        parts = []
        for start in range(0, len(order), self.batch_size):
            batch = [str(texts[row]) for row in order[start : start + self.batch_size]]
            tokens = tokenizer(batch, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt").to(device)
            with torch.inference_mode():
                logits = network(**tokens).logits.float()
            if logits.shape[1] == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
            parts.append(torch.softmax(logits, dim=1).cpu().numpy())
        answer = np.empty((len(order), parts[0].shape[1]), dtype=np.float32)
        answer[order] = np.concatenate(parts)
        return answer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def _load(self) -> tuple[Any, Any, str]:
        if self._loaded is None:
            from steelyard.encoders import import_torch

            torch, transformers = import_torch()
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(self.name)
                network = transformers.AutoModelForSequenceClassification.from_pretrained(self.name)
            except (OSError, ValueError) as error:
                reason = str(error).strip().split("\n", 1)[0]
                raise DataError(f"text classifier '{self.name}' cannot be loaded ({reason}); check the name or folder") from None
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = tokenizer, network.to(device).eval(), device
        return self._loaded
