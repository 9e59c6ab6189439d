"""A weak model votes; what it was trained on is labelled by a model that never saw it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from steelyard.errors import DataError, SourceError
from steelyard.sources.models import assign_folds, model


def blobs(n: int = 120, seed: int = 0) -> pl.DataFrame:
    """Two overlapping Gaussian classes in the plane; a third of the rows have no gold label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 2)) + 1.2 * y[:, None]
    gold = [None if row % 3 == 0 else ("NEG", "POS")[label] for row, label in enumerate(y)]
    return pl.DataFrame({"x": x[:, 0], "y": x[:, 1], "gold": gold})


def test_rows_are_never_labelled_by_a_model_that_saw_them() -> None:
    # One nearest neighbour remembers everything: on coin-flip labels it is perfect where it cheats and at chance where it does not.
    rng = np.random.default_rng(0)
    data = pl.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300), "gold": rng.choice(["A", "B"], 300)})
    source = model(KNeighborsClassifier(n_neighbors=1), on=("x", "y"), gold="gold")
    source.fit(data)
    votes = source.vote(data)
    agreement = np.mean([votes.labels[code] == label for code, label in zip(votes.codes, data["gold"], strict=True)])
    assert 0.4 < agreement < 0.6
    assert source.model_ is not None
    assert (source.model_.predict(data.select("x", "y").to_numpy()) == data["gold"].to_numpy()).all()  # type: ignore[attr-defined]


def test_a_duplicate_betrays_nothing() -> None:
    rng = np.random.default_rng(1)
    half = pl.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200), "gold": rng.choice(["A", "B"], 200)})
    source = model(KNeighborsClassifier(n_neighbors=1), on=("x", "y"), gold="gold")
    source.fit(pl.concat([half, half]))
    votes = source.vote(half.drop("gold"))  # other table, no gold column: still recognised
    assert np.mean([votes.labels[code] == label for code, label in zip(votes.codes, half["gold"], strict=True)]) < 0.6


def test_vectors_of_an_encoder_do_not_hide_a_seen_text() -> None:
    rng = np.random.default_rng(2)
    texts = [f"text {row}" for row in range(100)]
    vectors = dict(zip(texts, rng.normal(size=(100, 3)), strict=True))

    def noisy_encoder(batch: list[str]) -> NDArray[np.float64]:  # as real encoders are in their last bits
        return np.array([vectors[text] for text in batch]) + rng.normal(size=(len(batch), 3)) * 1e-9

    data = pl.DataFrame({"text": texts, "gold": rng.choice(["A", "B"], 100)})
    source = model(KNeighborsClassifier(n_neighbors=1), gold="gold", encoder=noisy_encoder)
    source.fit(data)
    votes = source.vote(data)
    assert np.mean([votes.labels[code] == label for code, label in zip(votes.codes, data["gold"], strict=True)]) < 0.7


def test_votes_do_not_depend_on_batches_or_row_order() -> None:
    data = blobs()
    source = model(LogisticRegression(), on=("x", "y"), gold="gold")
    source.fit(data)
    whole = source.predict_proba(data)
    np.testing.assert_array_equal(np.concatenate([source.predict_proba(part) for part in data.iter_slices(7)]), whole)
    shuffled = data.sample(fraction=1.0, shuffle=True, seed=3)
    again = model(LogisticRegression(), on=("x", "y"), gold="gold")
    again.fit(shuffled)
    np.testing.assert_allclose(again.predict_proba(data), whole, atol=1e-3)


def test_same_seed_same_bytes_another_seed_other_folds() -> None:
    data = blobs()
    answers = []
    for seed in (0, 0, 1):
        source = model(RandomForestClassifier(n_estimators=5), on=("x", "y"), gold="gold", seed=seed)
        source.fit(data)
        answers.append(source.predict_proba(data))
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_folds_are_balanced_within_each_class() -> None:
    keys = [f"item {row}" for row in range(53)]
    labels = ["rare" if row < 10 else "common" for row in range(53)]
    folds = assign_folds(keys, labels, folds=5, seed=0)
    counts = np.zeros((5, 2), dtype=int)
    for key, label in zip(keys, labels, strict=True):
        counts[folds[key], int(label == "rare")] += 1
    assert (counts[:, 1] == 2).all()
    assert set(counts[:, 0]) <= {8, 9}


def test_soft_labels_are_a_distribution_with_a_column_per_label() -> None:
    data = blobs()
    source = model(on=("x", "y"), gold="gold", labels=("POS", "NEG"), name="weak")
    source.fit(data)
    soft = source.predict_proba(data)
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, atol=1e-5)
    votes = source.vote(data)
    assert votes.labels == ("POS", "NEG")
    np.testing.assert_array_equal(votes.codes, soft.argmax(axis=1))
    np.testing.assert_array_equal(votes.confidences, soft.max(axis=1))
    assert soft[data["x"].to_numpy() + data["y"].to_numpy() > 3][:, 0].mean() > 0.8


def test_a_class_missing_from_a_fold_gets_zero_and_keeps_its_column() -> None:
    x = [[0.0], [0.1], [0.2], [1.0], [1.1], [1.2], [5.0]]
    data = pl.DataFrame({"v": x, "gold": ["A", "A", "A", "B", "B", "B", "C"]})
    source = model(LogisticRegression(), on="v", gold="gold", folds=3)
    source.fit(data)
    soft = source.predict_proba(data)
    assert soft.shape == (7, 3)
    assert soft[6, 2] == 0  # the only C is judged by a model that knows no C
    assert source.predict_proba(pl.DataFrame({"v": [[5.1]]}))[0, 2] > 0.3  # a new row is judged by the one that does


def test_threshold_ties_and_nulls_abstain() -> None:
    data = blobs()
    sure = model(LogisticRegression(), on=("x", "y"), gold="gold", threshold=0.9)
    sure.fit(data)
    votes, soft = sure.vote(data), sure.predict_proba(data)
    np.testing.assert_array_equal(votes.codes >= 0, soft.max(axis=1) >= 0.9)
    assert 0 < (votes.codes >= 0).sum() < 120
    uniform = model(DummyClassifier(strategy="uniform").fit([[0.0], [1.0]], ["A", "B"]), on="x")
    assert uniform.vote(pl.DataFrame({"x": [1.0, 2.0]})).codes.tolist() == [-1, -1]
    holed = data.with_columns(x=pl.when(pl.int_range(pl.len()) < 5).then(None).otherwise("x"))
    sure.fit(holed)
    assert (sure.vote(holed).codes[:5] == -1).all()
    assert sure.predict_proba(holed[:5]).shape == (5, 2)


def test_gold_may_come_from_elsewhere_as_names_or_indices() -> None:
    texts = ["win cash", "cash prize", "free cash", "see you mum", "hello mum", "bye mum"]
    new = pl.DataFrame({"text": ["mum?", "cash!"]})
    named = model(gold=(texts, ["SPAM"] * 3 + ["HAM"] * 3), labels=("SPAM", "HAM"))
    indexed = model(gold=(texts, np.array([0, 0, 0, 1, 1, 1])), labels=("SPAM", "HAM"))
    for source in (named, indexed):
        votes = source.vote(new)
        assert [votes.labels[code] for code in votes.codes] == ["HAM", "SPAM"]
    np.testing.assert_array_equal(named.predict_proba(new), indexed.predict_proba(["mum?", "cash!"]))


def test_pretrained_model_needs_no_gold_and_its_classes_are_named() -> None:
    data = blobs()
    y = (data["x"] + data["y"] > 1.2).to_numpy().astype(int)
    trained = LogisticRegression().fit(data.select("x", "y").to_numpy(), y)
    by_order = model(trained, on=("x", "y"), labels=("LOW", "HIGH"))
    by_name = model(trained, on=("x", "y"), labels={"1": "HIGH", "0": "LOW"})
    assert by_name.vote(data).labels == ("HIGH", "LOW")
    np.testing.assert_array_equal(by_name.predict_proba(data)[:, ::-1], by_order.predict_proba(data))
    assert by_order.name == "LogisticRegression"


def save_classifier(folder: Path) -> str:
    """A real two-layer BERT classifier whose word embeddings were set so that `good` and `bad` decide; saved as any hub model is."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "good", "bad", "film"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    names = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    network = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=5, **size, **names))
    batch = tokenizer(["good film", "bad film", "film good", "film bad"], return_tensors="pt")
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(40):
        loss = network(**batch, labels=torch.tensor([1, 0, 1, 0])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return str(folder)


def test_hugging_face_classifier_by_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = model(save_classifier(tmp_path / "tiny-sentiment"), labels={"POSITIVE": "POS", "NEGATIVE": "NEG"})
    assert source.name == "tiny-sentiment"
    votes = source.vote(pl.DataFrame({"text": ["bad bad film", None, "good film", "film good good good"]}))
    assert [votes.labels[code] if code >= 0 else None for code in votes.codes] == ["NEG", None, "POS", "POS"]
    assert (votes.confidences[[0, 2, 3]] > 0.8).all()  # type: ignore[index]


def test_faults_say_what_and_where() -> None:
    data = blobs()
    with pytest.raises(SourceError, match="needs two classes"):
        model(on=("x", "y"), gold="gold").fit(data.filter(pl.col("gold") == "POS"))
    with pytest.raises(SourceError, match="no row has a gold label"):
        model(on=("x", "y"), gold="gold").fit(data.with_columns(gold=pl.lit(None, dtype=pl.String)))
    with pytest.raises(SourceError, match="'POS' is not among its labels"):
        model(on=("x", "y"), gold="gold", labels=("NEG", "NEUTRAL")).fit(data)
    with pytest.raises(SourceError, match="is not fitted"):
        model(on=("x", "y"), gold="gold").vote(data)
    svm = model(LinearSVC(), on=("x", "y"), gold="gold")
    svm.fit(data)
    with pytest.raises(SourceError, match="has no predict_proba"):
        svm.vote(data)
    with pytest.raises(SourceError, match="folds must be at least 2"):
        model(gold="gold", folds=1)
    with pytest.raises(SourceError, match="has to learn"):
        model()
    trained = LogisticRegression().fit(data.select("x", "y").to_numpy(), np.arange(120) % 3)
    with pytest.raises(SourceError, match="answers 120×3 for the classes 0, 1, 2, but its labels are A, B"):
        model(trained, on=("x", "y"), labels=("A", "B")).vote(data)
    with pytest.raises(DataError, match="'no/such-model' cannot be loaded"):
        model("no/such-model").vote(pl.DataFrame({"text": ["x"]}))


def test_import_needs_no_torch() -> None:
    code = "import steelyard.sources.models, sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weak_question_classifier_is_held_out_on_real_questions(data_root: Path) -> None:
    file = next(iter(sorted((data_root / "ws_trec_questions").glob("*.parquet"))), None)
    if file is None:
        pytest.skip("no TREC table")
    table = pl.read_parquet(file)
    label = next(column for column in table.columns if column in ("label_name", "label", "gold"))
    table = table.sample(1500, seed=0).with_columns(y=pl.col(label).cast(pl.String))
    table = table.with_columns(gold=pl.when(pl.int_range(pl.len()) < 800).then("y"))
    source = model(gold="gold")
    source.fit(table)
    right = np.array(source.vote(table).labels)[source.vote(table).codes] == table["y"].to_numpy()
    seen, new = right[:800].mean(), right[800:].mean()
    assert new > 0.6
    assert abs(seen - new) < 0.08  # cross-fitted labels are as good as labels of new rows, not better


def test_gold_of_another_form_is_named() -> None:
    with pytest.raises(SourceError, match=r"gold is the name of a column, null where unknown, or a pair \(inputs, labels\), not \['HAM'"):
        model(gold=["HAM", "SPAM", None])  # type: ignore[arg-type]
