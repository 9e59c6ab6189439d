"""Sub-tasks of a hard problem: self-contained, simpler, derived from its own solution alone, so that they carry no information beyond it.

Two decomposers: GSM8K's socratic format (Cobbe et al. 2021), where every step is preceded by its sub-question, and any policy that can be
asked (He, Yin, Peng 2024, "Guiding Through Complexity"). Sub-tasks that break the rules are dropped, and counted by reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from steelyard.language.notation import NUMBER
from steelyard.language.reasoning import equal, extract
from steelyard.language.steps import calculations, steps
from steelyard.training.policy import Policy

_SUB = " ** "
_SPELLED = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half|twice|double|triple|quarter|third|dozen)", re.IGNORECASE
)
_KNOWN = {"1", "2", "7", "12", "24", "30", "52", "60", "100", "365", "1000"}
_REQUEST = """Below are a problem and its solution. Write {n} sub-problems of it. Each must be self-contained with every condition it \
needs, independent of the others, simpler than the problem but not trivial, and solved by a part of the given solution only. Write each as

Sub-problem: ...
Sub-solution: ... \\boxed{{answer}}

Problem: {question}
Solution: {solution}
"""


@dataclass(frozen=True)
class SubTask:
    """Sub-task k (from 1) of problem `task`: its own question, its solution and the answer of that."""

    task: int
    k: int
    question: str
    solution: str
    answer: str


@dataclass
class Decomposition:
    """Sub-tasks that passed every check, and why the others did not; `kept_tasks` counts problems with at least one."""

    subtasks: list[SubTask] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    tasks: int = 0

    @property
    def kept_tasks(self) -> int:
        """Problems with at least one sub-task left."""
        return len({sub.task for sub in self.subtasks})


def plain_solution(solution: str) -> str:
    """A socratic solution without its sub-questions; any other as it is.

    Examples
    --------
    >>> plain_solution("How many eggs? ** She has 16-3=<<16-3=13>>13.\\n#### 13")
    'She has 16-3=<<16-3=13>>13.\\n#### 13'
    """
    return "\n".join(line.partition(_SUB)[2] or line for line in solution.splitlines())


def socratic_subtasks(questions: Sequence[str], solutions: Sequence[str]) -> Decomposition:
    """Make sub-task k of every problem: its story with sub-question k, solved by step k and the earlier steps that k uses.

    Parameters
    ----------
    questions, solutions
        n problems; every step of a solution is a line ``sub-question ** step`` with a calculator annotation.

    Returns
    -------
    Decomposition
        Dropped are steps without a computation, those whose answer or whole chain of steps is that of the problem itself (a variant of it),
        and those that use a number which neither the problem nor an earlier step gives (not well defined).

    Examples
    --------
    >>> solution = "How many are sold? ** 16-3=<<16-3=13>>13\\nWhat do they earn? ** 13*2=<<13*2=26>>26\\n#### 26"
    >>> found = socratic_subtasks(["16 eggs are laid and 3 eaten. The rest is sold for $2 each. What do they earn?"], [solution])
    >>> found.subtasks[0].question, found.subtasks[0].answer, dict(found.dropped)
    ('16 eggs are laid and 3 eaten. The rest is sold for $2 each. How many are sold?', '13', {'variant of the problem': 1})
    """
    found = Decomposition()
    for task, (question, solution) in enumerate(zip(questions, solutions, strict=True)):
        found.tasks += 1
        lines = [line.partition(_SUB) for line in steps(solution)]
        story, final = _story(question), extract(solution, "hashes")
        chains = [sorted(chain) for chain in _chains([line for _, _, line in lines])]
        for k, (asked, mark, line) in enumerate(lines):
            computed = calculations(line)
            chain = [lines[j][2] for j in chains[k]]
            if not mark or not computed:
                found.dropped["no computation"] += 1
            elif equal(computed[-1][1], final) or len(chain) == len(lines) > 1:
                found.dropped["variant of the problem"] += 1
            elif not _well_defined(question, chain):
                found.dropped["not well defined"] += 1
            else:
                answer = computed[-1][1].strip()
                found.subtasks.append(
                    SubTask(task, k + 1, f"{story} {asked.strip()}".strip(), "\n".join([*chain, f"#### {answer}"]), answer)
                )
    return found


def prompted_subtasks(policy: Policy, questions: Sequence[str], solutions: Sequence[str], *, n: int = 2, seed: int = 0) -> Decomposition:
    """Ask a policy for n sub-problems of every problem; the same checks as for socratic ones, as far as they can be made without steps.

    Parameters
    ----------
    policy
        A language model that follows instructions.
    questions, solutions
        The hard problems with their reference solutions.
    """
    found = Decomposition(tasks=len(questions))
    prompts = [_REQUEST.format(n=n, question=q, solution=s) for q, s in zip(questions, solutions, strict=True)]
    for task, text in enumerate(policy.sample(prompts, temperature=0.0, seed=seed).texts):
        parts = re.findall(r"Sub-problem:\s*(.*?)\s*Sub-solution:\s*(.*?)(?=\s*Sub-problem:|\Z)", text, re.DOTALL)
        found.dropped["not in the asked form"] += max(n - len(parts), 0)
        for k, (question, solution) in enumerate(parts[:n]):
            answer = extract(solution, "boxed")
            if not answer:
                found.dropped["no computation"] += 1
            elif equal(answer, extract(solutions[task])) or question.strip() == questions[task].strip():
                found.dropped["variant of the problem"] += 1
            elif not _numbers(question) <= _numbers(questions[task] + solutions[task]) | _KNOWN:
                found.dropped["not well defined"] += 1
            else:
                found.subtasks.append(SubTask(task, k + 1, question, solution, answer))
    return found


def _story(question: str) -> str:
    """The question without its last sentence, which asks."""
    sentences = re.split(r"(?<=[.?!])\s+", question.strip())
    return " ".join(sentences[:-1])


def _chains(lines: list[str]) -> list[set[int]]:
    """For each step the steps it rests on, itself included: those whose result it uses, the latest where several have it."""
    chains: list[set[int]] = []
    results: dict[str, int] = {}
    for k, line in enumerate(lines):
        used = {number for expression, _ in calculations(line) for number in _numbers(expression)}
        chains.append(set().union({k}, *(chains[results[number]] for number in used if number in results)))
        results |= {_plain(printed): k for _, printed in calculations(line)}
    return chains


def _well_defined(question: str, chain: list[str]) -> bool:
    """Whether every number that the steps use is told by the problem, derived before, or known to everybody."""
    told = _numbers(question) | _KNOWN
    # A percentage p is also used as p/100, 1 + p/100 and 1 − p/100.
    told |= {f"{base + sign * float(number) / 100:.10g}" for number in told for base, sign in ((0, 1), (1, 1), (1, -1))}
    spelled = _SPELLED.search(question) is not None
    for line in chain:
        for expression, printed in calculations(line):
            unknown = _numbers(expression) - told
            if any(float(number) > 12 or not spelled for number in unknown):
                return False
            told.add(_plain(printed))
    return True


def _numbers(text: str) -> set[str]:
    return {_plain(number) for number in NUMBER.findall(text)}


def _plain(number: str) -> str:
    """A number as its shortest decimal, so that equal ones are the same string."""
    digits = re.sub(r"[^\d.]", "", number.replace(",", ""))
    return f"{float(digits):.10g}" if re.fullmatch(r"\d*\.?\d+|\d+\.", digits) else digits
