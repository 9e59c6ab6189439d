"""Sub-tasks keep the link to their problem, hold nothing beyond it, and are dropped for stated reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from steelyard.completions import Completions
from steelyard.datasets.problems import load_problems
from steelyard.language.decomposition import plain_solution, prompted_subtasks, socratic_subtasks
from steelyard.language.reasoning import extract
from steelyard.language.steps import arithmetic_errors, step_error_rate, steps
from steelyard.training.policy import Policy

STORY = "A baker bakes 24 rolls and 18 buns. He sells half of the rolls for $2 each and all buns for $3 each."
QUESTION = f"{STORY} What does he earn?"
SOLUTION = """How many rolls does he sell? ** He sells 24/2=<<24/2=12>>12 rolls.
What do the rolls bring? ** They bring 12*2=$<<12*2=24>>24.
What do the buns bring? ** They bring 18*3=$<<18*3=54>>54.
Is that all? ** Yes.
What does he earn? ** He earns 24+54=$<<24+54=78>>78.
#### 78"""


def test_a_subtask_is_the_story_with_its_own_question_and_the_steps_it_rests_on() -> None:
    found = socratic_subtasks(["1+1?", QUESTION], ["What is it? ** <<1+1=2>>2\n#### 2", SOLUTION])
    assert [(sub.task, sub.k, sub.answer) for sub in found.subtasks] == [(1, 1, "12"), (1, 2, "24"), (1, 3, "54")]
    assert all(sub.question.startswith(STORY) for sub in found.subtasks)
    assert [len(steps(sub.solution)) for sub in found.subtasks] == [1, 2, 1]
    assert all(extract(sub.solution, "hashes") == sub.answer for sub in found.subtasks)
    assert found.dropped == {"variant of the problem": 2, "no computation": 1}
    assert (found.tasks, found.kept_tasks) == (2, 1)


def test_a_step_with_a_number_from_nowhere_is_not_well_defined() -> None:
    strange = SOLUTION.replace("24/2=<<24/2=12>>12", "24-17=<<24-17=7>>7")
    assert socratic_subtasks([QUESTION], [strange]).dropped["not well defined"] >= 1


def test_solutions_without_their_questions() -> None:
    plain = plain_solution(SOLUTION)
    assert "**" not in plain
    assert plain.endswith("#### 78")
    assert plain_solution(plain) == plain


class Scribe(Policy):
    """A language model that always writes the same."""

    def __init__(self, text: str) -> None:
        self.text = text

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        self.asked = list(prompts)
        return Completions(prompts, [self.text] * len(prompts))

    def fit(self, completions: Completions, weights: Any = None) -> Scribe:
        return self

    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> Any:
        raise NotImplementedError

    def parameters(self) -> list[Any]:
        return []


def test_a_policy_is_asked_with_the_solution_before_it_and_its_subtasks_are_checked() -> None:
    scribe = Scribe(
        "Sub-problem: A baker sells 12 rolls for $2 each. What do they bring?\nSub-solution: 12*2 = \\boxed{24}\n\n"
        "Sub-problem: He sells 99 pies. How many?\nSub-solution: \\boxed{99}\n\nSub-problem: What does he earn?\nSub-solution: \\boxed{78}"
    )
    found = prompted_subtasks(scribe, [QUESTION], [plain_solution(SOLUTION)], n=4)
    assert QUESTION in scribe.asked[0]
    assert "They bring 18*3" in scribe.asked[0]
    assert [(sub.k, sub.answer) for sub in found.subtasks] == [(1, "24")]
    assert found.dropped == {"not in the asked form": 1, "not well defined": 1, "variant of the problem": 1}


def test_gsm8k_in_socratic_form(data_root: Path) -> None:
    if not (data_root / "gsm8k_socratic" / "test_socratic.jsonl").is_file():
        pytest.skip("gsm8k_socratic is not in the folder of real data sets; load_problems('gsm8k_socratic') downloads it")
    problems = load_problems("gsm8k_socratic", root=data_root)
    found = socratic_subtasks(problems.questions, problems.solutions)
    assert (found.tasks, found.kept_tasks, len(found.subtasks)) == (1319, 1217, 2841)
    full = [plain_solution(text) for text in problems.solutions]
    assert step_error_rate(full, full, arithmetic_errors) == 0
    assert step_error_rate([sub.solution for sub in found.subtasks], [full[sub.task] for sub in found.subtasks], arithmetic_errors) == 0
    assert all(len(steps(sub.solution)) < len(steps(full[sub.task])) for sub in found.subtasks)
