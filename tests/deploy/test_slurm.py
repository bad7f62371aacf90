"""The batch job on a real Slurm: cancelled, requeued, preempted, its controller gone, and the same bits."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import djservice as dj
from djservice.config.run import Run
from djservice.errors import StoreError
from djservice.store.run_store import Store

DEPLOY = Path(__file__).parents[2] / "deploy/slurm"
Stored = Callable[[str | Path], dict[str, bytes]]

#: Preloaded by workers, which then wait more than they compute.
SLOWLY = """
import time
from djservice.on_dask import tasks


def slowly(*given, evaluate=tasks.evaluate_bundles):
    time.sleep(0.4)
    return evaluate(*given)


tasks.evaluate_bundles = slowly
"""


def wait_for(
    condition: Callable[[], bool],
    explain: Callable[[], str],
    failed: Callable[[], bool] = lambda: False,
) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end and not failed(), explain()
        time.sleep(0.3)  # each look is a process of Slurm, or opens a store


def test_a_job_cancelled_requeued_preempted_and_without_its_controller_has_the_same_bits(
    slurm: Any,
    tiny_run: Callable[[Path], dict[str, Any]],
    scheduler: str,
    stored: Stored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has far more to do than it gets time for, and does it slowly: all of it is repeated to compare.

    In the end another job has only a little left to do.
    """

    def write_run(name: str, **optimiser: int) -> dict[str, Any]:
        run = tiny_run(tmp_path / name)
        run["optimiser"] |= optimiser
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
        return run

    def iterations() -> int:
        try:
            return Store.read(tmp_path / "slurm.zarr").n_complete("history")
        except StoreError:
            return 0

    def submit() -> str:
        said = slurm.call(
            "sbatch",
            "--parsable",
            "--cpus-per-task=1",
            DEPLOY / "djservice.sbatch",
            "run.yaml",
            cwd=tmp_path,
        )
        assert said.strip().isdigit(), said
        return str(said.strip())

    def explain() -> str:
        logs = "\n".join(path.read_text()[-3000:] for path in tmp_path.glob("*.log"))
        return f"{iterations()} iterations\n{logs}\n{slurm.call('squeue')}\n{slurm.logs()}"

    def goes_on(job: str, after: int) -> int:
        wait_for(lambda: iterations() > after + 5, explain, lambda: slurm.state(job) == "FAILED")
        return iterations()

    run = write_run("slurm.zarr", iterations=100_000, averaging_start=3)
    (tmp_path / "slowly.py").write_text(SLOWLY)
    slow = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "slowly.py")}
    monkeypatch.setattr(slurm, "environment", slurm.environment | slow)
    job = submit()
    goes_on(job, 0)
    slurm.call("scancel", "--batch", "--signal=USR1", job)  # as Slurm does when the time ends
    wait_for(lambda: slurm.state(job) == "PENDING", explain)
    requeued_at = iterations()
    assert "Restarts=1" in slurm.call("scontrol", "show", "job", job)
    goes_on(job, requeued_at)
    slurm.kill_controller()
    goes_on(job, iterations())
    slurm.start_controller()
    urgent = slurm.call(
        "sbatch", "--parsable", "--partition=urgent", "--exclusive", "--wrap=sleep 1", cwd=tmp_path
    ).strip()
    wait_for(lambda: "Restarts=2" in slurm.call("scontrol", "show", "job", job), explain)
    wait_for(lambda: slurm.state(urgent) == "COMPLETED", explain)
    goes_on(job, iterations())
    slurm.call("scancel", job)
    wait_for(lambda: slurm.state(job) == "CANCELLED", explain)
    log = (tmp_path / f"djservice-{job}.log").read_text()
    assert "the time of this job ends: requeued" in log and "stopped" in log
    assert "distributed." not in log and log.count("Dask's logs: ") == 3

    monkeypatch.undo()
    run = write_run("slurm.zarr", iterations=iterations() + 6, averaging_start=3)
    last = submit()
    wait_for(lambda: slurm.state(last) in ("COMPLETED", "FAILED"), explain)
    assert slurm.state(last) == "COMPLETED", explain()
    run |= {"output": {"store": str(tmp_path / "whole.zarr")}, "cluster": {"scheduler": scheduler}}
    assert stored(tmp_path / "slurm.zarr") == stored(dj.run(Run.from_dict(run)).store)
    log = (tmp_path / f"djservice-{last}.log").read_text()
    assert ": finished\n" in log and "R: 1 -> " in log
    assert log.endswith(f"store:  {tmp_path / 'slurm.zarr'}\n")
    assert "distributed." not in log
    for name in ("scheduler", "workers"):
        assert "distributed." in (tmp_path / f".djservice-{last}/{name}.log").read_text()


def test_a_job_without_workers_fails_and_says_why(
    slurm: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny))
    without = ("--cpus-per-task=1", "--export=ALL,DJSERVICE_WORKER=no-such-program")
    job = slurm.call(
        "sbatch", "--parsable", *without, DEPLOY / "djservice.sbatch", "run.yaml", cwd=tmp_path
    ).strip()
    log = tmp_path / f"djservice-{job}.log"
    wait_for(
        lambda: slurm.state(job) in ("COMPLETED", "FAILED"), lambda: log.read_text() + slurm.logs()
    )
    assert slurm.state(job) == "FAILED"
    said = log.read_text()
    assert "the workers ended before the run" in said and "no-such-program: not found" in said, said


def test_workers_as_jobs_that_come_and_go(
    slurm: Any, tiny: dict[str, Any], requires: Callable[[str, object], None], tmp_path: Path
) -> None:
    try:
        import dask_jobqueue
    except ImportError:
        dask_jobqueue = None
    requires("dask-jobqueue", dask_jobqueue)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny))
    options = ["--jobs", "1", "--cores", "1", "--memory", "2GB", "--interface", "lo"]
    done = subprocess.run(
        [sys.executable, DEPLOY / "jobqueue.py", "run.yaml", *options],
        cwd=tmp_path,
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith("R = "), done.stdout + done.stderr
    assert Store.read(tmp_path / "tiny.zarr").attributes["status"] == "finished"
