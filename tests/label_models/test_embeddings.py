from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import distance
from scipy.stats import chi2

from steelyard.errors import LabelModelError
from steelyard.label_models.embeddings import ClosestToAverage, Rasa

NOISE = np.array([0.4, 0.7, 1.0, 1.3, 1.6])


def simulate(n: int, seed: int, *, noise: np.ndarray = NOISE, fill: float = 1.0) -> tuple[dict[str, list], np.ndarray, np.ndarray]:
    """Answers that are the truth plus each worker's noise: the table, their embeddings (a, 6), the true ones (n, 6)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 6))
    task, worker = (part.ravel() for part in np.indices((n, len(noise))))
    kept = rng.random(len(task)) < fill
    task, worker = task[kept], worker[kept]
    vectors = truth[task] + noise[worker, None] * rng.normal(size=(len(task), 6))
    texts = [f"{i}/{j}" for i, j in zip(task, worker, strict=True)]
    table = {"task": [f"t{i}" for i in task], "worker": [f"w{j}" for j in worker], "text": texts}
    return table, vectors, truth


def by_worker(model: ClosestToAverage) -> np.ndarray:
    return model.reliabilities_[np.argsort([int(name[1:]) for name in model.workers_])]


def rasa_by_hand(table: dict[str, list], vectors: np.ndarray, rounds: int, correction: bool) -> np.ndarray:
    """Averages and reliabilities in turn, task by task; reliabilities with mean 1."""
    workers = list(dict.fromkeys(table["worker"]))
    beta = dict.fromkeys(workers, 1.0)
    answers = list(zip(table["task"], table["worker"], vectors, strict=True))
    for _ in range(rounds):
        squares, count = dict.fromkeys(workers, 0.0), dict.fromkeys(workers, 0)
        for task in dict.fromkeys(table["task"]):
            mine = [(w, e) for t, w, e in answers if t == task]
            total = sum(beta[w] for w, _ in mine)
            average = sum(beta[w] * e for w, e in mine) / total
            for w, e in mine:
                squares[w] += ((e - average) ** 2).sum() / (1 - beta[w] / total if correction else 1)
                count[w] += 1
        beta = {w: chi2.ppf(0.025, count[w]) / squares[w] for w in workers}
        mean = np.mean(list(beta.values()))
        beta = {w: b / mean for w, b in beta.items()}
    return np.array([beta[w] for w in workers])


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_the_closest_answer_is_found_as_task_by_task(kind: str) -> None:
    table, vectors, _ = simulate(40, seed=0, fill=0.7)
    chosen = ClosestToAverage(distance=kind).fit(table, vectors).predict(table, vectors)  # type: ignore[arg-type]
    for task, text, worker, far in chosen.iter_rows():
        rows = [i for i, name in enumerate(table["task"]) if name == task]
        average = vectors[rows].mean(axis=0)
        distances = [getattr(distance, kind)(vectors[i], average) for i in rows]
        best = rows[int(np.argmin(distances))]
        assert (text, worker) == (table["text"][best], table["worker"][best])
        assert far == pytest.approx(min(distances))


def test_an_encoder_makes_the_embeddings() -> None:
    def lengths(texts: list[str]) -> np.ndarray:
        return np.array([[len(text), 1.0] for text in texts])

    table = {"task": ["t"] * 3, "worker": list("abc"), "text": ["xx", "xxx", "xxxxxxxxx"]}
    model = ClosestToAverage(lengths, distance="euclidean").fit(table)
    assert model.predict(table)["text"].to_list() == ["xxx"]


def test_ties_go_to_the_first_and_zero_vectors_lose() -> None:
    table = {"task": ["t"] * 3, "worker": list("abc"), "text": ["none", "left", "right"]}
    vectors = [[0.0, 0.0], [-1.0, 1.0], [1.0, 1.0]]
    assert ClosestToAverage().fit(table, vectors).predict(table, vectors)["text"].to_list() == ["left"]


@pytest.mark.parametrize("correction", [True, False])
def test_rasa_written_out_task_by_task_gives_the_same(correction: bool) -> None:
    table, vectors, _ = simulate(30, seed=1)
    with pytest.warns(UserWarning, match="did not converge in 6 rounds"):
        model = Rasa(correction=correction, max_iter=6, tol=0).fit(table, vectors)
    np.testing.assert_allclose(model.reliabilities_, rasa_by_hand(table, vectors, 6, correction), rtol=1e-9)


def test_planted_reliabilities_are_recovered_as_n_grows() -> None:
    expected = 1 / NOISE**2
    expected /= expected.mean()
    errors = []
    for n in (50, 8_000):
        table, vectors, _ = simulate(n, seed=2)
        model = Rasa().fit(table, vectors)
        assert model.converged_
        errors.append(np.abs(by_worker(model) / expected - 1).max())
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 3


def test_without_the_correction_one_worker_takes_all() -> None:
    table, vectors, _ = simulate(500, seed=3)
    published = by_worker(Rasa(correction=False).fit(table, vectors))
    assert published.max() > 4.99
    assert by_worker(Rasa().fit(table, vectors)).max() < 4


def test_rasa_averages_are_nearer_to_the_truth() -> None:
    table, vectors, truth = simulate(600, seed=4, fill=0.6)
    tasks = np.array([int(name[1:]) for name in table["task"]])
    worker = np.array([int(name[1:]) for name in table["worker"]])

    def error(model: ClosestToAverage) -> float:
        weight = by_worker(model.fit(table, vectors))[worker]
        total = np.bincount(tasks, weight, len(truth))
        seen = total > 0
        average = np.stack([np.bincount(tasks, weight * column, len(truth)) for column in vectors.T], axis=1)[seen] / total[seen, None]
        return float(((average - truth[seen]) ** 2).mean())

    assert error(Rasa()) < 0.7 * error(ClosestToAverage())


def test_known_answers_show_who_is_reliable() -> None:
    table, vectors, truth = simulate(60, seed=5)
    gold = {"task": [f"t{i}" for i in range(40)], "embedding": truth[:40].tolist()}
    model = ClosestToAverage().fit(table, vectors, gold)
    assert (np.diff(by_worker(model)) < 0).all()
    unknown = ClosestToAverage().fit(table, vectors)
    np.testing.assert_array_equal(unknown.reliabilities_, 1)


def test_known_answers_free_rasa_from_copies() -> None:
    """Two workers copy each other, so that the average leans to them; known tasks tell."""
    table, vectors, truth = simulate(200, seed=6, noise=np.array([0.3, 0.3, 1.5, 1.5]))
    copies = np.array(table["worker"]) == "w3"
    vectors[copies] = vectors[np.array(table["worker"]) == "w2"]
    gold = {"task": [f"t{i}" for i in range(100)], "embedding": truth[:100].tolist()}
    blind, told = by_worker(Rasa().fit(table, vectors)), by_worker(Rasa().fit(table, vectors, gold))
    assert told[:2].min() > told[2:].max()
    assert told[2:].sum() < blind[2:].sum()


def test_known_texts_go_through_the_encoder() -> None:
    def first_letter(texts: list[str]) -> np.ndarray:
        return np.eye(3)[["abc".index(text[0]) for text in texts]]

    table = {"task": ["1", "1", "2", "2"], "worker": ["x", "y", "x", "y"], "text": ["a", "b", "b", "c"]}
    model = ClosestToAverage(first_letter).fit(table, gold={"task": ["1"], "text": ["a!"]})
    assert model.reliabilities_[0] > model.reliabilities_[1]
    assert model.predict(table)["text"].to_list() == ["a", "b"]


def test_permuting_the_workers_permutes_their_reliabilities() -> None:
    table, vectors, _ = simulate(80, seed=7)
    renamed = table | {"worker": [f"w{(int(name[1:]) + 2) % 5}" for name in table["worker"]]}
    np.testing.assert_allclose(by_worker(Rasa().fit(table, vectors)), np.roll(by_worker(Rasa().fit(renamed, vectors)), -2))


def test_tasks_with_one_answer_tell_nothing() -> None:
    table, vectors, _ = simulate(50, seed=8)
    more = {key: [*values, extra] for (key, values), extra in zip(table.items(), ["alone", "w4", "text"], strict=True)}
    one, other = Rasa().fit(table, vectors), Rasa().fit(more, np.vstack([vectors, np.full(6, 9.0)]))
    np.testing.assert_allclose(by_worker(one), by_worker(other))
    alone = {"task": ["a", "b"], "worker": ["x", "y"], "text": ["1", "2"]}
    assert Rasa().fit(alone, [[1.0], [2.0]]).reliabilities_.tolist() == [1, 1]


def test_errors() -> None:
    table, vectors, _ = simulate(5, seed=9)
    with pytest.raises(LabelModelError, match="neither embeddings nor an encoder"):
        ClosestToAverage().fit(table)
    with pytest.raises(LabelModelError, match="one finite row for each of the 25 answers"):
        Rasa().fit(table, vectors[:3])
    with pytest.raises(LabelModelError, match="distance must be"):
        ClosestToAverage(distance="far").fit(table, vectors)  # type: ignore[arg-type]
    with pytest.raises(LabelModelError, match="have 6 columns"):
        Rasa().fit(table, vectors, {"task": ["t0"], "embedding": [[1.0]]})
    with pytest.raises(LabelModelError, match="first known task is 'zzz'"):
        Rasa().fit(table, vectors, {"task": ["zzz"], "embedding": [[0.0] * 6]})
    with pytest.raises(LabelModelError, match="not fitted"):
        Rasa().predict(table, vectors)
    with pytest.raises(LabelModelError, match="max_iter"):
        Rasa(max_iter=0).fit(table, vectors)
