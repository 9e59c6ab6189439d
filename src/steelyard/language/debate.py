"""Debate: two instances of a model argue for opposite answers in turns, and what they say becomes the context of a weak judge.

Lang, Huang, Li 2025, "Debate Helps Weak-to-Strong Generalization"; consultancy and market-making are its ablations (Hubinger 2020, "AI
safety via market making"). Debaters see no label; who speaks first is drawn anew for every question.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError, SourceError
from steelyard.sources.response_cache import ResponseCache, response_key

DebateProtocol: TypeAlias = Literal["debate", "consultancy", "market", "none"]
Judge: TypeAlias = Callable[[list[str]], NDArray[np.floating]]
"""From n texts (question and transcript so far) to the probabilities (n, 2) of both answers."""

HEARD = "\nDebate:\n"
"""What lies between the question and the transcript in the text of a judge."""


@dataclass(frozen=True)
class Turn:
    """One argument and the answer (0 or 1) that it defends."""

    side: int
    text: str


@dataclass(frozen=True)
class Transcript:
    """The turns of one question, in the order in which they were spoken; `answers` are what side 0 and side 1 defend.

    Examples
    --------
    >>> print(Transcript(("yes", "no"), (Turn(1, "it never does"), Turn(0, "it did so twice"))).to_text(words=2))
    no: never does
    yes: so twice
    """

    answers: tuple[str, str]
    turns: tuple[Turn, ...] = ()

    def to_text(self, words: int | None = None) -> str:
        """One line a turn, headed by its answer; of a longer turn only the last `words` words, the same number for both sides."""
        return "\n".join(f"{self.answers[turn.side]}: {_last(turn.text, words)}" for turn in self.turns)

    def said_by(self, side: int) -> list[str]:
        """The arguments of one side."""
        return [turn.text for turn in self.turns if turn.side == side]


@dataclass(frozen=True)
class Move:
    """What a debater knows when it is its turn.

    Parameters
    ----------
    row, question
        Number and text of the question.
    side
        0 or 1: which of the two answers it must defend.
    transcript
        All that was said before, by either side.
    number
        How often this side has spoken.
    seed
        Of the debate: another seed, other arguments.
    """

    row: int
    question: str
    side: int
    transcript: Transcript
    number: int
    seed: int

    @property
    def answer(self) -> str:
        """What it defends."""
        return self.transcript.answers[self.side]

    @property
    def opponent(self) -> str:
        """What the other side defends."""
        return self.transcript.answers[1 - self.side]


class Debater(Protocol):
    """Whatever argues: a language model, or a reader who quotes."""

    @property
    def identity(self) -> str | None:
        """The key of its cache; `None` where arguing again is cheaper than remembering."""
        ...

    def argue(self, moves: Sequence[Move]) -> Iterable[tuple[int, str | None]]:
        """Yield (index of the move, argument) as they arrive; `None` where none came."""
        ...


@dataclass
class DebateCost:
    """What debates took: questions and turns, turns read from the cache and turns that failed, words spoken."""

    questions: int = 0
    turns: int = 0
    cached: int = 0
    failed: int = 0
    words: int = 0

    def to_dict(self) -> dict[str, float]:
        """All counts, and words per question."""
        return {**asdict(self), "words_per_question": self.words / max(self.questions, 1)}


class Debate:
    """Debates over many questions at once, turn by turn.

    Parameters
    ----------
    debater : Debater
        Argues for both sides; it never learns which is right.
    protocol
        ``debate``: both sides in alternation. ``consultancy``: one side only, drawn by chance. ``market``: each argument is against the
        answer that the judge holds, until its probability moves by less than `tolerance`. ``none``: silence.
    turns
        Arguments of each side; of the one speaker in the other protocols, at most.
    tolerance
        Change of the judge's probability that counts as none.
    cache : path, None or False
        Database of arguments (`None`: in the cache folder), by debater, question, both answers, seed and all that was said before.

    Attributes
    ----------
    cost_ : DebateCost
        Since the object was made.

    Examples
    --------
    >>> class Stubborn:
    ...     identity = None
    ...     def argue(self, moves):
    ...         return ((i, f"{move.answer} for reason {move.number + 1}") for i, move in enumerate(moves))
    >>> (transcript,) = Debate(Stubborn(), turns=2).transcripts(["Is it raining?"], ("yes", "no"), seed=1)
    >>> [(turn.side, turn.text) for turn in transcript.turns]
    [(0, 'yes for reason 1'), (1, 'no for reason 1'), (0, 'yes for reason 2'), (1, 'no for reason 2')]
    """

    def __init__(
        self,
        debater: Debater,
        *,
        protocol: DebateProtocol = "debate",
        turns: int = 3,
        tolerance: float = 0.02,
        cache: str | os.PathLike[str] | Literal[False] | None = None,
    ) -> None:
        if protocol not in get_args(DebateProtocol):
            raise ConfigError(f"protocol '{protocol}' is unknown; use {', '.join(get_args(DebateProtocol))}")
        if turns < 1:
            raise ConfigError(f"a debate of {turns} turns says nothing; give at least 1, or the protocol none")
        self.debater = debater
        self.protocol = protocol
        self.turns = turns
        self.tolerance = tolerance
        self.cache = cache
        self.cost_ = DebateCost()

    def transcripts(
        self, questions: Sequence[str], answers: Sequence[str], *, seed: int = 0, judge: Judge | None = None
    ) -> list[Transcript]:
        """Debate n questions, all between the same two answers.

        Parameters
        ----------
        questions
            n texts.
        answers
            Two names: what side 0 and side 1 defend.
        seed
            Decides who speaks first (or at all) in each question, and is handed to the debater.
        judge
            Needed by the protocol ``market``.

        Raises
        ------
        ConfigError
            There are not two different answers; a market has no judge.
        SourceError
            No argument came for any question of a turn.
        """
        if len(answers) != 2 or answers[0] == answers[1]:
            raise ConfigError(f"a debate is between two answers, and here are {len(answers)}: {', '.join(answers)}; name the two to keep")
        n = len(questions)
        spoken: list[list[Turn]] = [[] for _ in range(n)]
        opening = np.random.default_rng(seed).integers(2, size=n)
        self.cost_.questions += n
        if self.protocol == "debate":
            for number in range(2 * self.turns):
                self._speak(range(n), (opening + number) % 2, questions, answers, spoken, seed)
        elif self.protocol == "consultancy":
            for _ in range(self.turns):
                self._speak(range(n), opening, questions, answers, spoken, seed)
        elif self.protocol == "market":
            self._trade(questions, answers, spoken, seed, judge)
        return [Transcript((answers[0], answers[1]), tuple(turns)) for turns in spoken]

    def _trade(self, questions: Sequence[str], answers: Sequence[str], spoken: list[list[Turn]], seed: int, judge: Judge | None) -> None:
        if judge is None:
            raise ConfigError("the protocol market asks the judge after every argument; give a judge")
        two = (answers[0], answers[1])
        moving, before = np.arange(len(questions)), judge(list(questions))
        for _ in range(self.turns):
            self._speak(moving, 1 - before.argmax(axis=1), questions, answers, spoken, seed)
            after = judge([with_transcript(q, Transcript(two, tuple(turns))) for q, turns in zip(questions, spoken, strict=True)])
            moving = moving[np.abs(after - before)[moving].max(axis=1) >= self.tolerance]
            before = after
            if not len(moving):
                break

    def _speak(
        self,
        rows: Iterable[int],
        sides: NDArray[np.int64],
        questions: Sequence[str],
        answers: Sequence[str],
        spoken: list[list[Turn]],
        seed: int,
    ) -> None:
        """One argument for each of `rows`, by the side that `sides` (n,) names."""
        moves = []
        for row in map(int, rows):
            side, said = int(sides[row]), Transcript((answers[0], answers[1]), tuple(spoken[row]))
            moves.append(Move(row, questions[row], side, said, len(said.said_by(side)), seed))
        arguments = self._arguments(moves)
        if moves and all(argument is None for argument in arguments):
            raise SourceError(f"the debater gave no argument for any of {len(moves)} questions; check the model and its limits")
        for move, argument in zip(moves, arguments, strict=True):
            said_now = (argument or "").strip()
            spoken[move.row].append(Turn(move.side, said_now))
            self.cost_.words += len(said_now.split())
        self.cost_.turns += len(moves)
        self.cost_.failed += sum(argument is None for argument in arguments)

    def _arguments(self, moves: list[Move]) -> list[str | None]:
        arguments: list[str | None] = [None] * len(moves)
        identity = self.debater.identity
        if identity is None:
            for index, argument in self.debater.argue(moves):
                arguments[index] = argument
            return arguments
        keys = [response_key(debater=identity, protocol=self.protocol, **{**asdict(move), "row": None}) for move in moves]
        with ResponseCache(self.cache) as cache:
            known = cache.get(list(dict.fromkeys(keys)))
            missing = [index for index, key in enumerate(keys) if key not in known]
            for place, argument in self.debater.argue([moves[index] for index in missing]) if missing else ():
                arguments[missing[place]] = argument
                if argument is not None:
                    cache.put(keys[missing[place]], argument)  # at once: a killed run goes on behind the last argument
        for index, key in enumerate(keys):
            if key in known:
                arguments[index] = known[key]
        self.cost_.cached += len(moves) - len(missing)
        return arguments


def with_transcript(question: str, transcript: Transcript, words: int | None = None) -> str:
    """What the judge reads: the whole question first, so that whatever is cut is cut from the transcript.

    Examples
    --------
    >>> with_transcript("Is it raining?", Transcript(("yes", "no"), (Turn(0, "I am wet"),)))
    'Is it raining?\\nDebate:\\nyes: I am wet'
    """
    return f"{question}{HEARD}{transcript.to_text(words)}" if transcript.turns else question


def _last(text: str, words: int | None) -> str:
    said = " ".join(text.split())
    return said if words is None else " ".join(said.split(" ")[-words:])
