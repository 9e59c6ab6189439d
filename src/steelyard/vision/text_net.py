"""A small text net: learns P(text) of a label model pixel by pixel, and marks text on pages without any source.

Kudale et al. 2024, "TEXTRON", leaves students open; this one is fully convolutional (Long, Shelhamer, Darrell 2015).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steelyard.errors import TrainingError
from steelyard.vision.boxes import Mask
from steelyard.vision.text_marks import Page, RegionSource, gray

_CROP = 160


class TextNet:
    """Four dilated convolutions trained with the cross-entropy to soft labels on random crops.

    Parameters
    ----------
    channels : int
    steps : int
        Updates of Adam, each on `batch_size` crops.
    batch_size : int
    learning_rate : float
    seed : int

    Attributes
    ----------
    losses_ : list of float

    Examples
    --------
    >>> page = np.full((400, 400), 255, np.uint8); page[100:120, 50:300] = 0
    >>> net = TextNet(steps=40, batch_size=2, learning_rate=0.02).fit([page], [(page == 0).astype(np.float32)])
    >>> bool(net.predict_proba(page)[110, 150] > net.predict_proba(page)[300, 300])
    True
    """

    def __init__(self, channels: int = 8, steps: int = 200, batch_size: int = 8, learning_rate: float = 0.01, seed: int = 0) -> None:
        self.channels = channels
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, pages: Sequence[Page], probabilities: Iterable[NDArray[np.float32]]) -> Self:
        """Learn from pages and their maps (H, W) of P(text).

        Raises
        ------
        TrainingError
            There are no pages, or a map is not as large as its page.
        """
        images = [_half(_light(gray(page))) for page in pages]
        targets = [_half(np.asarray(p, dtype=np.float32)) for p in probabilities]
        if not images or [i.shape for i in images] != [t.shape for t in targets]:
            raise TrainingError(f"a text net needs one map of P(text) for each of its pages, of the same size; got {len(images)} pages")
        torch.manual_seed(self.seed)
        random = np.random.default_rng(self.seed)
        self.model_ = _layers(self.channels)
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        self.losses_: list[float] = []
        for _ in range(self.steps):
            crops = [_crop(images, targets, random) for _ in range(self.batch_size)]
            x, y = (torch.from_numpy(np.stack([crop[side] for crop in crops]))[:, None] for side in (0, 1))
            loss = nn.functional.binary_cross_entropy_with_logits(self.model_(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            self.losses_.append(float(loss.detach()))
        return self

    def predict_proba(self, page: Page) -> NDArray[np.float32]:
        """(H, W) P(text)."""
        if not hasattr(self, "model_"):
            raise TrainingError("this TextNet is not trained yet; call `fit` first")
        light = gray(page)
        with torch.inference_mode():
            half: Tensor = self.model_(torch.from_numpy(_half(_light(light)))[None, None])
            full = nn.functional.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
        h, w = light.shape
        return np.asarray(full.sigmoid()[0, 0, :h, :w].numpy())

    def source(self, text_guide: float = 0.85, not_text_guide: float = 0.95) -> RegionSource:
        """The net as one more source, whose mask is where P(text) > 1/2."""

        def find(page: Page) -> Mask:
            return self.predict_proba(page) > 0.5

        return RegionSource("net", find, text_guide, not_text_guide)


def _layers(channels: int) -> nn.Sequential:
    wide, last = 2 * channels, nn.Conv2d(2 * channels, 1, 1)
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(channels, wide, 3, padding=4, dilation=4),
        nn.ReLU(),
        last,
    )


def _light(levels: Page) -> NDArray[np.float32]:
    """White as 0, black as -1."""
    return np.asarray(levels / 255 - 1, dtype=np.float32)


def _half(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 × 2 pixels, the last row and column doubled where they are odd."""
    even = np.pad(array, [(0, side % 2) for side in array.shape], mode="edge")
    return np.ascontiguousarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)


def _crop(
    images: list[NDArray[np.float32]], targets: list[NDArray[np.float32]], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    which = int(random.integers(len(images)))
    image, target = images[which], targets[which]
    pad = [(0, max(0, _CROP - side)) for side in image.shape]
    if any(after for _, after in pad):
        image, target = np.pad(image, pad), np.pad(target, pad)
    y, x = (int(random.integers(side - _CROP + 1)) for side in image.shape)
    return image[y : y + _CROP, x : x + _CROP], target[y : y + _CROP, x : x + _CROP]
