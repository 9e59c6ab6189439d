"""A few examples per class as a source: a row votes for the class whose mean embedding is nearest, or abstains.

Prototypical classification (Snell et al. 2017, "Prototypical Networks for Few-shot Learning") on a frozen encoder, by cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.errors import SourceError
from steelyard.sources.zero_shot import Encode, PromptEnsemble, PrototypeSource


def centroid(
    examples: Mapping[str, Sequence[str]],
    *,
    on: str = "text",
    encoder: Encode | str | None = None,
    temperature: float = 0.05,
    coverage: float | None = None,
    precision: float | None = None,
    gold: str | None = None,
    name: str = "centroid",
) -> PrototypeSource:
    """Classify rows by the nearest centroid of a few seed examples per class.

    Parameters
    ----------
    examples
        Class -> its seed texts. Five each tell many narrow classes apart better than their names do; for a few broad classes a good
        description (`zero_shot`) can be the better source.
    on
        Column to embed.
    encoder
        `texts -> (n, d)`, a Hugging Face name, or nothing for the packaged MiniLM.
    temperature
        Divides the cosines in the confidence `softmax(cosine / temperature)`.
    coverage, precision, gold
        When to abstain, as in `zero_shot`.
    name
        Name of the source.

    Returns
    -------
    PrototypeSource
        Votes with confidences; `predict_proba(data)` gives the whole distribution.

    Raises
    ------
    SourceError
        A class without examples, or contradictory options.

    Examples
    --------
    >>> import polars as pl
    >>> source = centroid({"SPORTS": ["He won the race", "A late goal"], "MONEY": ["Profits rose", "The bank failed"]})
    >>> votes = source.vote(pl.DataFrame({"text": ["They lost the match", "Shares recovered"]}))
    >>> [votes.labels[code] for code in votes.codes]
    ['SPORTS', 'MONEY']
    """
    if not isinstance(examples, Mapping) or any(isinstance(texts, str) for texts in examples.values()):
        raise SourceError(f"source '{name}': give a list of example texts for each class, as {{'SPAM': ['win now', …], …}}")
    ensemble = PromptEnsemble(examples, temperature=temperature)
    return PrototypeSource(name, ensemble, on=on, encoder=encoder, item_encoder=None, coverage=coverage, precision=precision, gold=gold)
