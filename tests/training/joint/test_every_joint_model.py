"""What holds for every joint model, whatever it does with the votes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

from steelyard.errors import ConfigError, TrainingError
from steelyard.training import ASTRA, COSINE, DenoisingAttention, ImplyLoss, WeaSEL, load_student
from steelyard.votes import ABSTAIN, Votes
from tests.training.joint.simulated import experts, some

MODELS = [DenoisingAttention, WeaSEL, ImplyLoss, COSINE, ASTRA]
FROM_VOTES = [model for model in MODELS if model is not COSINE]
QUICK = {"epochs": 2, "hidden": 16}


def make(model, **options):
    """One turn of teacher and student is enough here."""
    return model(rounds=1, **options) if model is ASTRA else model(**options)


def gold_for(model, y, count=40):
    return some(y, count) if model.needs_gold else None


@pytest.mark.parametrize("model", MODELS)
def test_it_learns_and_answers_with_distributions(model):
    x, y, votes = experts(600)
    student = make(model).fit(x, votes, gold_for(model, y))
    probabilities = student.predict_proba(x)
    assert probabilities.shape == (600, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (student.predict(x) == y).mean() > 0.9
    assert student.classes_ == votes.classes
    assert student.predict_proba(x[:0]).shape == (0, 2)


@pytest.mark.parametrize("model", MODELS)
def test_error_falls_with_the_number_of_rows(model):
    test_x, test_y, _ = experts(2000, seed=99)

    def error(n: int) -> float:
        x, y, votes = experts(n)
        student = make(model, epochs=8).fit(x, votes, gold_for(model, y, n // 10))
        return float((student.predict(test_x) != test_y).mean())

    assert error(800) < error(80) - 0.02


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_generator_alone(model):
    x, y, votes = experts(200)
    state = torch.get_rng_state()
    first, second, other = (make(model, **QUICK, seed=seed).fit(x, votes, gold_for(model, y)).predict_proba(x) for seed in (0, 0, 1))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != other.tobytes()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("model", MODELS)
def test_dense_and_sparse_votes_are_the_same(model):
    x, y, votes = experts(150)
    apart = Votes(sparse.csr_array(votes.codes.astype(np.int64) + 1), classes=votes.classes)
    assert apart.is_sparse
    one, other = (make(model, **QUICK).fit(x, some_votes, gold_for(model, y)) for some_votes in (votes, apart))
    np.testing.assert_allclose(one.predict_proba(x), other.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_student_answers_the_same(model, tmp_path):
    x, y, votes = experts(150)
    student = make(model, **QUICK, early_stopping=0.2).fit(x, votes, gold_for(model, y))
    student.save(tmp_path / "s")
    read = load_student(tmp_path / "s")
    assert type(read) is model
    assert read.get_params() == student.get_params()
    assert read.predict_proba(x).tobytes() == student.predict_proba(x).tobytes()
    assert read.history_ == student.history_
    assert read.stopped_ == student.stopped_
    if model in FROM_VOTES:
        assert read.predict_proba(x, votes).tobytes() == student.predict_proba(x, votes).tobytes()


@pytest.mark.parametrize("model", FROM_VOTES)
def test_votes_on_the_row_change_the_answer_and_silent_rows_still_get_one(model):
    x, y, votes = experts(400)
    student = make(model, epochs=8).fit(x, votes, gold_for(model, y))
    whole = student.predict_proba(x, votes)
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-5)
    assert np.abs(whole - student.predict_proba(x)).max() > 0.01
    silent = Votes(np.full(votes.shape, ABSTAIN), classes=votes.classes)
    np.testing.assert_array_equal(student.predict_proba(x, silent).argmax(1), student.predict(x))


@pytest.mark.parametrize("model", MODELS)
def test_rows_without_votes_and_parents_of_classes_are_welcome(model):
    x, y, _ = experts(150)
    codes = np.stack([np.where(y == 0, 0, 3), np.where(y == 0, 0, 1), np.full(150, ABSTAIN)], axis=1)
    codes[:30] = ABSTAIN
    votes = Votes(codes, classes=["a", "b", "c"], hierarchy={"not a": ["b", "c"]})
    student = make(model, **QUICK).fit(x, votes, gold_for(model, y))
    assert np.isfinite(student.predict_proba(x)).all()
    assert student.predict_proba(x).shape == (150, 3)


@pytest.mark.parametrize("model", MODELS)
def test_confidences_of_votes_count(model):
    x, y, votes = experts(150)
    unsure = Votes(votes.codes, classes=votes.classes, confidences=np.tile(np.linspace(0.1, 1, 6, dtype=np.float32), (150, 1)))
    one, other = (make(model, **QUICK).fit(x, some_votes, gold_for(model, y)).predict_proba(x) for some_votes in (votes, unsure))
    assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_texts_are_read_through_the_encoder(model):
    class Lengths:
        def encode(self, texts):
            return np.array([[len(text), text.count("!")] for text in texts], dtype=np.float32)

    texts = [("buy! " * (1 + i % 4)) if i % 2 else "see you at noon" for i in range(80)]
    y = np.arange(80) % 2
    votes = Votes(np.stack([y, y], axis=1), classes=["ham", "spam"])
    student = make(model, encoder=Lengths(), epochs=30, batch_size=16).fit({"text": texts}, votes, y if model.needs_gold else None)
    assert student.predict(["buy! buy!", "see you at noon"]).tolist() == [1, 0]
    with pytest.raises(TrainingError, match="no encoder"):
        model().fit(texts, votes, y if model.needs_gold else None)


@pytest.mark.parametrize("model", MODELS)
def test_early_stopping_takes_the_best_check_on_held_out_labels(model):
    x, y, votes = experts(300)
    student = make(model, epochs=6, early_stopping=0.3).fit(x, votes, gold_for(model, y, 60))
    assert student.stopped_ > 0
    assert not hasattr(make(model, **QUICK).fit(x, votes, gold_for(model, y)), "stopped_")


@pytest.mark.parametrize("model", MODELS)
def test_parameters_are_scikit_learns(model):
    student = model(hidden=7, learning_rate=0.5)
    assert clone(student).get_params() == student.get_params()
    assert {"hidden", "learning_rate", "encoder", "seed"} <= set(student.get_params())


@pytest.mark.parametrize("model", MODELS)
def test_bad_input_is_named(model):
    x, y, votes = experts(60)
    gold = some(y, 20)

    def fails(message, *, rows=x, on=votes, labels=gold, error=TrainingError, **options):
        with pytest.raises(error, match=message):
            make(model, **QUICK, **options).fit(rows, on, labels)

    fails("60 rows of data but votes on 59 rows", on=votes.take(slice(0, 59)))
    fails("votes are a ndarray; pass Votes", on=votes.codes)
    fails("one class index for each of the 60 rows", labels=gold[:10])
    fails("y is 5 in row 3", labels=np.where(np.arange(60) == 3, 5, -1))
    fails("every source is silent on all 60 rows", on=Votes(np.full((60, 2), ABSTAIN), classes=["a", "b"]))
    fails("dropout is 1.5", dropout=1.5, error=ConfigError)
    fails("early_stopping is 1.0", early_stopping=1.0, error=ConfigError)
    fails("training diverged", learning_rate=1e30)
    only_a = Votes(np.where(votes.codes == 0, 0, ABSTAIN), classes=["a", "b"])
    if model.needs_gold:
        fails("learns from a few gold labels", labels=None)
        fails("every gold label is 'a'", labels=np.where(y == 0, 0, -1))
        make(model, **QUICK).fit(x, only_a, gold)
    else:
        fails("all votes name 'a'", on=only_a, labels=None)
    with pytest.raises(TrainingError, match="has learned nothing yet"):
        model().predict(x)
    student = make(model, **QUICK).fit(x, votes, gold)
    with pytest.raises(TrainingError, match="rows have 3 features"):
        student.predict(x[:, :3])
    with pytest.raises(TrainingError, match="same sources in the same order"):
        student.predict(x, votes.select(range(5)))
    with pytest.raises(TrainingError, match="votes on 59 rows"):
        student.predict(x, votes.take(slice(0, 59)))


def test_cosine_has_no_answer_from_votes():
    x, _, votes = experts(60)
    with pytest.raises(TrainingError, match="no answer of its own from votes"):
        COSINE(**QUICK).fit(x, votes).predict_proba(x, votes)


@pytest.mark.parametrize("model", FROM_VOTES)
def test_weighing_sources_by_region_beats_counting_votes(model):
    """Experts in one region, coins elsewhere: a model that sees the features knows whom to believe, a majority does not."""
    x, y, votes = experts(1000)
    test_x, test_y, test_votes = experts(2000, seed=1)
    student = make(model).fit(x, votes, gold_for(model, y, 60))
    counts = np.stack([(test_votes.codes == c).sum(1) for c in (0, 1)], axis=1)
    majority = np.where(counts[:, 0] == counts[:, 1], 0.5, counts.argmax(1) == test_y).mean()
    assert (student.predict(test_x, test_votes) == test_y).mean() > majority + (0.0 if model is DenoisingAttention else 0.02)
