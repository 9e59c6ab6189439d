"""Values of surface forms against the formula worked out by hand, and extraction end to end."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.retrieval.attributes import AttributeExtractor, ValueNormalizer, value_scores

LOG = pl.DataFrame(
    {
        "surface": ["apple", "apple", "apple", "aple", "nike"],
        "type": ["brand"] * 5,
        "category": ["phone", "food", "food", "phone", "shoe"],
        "value": ["Apple Inc.", "Apple Farms", "Apple Farms", "Apple Inc.", "Nike"],
        "count": [6, 10, 2, 4, 5],
    }
)


def one_hot(surfaces: list[str]) -> np.ndarray:
    """Vectors in which only `apple` and `aple` are alike."""
    groups = {"apple": 0, "aple": 0, "nike": 1}
    return np.eye(3)[[groups.get(surface, 2) for surface in surfaces]]


def test_back_off_is_the_formula() -> None:
    # Surfaces apple, aple, nike and the names of the three values; those of group 2 look like nothing that was asked.
    normalizer = ValueNormalizer(strength=5, neighbours=2, temperature=0.1, encode=one_hot).fit(LOG)
    p0 = (np.array([6, 12, 0]) / 18 + np.array([1, 0, 0])) / 2
    of_surface = (np.array([6, 12, 0]) + 5 * p0) / (18 + 5)
    in_phone = (np.array([6, 0, 0]) + 5 * of_surface) / (6 + 5)
    assert normalizer("apple", "brand").probability == pytest.approx(of_surface.max())
    assert normalizer("Apple", "brand", "phone").probability == pytest.approx(in_phone.max())
    assert normalizer("apple", "brand").value == "Apple Farms"
    assert normalizer("apple", "brand", "phone").value == "Apple Inc."
    assert normalizer("apple", "brand", "phone").reason == (6.0, 6.0, ("apple", "aple"))


def test_unseen_surfaces_find_similar_ones_or_nothing() -> None:
    assert ValueNormalizer().fit(LOG)("nikes", "brand").value == "Nike"
    assert ValueNormalizer().fit(LOG)("qqqq", "brand").value is None
    assert ValueNormalizer(neighbours=0).fit(LOG)("nikes", "brand").value is None
    assert ValueNormalizer(threshold=0.99).fit(LOG)("apple", "brand").value is None, "abstains below the threshold"


def test_names_of_values_are_surfaces_too() -> None:
    assert ValueNormalizer().fit(LOG)("apple farm", "brand").value == "Apple Farms"


class Words:
    """Tags every word."""

    def predict_spans(self, documents: list[list[str]]) -> list[list[tuple[int, int, str]]]:
        return [[(i, i + 1, "brand" if word.islower() else "size") for i, word in enumerate(words)] for words in documents]


def test_extraction_joins_spans_and_values_and_vetoes_unlikely_ones() -> None:
    (found,) = AttributeExtractor(Words(), ValueNormalizer().fit(LOG))([["nike", "qqqq", "XL"]])
    assert [(a.surface, a.type, a.value) for a in found] == [("nike", "brand", "Nike"), ("qqqq", "brand", None), ("XL", "size", None)]
    (kept,) = AttributeExtractor(Words(), ValueNormalizer().fit(LOG), veto=0.5)([["nike", "qqqq", "XL"]])
    assert [a.surface for a in kept] == ["nike"]
    score = value_scores([{("brand", "Nike"), ("brand", "Adidas")}], [found])
    assert (score.precision, score.recall) == (1.0, 0.5)
    assert AttributeExtractor(Words(), ValueNormalizer().fit(LOG))([["apple"]], ["phone"])[0][0].value == "Apple Inc."


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ValueNormalizer(strength=0), ConfigError, "must be above 0"),
        (lambda: ValueNormalizer().fit(LOG.drop("value")), DataError, "no column 'value'"),
        (lambda: ValueNormalizer().fit(LOG.clear()), DataError, "no rows"),
        (lambda: ValueNormalizer()("a", "brand"), DataError, "not fitted yet"),
        (lambda: ValueNormalizer().fit(LOG)("a", "color"), DataError, "its types are brand"),
        (lambda: value_scores([set()], []), DataError, "they must match"),
    ],
)
def test_bad_input_is_named(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
