"""Reading over a network: a real XRootD server, servers that hang, failures in passing, and no secret in any message."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports import free_port

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputFileError, MissingFileError, SchemaError
from djservice.input import kept_trees
from djservice.input import retries as remote
from djservice.input import skim as skimming
from djservice.input.files import inspect
from djservice.input.retries import patiently
from djservice.input.skim import skim
from djservice.store.run_store import Store

EXAMPLE = Path(dj.examples.path("ZHllbb_200"))


@pytest.fixture(scope="module")
def xrootd() -> Iterator[str]:
    """``root://`` URL of a folder of an XRootD server of our own, with an example file."""
    if shutil.which("xrootd") is None:
        (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(
            "needs xrootd (apt xrootd-server)"
        )
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(EXAMPLE, folder)
        settings = f"xrd.port {port}\nxrd.network nodnr\nall.adminpath {folder}\nall.pidpath {folder}\nall.export {folder}\n"
        (folder / "server.cfg").write_text(settings)
        command = ["xrootd", "-c", str(folder / "server.cfg"), "-l", str(folder / "log")]
        if os.geteuid() == 0:  # it does not run as root
            owner = pwd.getpwnam("daemon")
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            command += ["-R", "daemon"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 300
            while not _listens(port):
                assert server.poll() is None and time.monotonic() < end, (
                    folder / "log"
                ).read_text()
                time.sleep(0.1)
            yield f"root://127.0.0.1:{port}/{folder}"
        finally:
            server.terminate()
            server.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def hung() -> Iterator[int]:
    """Port of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        taken: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    taken.append(listener.accept()[0])
            except OSError:  # closed
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(300)
        for client in taken:
            client.close()


class Flaky(ThreadingHTTPServer):
    """Serves an example file in ranges, but for the requests of these numbers, which get an error or half an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ranges)
        self.failing: range = range(0)
        self.taken, self.lock = 0, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Ranges(BaseHTTPRequestHandler):
    server: Flaky
    data = EXAMPLE.read_bytes()

    def _answer(self) -> None:
        with self.server.lock:
            number, self.server.taken = self.server.taken, self.server.taken + 1
        failing = number in self.server.failing
        if failing and number % 2:
            return self.send_error(503)
        first, last = 0, len(self.data) - 1
        if asked := self.headers.get("Range"):
            first, last = (int(at) for at in asked.removeprefix("bytes=").split("-"))
        content = self.data[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header(
            "Content-Range", f"bytes {first}-{first + len(content) - 1}/{len(self.data)}"
        )
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if failing else content)
        return None

    do_HEAD = do_GET = _answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def flaky() -> Iterator[Flaky]:
    server = Flaky()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rest between attempts."""
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))


class _Wrong(SimpleHTTPRequestHandler):
    """Answers any request with the whole file, or with a page that asks to sign in."""

    def do_GET(self) -> None:
        page = b"<!DOCTYPE html><html>Sign in to continue</html>"
        content = EXAMPLE.read_bytes() if "whole" in self.path else page
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@pytest.mark.parametrize(
    ("name", "message"), [("whole", "knows no byte ranges"), ("page", "a page of HTML")]
)
def test_what_a_web_server_does_wrong_is_not_put_on_the_file(
    impatient: None, name: str, message: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Wrong) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputFileError, match=message) as caught:
            dj.read(f"http://127.0.0.1:{server.server_port}/{name}.root?token=hidden")
        server.shutdown()
    assert "damaged" not in str(caught.value) and "hidden" not in str(caught.value)


def test_a_file_on_an_xrootd_server_is_read_like_one_here(xrootd: str, tmp_path: Path) -> None:
    url, schema = f"{xrootd}/{EXAMPLE.name}", dj.schemas.nanoaod(pt_min=1.0)
    there, here = inspect(url, schema), inspect(str(EXAMPLE), schema)
    assert (there.size, there.entries, there.uuid, there.mtime_ns) == (
        here.size,
        here.entries,
        here.uuid,
        0,
    )
    assert list(skim(url, tmp_path / "skim.root", schema)) == list(
        skim(str(EXAMPLE), tmp_path / "here.root", schema)
    )
    found, skimmed, expected = (
        dj.read(path, schema=schema, entries=(20, 60))
        for path in (url, tmp_path / "skim.root", EXAMPLE)
    )
    for name in ("pt", "rapidity", "phi", "mass", "offsets", "key", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(getattr(skimmed, name), getattr(expected, name))


def test_a_run_reads_from_xrootd_and_keeps_its_token_to_itself(
    xrootd: str,
    tiny: dict[str, Any],
    scheduler: str,
    finished_run: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    tiny |= {"cluster": {"scheduler": scheduler}}
    tiny["input"] = tiny["input"] | {"files": f"{xrootd}/{EXAMPLE.name}?authz=hush-hush"}
    finished = dj.run(Run.from_dict(tiny))
    assert stored(finished.store) == stored(finished_run)
    kept = Store.read(finished.store).attributes
    assert kept["inputs"][0]["path"] == f"{xrootd}/{EXAMPLE.name}"
    assert "hush-hush" not in json.dumps(kept) + "".join(capfd.readouterr())


def test_a_file_that_is_not_on_the_server_is_missing(xrootd: str) -> None:
    with pytest.raises(MissingFileError, match=r"gone\.root: there is no such file on the server"):
        inspect(f"{xrootd}/gone.root", dj.schemas.nanoaod())
    with pytest.raises(SchemaError, match=r"needs branch 'Tracks_pt'"):
        inspect(f"{xrootd}/{EXAMPLE.name}", dj.schemas.nanoaod("Tracks"))


@pytest.mark.parametrize("scheme", ["root", "http"])
def test_a_server_that_hangs_ends_in_an_error_that_names_the_file(
    scheme: str, hung: int, impatient: None
) -> None:
    if scheme == "root":
        pytest.importorskip("fsspec_xrootd")
    url = f"{scheme}://127.0.0.1:{hung}//a.root?token=hush-hush"
    with pytest.raises(InputFileError) as caught:
        inspect(url, dj.schemas.nanoaod(), timeout=0.3)
    text = str(caught.value)
    assert text.startswith(
        f"{scheme}://127.0.0.1:{hung}//a.root: expected an answer within 0.3 s (input.timeout)"
    )
    assert text.endswith(
        "Check that it answers, raise the timeout, or copy the file here. It was tried 3 times."
    )


def test_a_run_on_a_server_that_hangs_ends(
    hung: int, tiny: dict[str, Any], scheduler: str, impatient: None
) -> None:
    tiny |= {"cluster": {"scheduler": scheduler}}
    tiny["input"] = {"files": f"http://127.0.0.1:{hung}/a.root?token=hush-hush", "timeout": 0.3}
    with pytest.raises(InputFileError, match=r"a\.root: expected an answer within 0.3 s"):
        dj.run(Run.from_dict(tiny))


def test_a_skim_from_a_server_that_hangs_ends(
    hung: int, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skimming, "patiently", partial(patiently, timeout=0.3))
    with pytest.raises(
        InputFileError, match=r"a\.root: expected an answer within 0.3 s.*tried 3 times"
    ):
        list(
            skim(
                f"http://127.0.0.1:{hung}/a.root?token=hush-hush",
                tmp_path / "skim.root",
                dj.schemas.nanoaod(),
            )
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.long)])
def test_a_skim_is_whole_though_the_server_fails_in_passing(
    every: int, flaky: Flaky, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skimming, "_STEP", 80)
    schema = dj.schemas.nanoaod(pt_min=2.0, truth="GenPart:higgs")
    url, target, expected = (
        f"http://127.0.0.1:{flaky.server_port}/a.root",
        tmp_path / "skim.root",
        dj.read(EXAMPLE, schema=schema),
    )

    def check(failing: range) -> int:
        """Skim with these requests failing; how many there were, those of the tree included."""
        kept_trees._kept.clear()
        flaky.failing, flaky.taken = failing, 0
        assert [numbers[1] for numbers in skim(url, target, schema)] == [80, 80, 40]
        found = dj.read(target, schema=schema)
        for name in ("key", "offsets", "pt", "rapidity", "phi", "mass", "weight", "truth"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        return flaky.taken

    requests = check(range(0))
    for number in range(0, requests, every):
        check(range(number, number + 1))
    target.write_bytes(b"root, of an earlier skim")
    for failing in (range(1000), range(requests - 1, 1000)):  # from the first, and from the last
        with pytest.raises(
            InputFileError, match=r"expected a readable ROOT file, found .* It was tried 3 times"
        ):
            check(failing)
        assert target.read_bytes() == b"root, of an earlier skim" and list(tmp_path.iterdir()) == [
            target
        ]


def test_a_file_that_is_another_meanwhile_makes_no_skim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skimming, "_STEP", 80)
    source = tmp_path / "a.root"
    shutil.copy(EXAMPLE, source)
    steps = skim(str(source), tmp_path / "skim.root", dj.schemas.nanoaod())
    next(steps)
    shutil.copy(dj.examples.path("ZHllbb_1000"), source)
    with pytest.raises(
        InputFileError,
        match=r"a\.root: expected one file, found that another replaced it during the skim",
    ):
        list(steps)
    assert list(tmp_path.iterdir()) == [source]


def test_a_failure_in_passing_is_tried_again(impatient: None) -> None:
    calls: list[int] = []

    def flaky(failures: int, error: Exception) -> Callable[[], str]:
        def read() -> str:
            calls.append(1)
            if len(calls) <= failures:
                raise error
            return "read"

        calls.clear()
        return read

    reset = InputFileError("a.root: connection reset.")
    assert patiently(flaky(2, reset), "root://host//a.root") == "read"
    for failures, error, path, times, message in (
        (3, reset, "root://host//a.root", 3, r"connection reset\. It was tried 3 times"),
        (1, reset, "/data/a.root", 1, "connection reset"),  # of this machine
        (1, MissingFileError("gone"), "root://host//a.root", 1, "gone"),
        (1, SchemaError("no branch"), "root://host//a.root", 1, "no branch"),
    ):
        with pytest.raises(type(error), match=message):
            patiently(flaky(failures, error), path)
        assert len(calls) == times
