"""Who votes about text on a page image: classical image operations and any detector, each returning boxes of words.

The operations of Kudale et al. 2024, "TEXTRON: Weakly Supervised Multilingual Text Detection through Data Programming": contours of
ink, edges, filled Canny edges, closed horizontal runs. They assume a page that is not rotated; light ink on dark is inverted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from steelyard.errors import DataError, SourceError
from steelyard.vision.boxes import IntBoxes, Mask, component_boxes

Page = NDArray[np.uint8]
Thickness = int | tuple[int, int]
"""How many pixels a mark grows to, down and across; across more than down joins the words of a line."""
Find = Callable[[Page], Any]
_CROSS_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))


@dataclass(frozen=True)
class RegionSource:
    """One source: a function from a page to boxes or to a mask, and how far its marks are believed.

    Parameters
    ----------
    name : str
    find : callable
        Takes a page as it was given, (H, W) or (H, W, 3) uint8, and returns boxes (n, 4), a bool mask (H, W), or None where it failed.
        Any detector fits.
    text_guide : float in (0, 1), optional
        Believed chance that a marked pixel is text; None: its marks say nothing, it votes against text only.
    not_text_guide : float in (0, 1), optional
        Believed chance that an unmarked pixel is none; None: it votes for text only.

    Raises
    ------
    SourceError
        A guide lies outside (0, 1), or both are None.

    Examples
    --------
    >>> RegionSource("corner", lambda page: np.array([[0, 0, 8, 4]]), text_guide=0.9).votes
    ('corner: text', 'corner: not text')
    """

    name: str
    find: Find
    text_guide: float | None = 0.85
    not_text_guide: float | None = 0.95

    def __post_init__(self) -> None:
        given = [guide for guide in (self.text_guide, self.not_text_guide) if guide is not None]
        if not given or not all(0 < guide < 1 for guide in given):
            raise SourceError(
                f"source '{self.name}' has the guides {self.text_guide} and {self.not_text_guide}; give at least one, between 0 and 1"
            )

    @property
    def votes(self) -> tuple[str, ...]:
        """Names of its one or two columns of votes."""
        named = ((self.text_guide, "text"), (self.not_text_guide, "not text"))
        return tuple(f"{self.name}: {side}" for guide, side in named if guide is not None)

    @property
    def guides(self) -> tuple[float, ...]:
        """The guides of these columns."""
        return tuple(guide for guide in (self.text_guide, self.not_text_guide) if guide is not None)


def contour_words(thickness: Thickness = 3) -> RegionSource:
    """Bounding boxes of the connected ink, thickened so that letters meet: fine-grained, blind to faint print.

    Examples
    --------
    >>> page = np.full((60, 90), 255, np.uint8); page[20:30, 10:40] = 0
    >>> contour_words(3).find(page).tolist()
    [[9, 19, 32, 12]]
    """
    return RegionSource(f"contours {thickness}", lambda page: component_boxes(_thicker(ink(gray(page)), thickness)))


def edge_words(thickness: Thickness = 5) -> RegionSource:
    """Strong gradients (Sobel magnitude above Otsu's threshold), drawn thick; with thickness 7 the publication's source of titles.

    Examples
    --------
    >>> page = np.full((60, 90), 255, np.uint8); page[20:30, 10:40] = 0
    >>> len(edge_words().find(page))
    1
    """

    def find(page: Page) -> IntBoxes:
        light = gray(page).astype(np.float32)
        strength = np.hypot(ndimage.sobel(light, axis=0), ndimage.sobel(light, axis=1))
        levels = (strength * (255 / max(float(strength.max()), 1.0))).astype(np.uint8)
        return component_boxes(_thicker(levels > otsu(levels), thickness))

    return RegionSource(f"edges {thickness}", find)


def canny_words(thickness: Thickness = 5, sigma: float = 1.0) -> RegionSource:
    """Canny edges with their insides filled, drawn thick: the publication's segmentation source.

    Examples
    --------
    >>> page = np.full((60, 90), 255, np.uint8); page[20:30, 10:40] = 0
    >>> len(canny_words().find(page))
    1
    """
    return RegionSource(f"canny {thickness}", lambda page: component_boxes(_thicker(_filled(canny(gray(page), sigma)), thickness)))


def run_words(gap: float = 0.004) -> RegionSource:
    """Ink whose horizontal gaps up to `gap` of the page's width are closed (run-length smearing, Wahl, Wong, Casey 1982).

    Examples
    --------
    >>> page = np.full((60, 1000), 255, np.uint8); page[20:30, 10:40] = 0; page[20:30, 43:60] = 0; page[20:30, 90:99] = 0
    >>> run_words().find(page).tolist()
    [[10, 20, 50, 10], [90, 20, 9, 10]]
    """

    def find(page: Page) -> IntBoxes:
        light = gray(page)
        return component_boxes(_closed_runs(ink(light), max(1, round(gap * light.shape[1]))))

    return RegionSource("runs", find)


def small_objects(area: int = 100) -> RegionSource:
    """Pixels outside every connected ink of at least `area` pixels: votes against text only, since what is large may be a picture.

    Examples
    --------
    >>> page = np.full((60, 90), 255, np.uint8); page[20:30, 10:40] = 0; page[50:52, 50:52] = 0
    >>> small_objects().find(page)[[25, 51], [20, 51]].tolist()
    [True, False]
    """

    def find(page: Page) -> Mask:
        labels, _ = ndimage.label(_thicker(ink(gray(page)), 5))
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        return (sizes >= area)[labels]

    return RegionSource(f"objects of {area} pixels", find, text_guide=None)


def detector(
    name: str,
    find: Find,
    text_guide: float = 0.9,
    not_text_guide: float = 0.95,
    max_height: float = 1.0,
    max_width: float = 1.0,
) -> RegionSource:
    """Any model that finds words, as a source; boxes above these shares of the page are left out (1/40 and 1/15 for Tesseract).

    Examples
    --------
    >>> always = detector("always", lambda page: [[0, 0, 30, 9], [0, 0, 30, 50]], max_height=1 / 4)
    >>> always.find(np.zeros((100, 90), np.uint8)).tolist()
    [[0, 0, 30, 9]]
    """

    def words(page: Page) -> NDArray[Any] | None:
        found = find(page)
        if found is None or np.asarray(found).dtype == bool:
            return found
        boxes = np.asarray(found).reshape(-1, 4)
        h, w = page.shape[:2]
        return np.asarray(boxes[(boxes[:, 3] <= max_height * h) & (boxes[:, 2] <= max_width * w)])

    return RegionSource(name, words, text_guide, not_text_guide)


def gray(page: Page) -> Page:
    """Check a page and return its (H, W) luminosity.

    Raises
    ------
    DataError
        The page is not uint8, or neither (H, W) nor (H, W, 3).

    Examples
    --------
    >>> gray(np.full((1, 1, 3), 200, np.uint8)).tolist()
    [[200]]
    """
    if not isinstance(page, np.ndarray) or page.dtype != np.uint8 or page.ndim not in (2, 3) or page.size == 0:
        seen = f"{page.dtype} of shape {page.shape}" if isinstance(page, np.ndarray) else type(page).__name__
        raise DataError(f"a page must be a uint8 array (H, W) or (H, W, 3), got {seen}; read it with steelyard.vision.pages.read_page")
    if page.ndim == 2:
        return page
    if page.shape[2] != 3:
        raise DataError(f"a colour page must have 3 channels, got {page.shape[2]}; convert it to RGB")
    return (page @ np.array([0.299, 0.587, 0.114], np.float32) + 0.5).astype(np.uint8)


def otsu(levels: Page) -> int:
    """Threshold that parts the levels into the two groups whose means differ most (Otsu 1979); levels above it are the brighter group.

    Examples
    --------
    >>> otsu(np.array([10, 12, 200, 210], np.uint8))
    12
    """
    share = np.bincount(levels.ravel(), minlength=256) / levels.size
    below, mean = share.cumsum(), (share * np.arange(256)).cumsum()
    spread = below * (1 - below)
    between = np.divide((mean[-1] * below - mean) ** 2, spread, out=np.zeros(256), where=spread > 1e-12)
    return int(between.argmax())


def ink(light: Page) -> Mask:
    """(H, W) where a page is dark; where dark pixels are the majority, the bright ones are the ink. A page of one level has none.

    Examples
    --------
    >>> ink(np.array([[250, 251, 9]], np.uint8)).tolist(), ink(np.array([[9, 9, 250]], np.uint8)).tolist()
    ([[False, False, True]], [[False, False, True]])
    """
    if light.min() == light.max():
        return np.zeros(light.shape, dtype=bool)
    dark = light <= otsu(light)
    return ~dark if dark.mean() > 0.5 else dark


def canny(light: Page, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Mask:
    """Edges one pixel wide (Canny 1986): ridges of the smoothed gradient above `low`, connected to one above `high`; both of 255 per pixel.

    Examples
    --------
    >>> page = np.full((20, 20), 255, np.uint8); page[:, 10:] = 0
    >>> canny(page).any(axis=0).nonzero()[0].tolist()
    [10]
    """
    smooth = ndimage.gaussian_filter(light.astype(np.float32), sigma)
    dy, dx = ndimage.sobel(smooth, axis=0) / 8, ndimage.sobel(smooth, axis=1) / 8
    strength = np.hypot(dy, dx)
    # Direction of the gradient in steps of 45 degrees: across the edge, a ridge is at least as strong as both neighbours.
    direction = np.rint(np.arctan2(dy, dx) * (4 / np.pi)).astype(np.int8) % 4
    ridge = strength > low * 255
    padded = np.pad(strength, 1)
    h, w = strength.shape
    for code, (r, c) in enumerate(_CROSS_DIRECTIONS):
        ahead, behind = padded[1 + r : 1 + r + h, 1 + c : 1 + c + w], padded[1 - r : 1 - r + h, 1 - c : 1 - c + w]
        ridge &= (direction != code) | ((strength > ahead) & (strength >= behind))
    labels, n = ndimage.label(ridge, structure=np.ones((3, 3)))
    strong = np.zeros(n + 1, dtype=bool)
    strong[labels[strength > high * 255]] = True
    strong[0] = False
    return strong[labels]


def _thicker(mask: Mask, thickness: Thickness) -> Mask:
    """Every true pixel becomes a rectangle."""
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), size=thickness).view(bool))


def _filled(edges: Mask) -> Mask:
    """Edges and all that they enclose: whatever is not connected to the border of the page."""
    labels, _ = ndimage.label(~np.pad(edges, 1))
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1])


def _closed_runs(mask: Mask, gap: int) -> Mask:
    """Fill white runs of at most `gap` pixels between two black ones of a row."""
    columns = np.arange(mask.shape[1], dtype=np.int32)
    far = np.int32(mask.shape[1] + gap + 1)
    last = np.maximum.accumulate(np.where(mask, columns, -far), axis=1)
    following = np.minimum.accumulate(np.where(mask, columns, 2 * far)[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(following - last <= gap + 1)
