"""Finding and downloading, against a real server on this machine: checksum, continuation after a cut, refusal of other bytes."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steelyard.datasets import DataFile
from steelyard.datasets.resolve import locate
from steelyard.errors import DataError
from steelyard.storage import cache_dir

BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    ranges: list[str]


class Handler(BaseHTTPRequestHandler):
    """Serves BODY with ranges; ``/cut`` hangs up half way, ``/old`` knows no ranges."""

    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.path != "/old" else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : len(BODY) // 2] if self.path == "/cut" else BODY[start:])

    def log_message(self, *arguments: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEELYARD_DATA", raising=False)
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    running = Server(("127.0.0.1", 0), Handler)
    running.ranges = []
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_download_is_checked_kept_and_not_repeated(server: Server) -> None:
    file = DataFile("set/a.bin", DIGEST, url(server, "whole"))
    assert locate(file).read_bytes() == BODY
    assert locate(file).read_bytes() == BODY
    assert len(server.ranges) == 1


@pytest.mark.parametrize("second", ["whole", "old"])
def test_a_cut_download_leaves_no_file_and_continues(server: Server, second: str) -> None:
    with pytest.raises(DataError, match=r"failed after .* bytes .*run it again to continue"):
        locate(DataFile("set/a.bin", DIGEST, url(server, "cut")))
    assert not (cache_dir() / "datasets/set/a.bin").exists()
    assert locate(DataFile("set/a.bin", DIGEST, url(server, second))).read_bytes() == BODY
    assert server.ranges[-1].startswith("bytes=")


def test_other_bytes_are_refused_and_removed(server: Server) -> None:
    with pytest.raises(DataError, match="expected 00000000"):
        locate(DataFile("set/a.bin", "0" * 64, url(server, "whole")))
    assert not list((cache_dir() / "datasets/set").iterdir())


def test_a_truncated_local_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY[:100])
    with pytest.raises(DataError, match="truncated or another version"):
        locate(DataFile("a.bin", DIGEST), root=tmp_path)


def test_an_unreachable_server_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path))
    monkeypatch.delenv("STEELYARD_DATA", raising=False)
    with pytest.raises(DataError, match="run it again to continue, or set STEELYARD_DATA"):
        locate(DataFile("a.bin", DIGEST, "http://127.0.0.1:9/a.bin"))
