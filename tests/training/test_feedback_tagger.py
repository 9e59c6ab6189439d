"""The teacher–student loop: refinement, the sign of the feedback on a toy that can be worked out, and what each switch turns off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from steelyard.errors import TrainingError
from steelyard.evaluation import span_scores
from steelyard.training.feedback_tagger import FeedbackTagger, feedback_loss, hashed_features, refine_tags

CLASSES = ("O", "B-brand", "I-brand")


def shop(n: int, seed: int) -> tuple[list[list[str]], list[np.ndarray]]:
    """Queries of four words, one of them a brand; brands end in x."""
    random = np.random.default_rng(seed)
    documents, codes = [], []
    for _ in range(n):
        words, tags = [f"w{random.integers(30)}" for _ in range(4)], np.zeros(4, int)
        place = int(random.integers(4))
        words[place], tags[place] = f"b{random.integers(200)}x", 1
        documents.append(words)
        codes.append(tags)
    return documents, codes


def test_unknown_is_never_taken_as_outside() -> None:
    teacher = torch.tensor([[0.2, 0.8], [0.9, 0.1], [0.995, 0.005], [0.4, 0.6]])
    weak = torch.tensor([-1, 1, 1, 0])
    tags, weights = refine_tags(teacher, weak, "keep-weak", 0.02, 0)
    assert tags.tolist() == [1, 1, 0, 1], "holes are filled, likely entities kept, near-impossible ones and weak O replaced"
    assert weights.tolist() == pytest.approx([0.8, 1.0, 0.995, 0.6])
    assert refine_tags(teacher, weak, "teacher", 0.02, 0)[0].tolist() == [1, 0, 0, 1]
    assert refine_tags(teacher, weak, "weak-as-is", 0.02, 0)[0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(("pseudo", "loses"), [(1, True), (0, False)])
def test_wrong_pseudo_labels_lose_probability(pseudo: int, loses: bool) -> None:
    """Two parameters: logit a for the only word of the student and of the teacher; gold says class 0."""

    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros(len(x)), self.a.expand(len(x))], dim=1)

    student, teacher, x = Toy(), Toy(), torch.zeros(1)
    gold, label = torch.tensor([0]), torch.tensor([pseudo])
    before = nn.functional.cross_entropy(student(x), gold)
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(student(x), label), student.a)
    (towards_gold,) = torch.autograd.grad(before, student.a)
    with torch.no_grad():
        student.a -= 0.01 * slope
    h = float((before - nn.functional.cross_entropy(student(x), gold)).detach())
    assert h == pytest.approx(float(0.01 * slope * towards_gold), rel=0.02), "first-order equal to the product of the gradients"
    strong, weak = (x, gold), (x, label)
    (with_feedback,) = torch.autograd.grad(feedback_loss(teacher, strong, weak, h), teacher.a)
    (without,) = torch.autograd.grad(feedback_loss(teacher, strong, weak, 0.0), teacher.a)
    pushed = float(without - with_feedback)  # what descending adds to the logit of class 1
    assert pushed < 0, "the gold class gains in both cases"
    change = pushed if pseudo == 1 else -pushed
    assert (change < 0) == loses, "the pseudo label loses probability where it was wrong and gains where it was right"


def small(**options: object) -> FeedbackTagger:
    """A tagger whose network has a thousand buckets instead of thirty."""
    network = lambda: nn.Sequential(nn.EmbeddingBag(1024, 16, mode="sum"), nn.Linear(16, 3))  # noqa: E731
    return FeedbackTagger(CLASSES, network=network, featurize=lambda d: hashed_features(d) % 1024, **options)  # type: ignore[arg-type]


def test_completed_weak_tags_beat_strong_tags_alone_and_self_training() -> None:
    strong, gold = shop(6, 0)
    weak, truth = shop(300, 1)
    random = np.random.default_rng(2)
    # Behaviour finds a third of the brands and says nothing of the rest.
    found = [np.where((codes == 1) & (random.random(4) < 0.35), 1, -1) for codes in truth]
    test, answer = shop(200, 3)
    spans = [[(int(i), int(i) + 1, "brand") for i in np.flatnonzero(codes)] for codes in answer]

    def f1(tagger: FeedbackTagger) -> float:
        return span_scores(spans, tagger.predict_spans(test))["all"].f1

    method = f1(small(steps=60, finetune_steps=20).fit(strong, gold, weak, found))
    assert method > f1(small(steps=60).fit(strong, gold)) + 0.05
    assert method > f1(small(steps=60, finetune_steps=20, refine="teacher").fit(strong, gold, weak, found)) + 0.05


def test_same_seed_same_tags_and_history_tells_collapse() -> None:
    strong, gold = shop(10, 0)
    weak, _ = shop(30, 1)
    unknown = [np.full(4, -1)] * 30
    taggers = [small(steps=15, finetune_steps=5, seed=3).fit(strong, gold, weak, unknown) for _ in range(2)]
    test, _ = shop(50, 5)
    assert taggers[0].predict(test) == taggers[1].predict(test)
    assert taggers[0].history_ == taggers[1].history_
    assert {"loss", "h", "entities"} <= taggers[0].history_[0].keys()
    assert any(step["h"] != 0 for step in taggers[0].history_)
    silent = small(steps=15, feedback=0.0, seed=3).fit(strong, gold, weak, unknown)
    assert all(step["h"] == 0 for step in silent.history_)


def test_features_of_a_word_depend_on_its_window_only() -> None:
    rows = hashed_features([["a", "b", "c", "d", "e", "f"], ["x", "b", "c", "d", "e", "f"]])
    assert (rows[3] == rows[9]).all()
    assert (rows[2] != rows[8]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FeedbackTagger(CLASSES, refine="mine"), "refine must be"),  # type: ignore[arg-type]
        (lambda: FeedbackTagger(("B-x",)), "must hold 'O'"),
        (lambda: FeedbackTagger(CLASSES).fit([], []), "needs strong documents"),
        (lambda: FeedbackTagger(CLASSES).fit([["a"]], [[-1]]), "every word has a tag"),
        (lambda: FeedbackTagger(CLASSES).fit([["a", "b"]], [[0]]), "differ in number"),
        (lambda: FeedbackTagger(CLASSES).fit([["a"]], [[7]]), "beyond the 3 classes"),
        (lambda: FeedbackTagger(CLASSES).predict([["a"]]), "not trained yet"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        call()  # type: ignore[operator]
