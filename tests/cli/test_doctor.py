"""The doctor finds what is wrong, says what to do, and ends with 1; where all is well it ends with 0."""

import asyncio
import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

from djservice.cli import doctor, main
from djservice.clustering.kernels import cpu
from djservice.core import provenance
from djservice.service.plugin import RunService


@pytest.fixture(autouse=True)
def no_profiler() -> Iterator[None]:
    """As on workers that djservice starts."""
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        yield


def ask(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["doctor", *options])
    return done.exit_code, done.output


def test_a_cluster_without_the_service_then_with_it_then_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(
        n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", **own
    ) as cluster:
        address = cluster.scheduler_address
        code, said = ask("--scheduler", address, "--folder", str(tmp_path))
        assert code == 1 and said.endswith("1 to fix\n")
        assert (
            "does not accept runs: start it with `dask scheduler --preload djservice.preload`"
            in said
        )
        with Client(address, set_as_default=False) as client:
            client.register_plugin(RunService(tmp_path / "state"))
        code, said = ask("--scheduler", address, "--folder", str(tmp_path))
        assert code == 0 and said.endswith("everything is in order\n"), said
        for expected in (
            "versions: python 3",
            "MB/s",
            "flock works",
            "accepts runs, has 0",
            "loopback",
            "workers: 1",
        ):
            assert expected in said, said
        assert list(tmp_path.iterdir()) == [tmp_path / "state"]  # nothing else is left behind

        async def late(*_: Any, **__: Any) -> None:
            await asyncio.sleep(1.0)

        (worker,) = cluster.workers.values()
        monkeypatch.setitem(worker.handlers, "run", late)
        monkeypatch.setattr(doctor, "SILENT", 0.1)
        code, said = ask("--scheduler", address, "--folder", str(tmp_path))
        assert code == 1 and f"{worker.address}: no answer for 0.1 s: it stands still" in said
    code, said = ask("--scheduler", address, "--folder", str(tmp_path))
    assert (
        code == 1
        and f"no answer from a Dask scheduler at {address}" in said
        and "Traceback" not in said
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tls://127.0.0.1:1", "the scheduler asks for certificates"),
        ("tcp://127.0.0.1:1", "no answer from a Dask scheduler"),
        ("nonsense", "missing port number"),
        ("foo://127.0.0.1:1", "unknown address scheme"),
    ],
)
def test_an_address_without_a_scheduler_is_one_finding(
    address: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("djservice.service.client.CONNECT_TIMEOUT", 0.1)
    (finding,) = doctor._cluster(address, tmp_path, {})
    assert said in finding.observation and finding.remedy
    assert f"{address}: {address}" not in finding.observation


def test_storage_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = list(doctor.examine(tmp_path / "file/deeper", None))
    assert [each.remedy for each in found if each.remedy] == [
        "Choose a folder that can be written, or correct its permissions."
    ]


def test_packages_of_extras_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy",))
    (versions, *_) = doctor.examine(tmp_path, None)
    assert "numpy" in versions.observation and "torch" not in versions.observation


def process(**changes: Any) -> list[str]:
    """The remedies for a worker that differs from this process."""
    here = doctor.process_facts()
    return [
        each.observation
        for each in doctor._process("tcp://w", here | changes, here, Path("/data"))
        if each.remedy
    ]


def test_processes_that_differ() -> None:
    assert process() == []
    assert process(versions=doctor.process_facts()["versions"] | {"numba": "0.1"})[0].startswith(
        "numba 0.1 (here "
    )
    assert process(versions={})[0].startswith("python missing (here ")
    assert process(code="other") == ["djservice has different sources"]
    assert process(sees=False) == ["does not see /data"]
    assert "profiler is on" in process(profiled=True)[0]
    assert process(time=time.time() + 100)[0].endswith("s from this machine's")
    gone = list(
        doctor._process(
            "tcp://w", ModuleNotFoundError("No module named 'djservice'"), {}, Path("/data")
        )
    )
    assert gone[0].remedy.startswith("Install the version of djservice")


def test_ports_without_certificates_and_keys_that_others_can_read(tmp_path: Path) -> None:
    assert (
        doctor._encryption("tcp://10.1.2.3:8786").remedy
        and not doctor._encryption("tls://10.1.2.3:8786").remedy
    )
    make = Path(__file__).parents[2] / "workflows/make_ca.sh"
    subprocess.run([make, tmp_path, "ann"], check=True)
    (tmp_path / "ann.key").chmod(0o644)
    tls = {"ca-file": "ca.pem", "client.cert": "gone.pem", "client.key": "ann.key"}
    with dask.config.set(
        {f"distributed.comm.tls.{key}": str(tmp_path / name) for key, name in tls.items()}
    ):
        found = {(each.subject, each.remedy) for each in doctor._certificates()}
    assert ("certificate", "Correct distributed.comm.tls in Dask's configuration.") in found
    assert ("key", f"chmod go-rwx {tmp_path}/ann.key") in found
    assert ("authority", "") in found


def test_it_works_as_a_command(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("djservice"), "doctor", "--folder", tmp_path]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "") and "everything is in order" in done.stdout


def test_kernels_that_are_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cluster_items", None)
    finding = doctor._kernels()
    assert "every process compiles them again" in finding.observation and finding.remedy
    monkeypatch.undo()
    assert doctor._kernels().remedy == ""


def test_a_worker_that_does_not_see_a_lock_of_this_machine() -> None:
    assert process(locked=False) == ["does not see that a file in /data is locked here"]


def test_locks_that_hold_within_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locks() -> doctor.Finding:
        return doctor._locks(tmp_path)

    assert "flock works" in locks().observation and not locks().remedy
    monkeypatch.setattr(doctor, "_mount", lambda _: ("lustre", {"rw", "localflock"}))
    assert "holds within one machine only (lustre with localflock)" in locks().observation
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "does not exclude a second process" in locks().observation
    assert "Two processes could write the same store" in locks().remedy
