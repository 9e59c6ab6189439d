"""Who argues in a debate: a language model behind the backends of `prompt`, or a debater without one, which quotes labelled examples.

For `debate.Debate` (Lang, Huang, Li 2025, "Debate Helps Weak-to-Strong Generalization"). The quoting debater never quotes the question
itself, and has a quotation for either answer of every question: one side of each debate is wrong, and the judge must learn which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError, DataError
from steelyard.language.debate import Move
from steelyard.sources.prompt_backends import Answer, Backend, Request
from steelyard.sources.prompts import Usage

TEMPLATE = """Question: {question}
Two debaters defend "{answer}" and "{opponent}" before a judge who must choose one. You defend "{answer}".
{transcript}
Persuade the judge in at most {words} words: quote evidence from the question and rebut what "{opponent}" has said. Your argument for \
"{answer}":"""


class PromptDebater:
    """A language model that argues.

    Parameters
    ----------
    backend
        What `prompt` takes, such as ``OpenAICompatible(url, model, temperature=0.8, max_tokens=200)``; or a function of the debate's seed
        that makes one, where the server can be seeded. A greedy model says the same in every debate but for who speaks first.
    template
        Filled with {question}, {answer}, {opponent}, {transcript} and {words}.
    words
        Length that is asked for, the same for both sides.
    system
        System message.

    Attributes
    ----------
    usage_ : Usage
        Requests, retries, failures, tokens and cost.
    """

    def __init__(
        self,
        backend: Backend | Callable[[int], Backend],
        *,
        template: str = TEMPLATE,
        words: int = 150,
        system: str | None = None,
    ) -> None:
        self.backend = backend
        self.template = template
        self.words = words
        self.system = system
        self.usage_ = Usage()
        try:
            template.format(question="", answer="", opponent="", transcript="", words=0)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"the template of the debater cannot be filled ({error}); use question, answer, opponent, transcript and words in braces"
            ) from None

    @property
    def identity(self) -> str:
        """Backend, template and system message."""
        return f"{self._backend(0).identity} {self.system!r} {self.words} {self.template!r}"

    def argue(self, moves: Sequence[Move]) -> Iterator[tuple[int, str | None]]:
        """Ask for all arguments of a turn at once."""
        if not moves:
            return
        backend = self._backend(moves[0].seed)
        asked, said = backend.prices
        for index, result in backend.answer([Request(self.render(move), self.system) for move in moves]):
            self.usage_.retries += result.retries
            if not isinstance(result, Answer):
                self.usage_.failed += 1
                yield index, None
                continue
            self.usage_.requests += 1
            self.usage_.prompt_tokens += result.prompt_tokens
            self.usage_.completion_tokens += result.completion_tokens
            self.usage_.cost += (asked * result.prompt_tokens + said * result.completion_tokens) / 1e6
            yield index, result.text

    def render(self, move: Move) -> str:
        """The prompt of one move, with all that was said before."""
        said = move.transcript.to_text(self.words)
        transcript = f"So far:\n{said}" if said else "You speak first."
        return self.template.format(
            question=move.question, answer=move.answer, opponent=move.opponent, transcript=transcript, words=self.words
        )

    def _backend(self, seed: int) -> Backend:
        made: Any = self.backend
        backend: Backend = made if hasattr(made, "answer") else made(seed)
        return backend


class QuotingDebater:
    """Defends an answer with the labelled examples of it that lie nearest to the question, one a turn, and says how near they
    lie: ``match_6_yes`` is an example of yes at a cosine between 0.6 and 0.7.

    Each debate draws its quotations, without repetition, from the `nearest` examples of the answer with probability proportional to
    exp(cosine / temperature).

    Parameters
    ----------
    texts, y
        m labelled examples and their answers, 0 or 1: the gold pool.
    encoder
        Anything with `encode(texts) -> (n, d)` unit vectors.
    nearest, temperature
        How widely quotations are drawn.

    Raises
    ------
    DataError
        An answer has fewer than `nearest` + 1 examples.

    Examples
    --------
    >>> from steelyard.language.debate import Debate
    >>> class Letters:
    ...     def encode(self, texts):
    ...         return np.array([[float(letter in text) for letter in "abcd"] for text in texts]) / 2
    >>> debater = QuotingDebater(["ab", "abc", "cd", "bcd"], np.array([0, 0, 1, 1]), Letters(), nearest=1)
    >>> (transcript,) = Debate(debater, turns=1).transcripts(["ab"], ("left", "right"), seed=1)
    >>> print(transcript.to_text())
    left: abc (match_5_left)
    right: bcd (match_2_right)
    """

    identity = None

    def __init__(
        self, texts: Sequence[str], y: NDArray[np.integer[Any]], encoder: Any, *, nearest: int = 6, temperature: float = 0.05
    ) -> None:
        self.texts = list(texts)
        self.encoder = encoder
        self.nearest = nearest
        self.temperature = temperature
        self.examples = [np.flatnonzero(np.asarray(y) == side) for side in (0, 1)]
        if (fewest := min(map(len, self.examples))) <= nearest:
            raise DataError(
                f"one answer has {fewest} labelled examples, too few to draw quotations from the {nearest} nearest; "
                f"give at least {nearest + 1} of each answer"
            )
        self._vectors = np.asarray(encoder.encode(self.texts))

    def argue(self, moves: Sequence[Move]) -> Iterator[tuple[int, str | None]]:
        """Quote for every move what its side has not quoted yet; the question itself is left out."""
        if not moves:
            return
        if (most := max(move.number for move in moves)) >= self.nearest:
            raise ConfigError(f"a quoting debater with the {self.nearest} nearest examples cannot speak {most + 1} times; raise nearest")
        vectors = np.asarray(self.encoder.encode([move.question for move in moves]))
        rows, sides = np.array([move.row for move in moves]), np.array([move.side for move in moves])
        for side in (0, 1):
            places = np.flatnonzero(sides == side)
            if not len(places):
                continue
            own = self.examples[side]
            cosines = vectors[places] @ self._vectors[own].T  # (p, e)
            own_texts = np.array([self.texts[int(example)] for example in own], dtype=np.object_)
            cosines[own_texts[None, :] == np.array([moves[int(place)].question for place in places], dtype=np.object_)[:, None]] = -np.inf
            found: Any = np.argsort(-cosines, axis=1, kind="stable")[:, : self.nearest]  # (p, nearest)
            near = np.take_along_axis(cosines, found, axis=1)
            # The largest of score / T plus Gumbel noise, one after the other, are draws without replacement.
            noise = np.random.default_rng([moves[0].seed, side]).gumbel(size=(rows.max() + 1, self.nearest))[rows[places]]
            order = np.argsort(-(near / self.temperature + noise), axis=1)
            for at, place in enumerate(places.tolist()):
                chosen = order[at, moves[place].number]
                text = self.texts[int(own[found[at][chosen]])]
                # A coarse word, because a judge of words cannot read numbers.
                yield place, f"{text} (match_{max(int(10 * near[at, chosen]), 0)}_{moves[place].answer})"
