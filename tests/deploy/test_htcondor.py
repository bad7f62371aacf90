"""What a pool would be given: the submit files are parsed, the graph is whole, and the scripts do what they are for.

There is no HTCondor here: nothing of this was ever submitted.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from djservice.store.run_store import Store

FOLDER = Path(__file__).parents[2] / "deploy/htcondor"
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "NUMBA_CACHE_DIR": "",
}


@pytest.fixture
def parse(requires: Callable[[str, object], None]) -> Callable[..., Any]:
    """``parse(name, **variables)``: a submit file by HTCondor's own parser, its macros expanded."""
    try:
        import htcondor2
    except ImportError:
        htcondor2 = None
    requires("htcondor", htcondor2)

    def parsed(name: str, **variables: str) -> dict[str, str]:
        submit = htcondor2.Submit((FOLDER / name).read_text())
        for key, value in variables.items():
            submit[key] = value
        return {key: submit.expand(key) for key in submit} | {"queue": submit.getQArgs()}

    return parsed


@pytest.mark.filterwarnings("ignore")  # of a pool that is not configured
def test_submit_files_are_parsed(parse: Any) -> None:
    scheduler, workers, run = (
        parse("scheduler.sub", folder="/f"),
        parse("workers.sub", folder="/f", workers="7"),
        parse("run.sub", folder="/f", config="a.yaml"),
    )
    for job in (scheduler, workers, run):
        assert (
            job["initialdir"] == "/f"
            and job["executable"] == "/bin/bash"
            and job["log"] == "djservice.log"
        )
        assert job["arguments"].strip('"').split()[0] == "start.sh"
    assert run["arguments"].endswith('run a.yaml"') and run["universe"] == "local"
    assert workers["queue"] == "$(workers)" and scheduler["queue"] == ""
    assert workers["on_exit_remove"] == "False" and int(workers["request_cpus"]) > 1


def test_the_graph_is_whole() -> None:
    lines = [
        line.split()
        for line in (FOLDER / "djservice.dag").read_text().splitlines()
        if line and line[0] != "#"
    ]
    jobs = {line[1]: line[2] for line in lines if line[0] == "JOB"}
    given = {pair.split("=")[0] for line in lines if line[0] == "VARS" for pair in line[2:]}
    assert jobs == {"run": "run.sub"}
    used = set(re.findall(r"\$\((\w+)\)", (FOLDER / "run.sub").read_text())) - {
        "Cluster",
        "Process",
    }
    assert used == given
    for line in lines:
        assert (
            line[0] in ("JOB", "VARS", "RETRY", "SCRIPT")
            and line[2 if line[0] == "SCRIPT" else 1] in jobs
        )
        if line[0] == "SCRIPT":
            assert os.access(FOLDER / line[3], os.X_OK)


def test_the_cluster_of_a_graph_is_removed_and_the_run_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, says in {
        "condor_submit": "echo 1$(wc -l < calls).0 - 1$(wc -l < calls).9",
        "condor_rm": "true",
    }.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >> calls\n{says}\n')
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def call(*options: str) -> int:
        return subprocess.run(
            [FOLDER / "cluster.sh", *options], cwd=tmp_path, env=environment, timeout=300
        ).returncode

    (tmp_path / "scheduler.json").write_text("stale")
    assert call("start", ".", "10") == 0 and not (tmp_path / "scheduler.json").exists()
    assert (tmp_path / "cluster.ids").read_text().split() == ["11", "12"]
    assert call("stop", ".", "1") == 1
    first, second, last = (tmp_path / "calls").read_text().splitlines()
    assert "scheduler.sub" in first and "workers=10" in second and last == "condor_rm 11 12"


def test_the_jobs_do_a_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Scheduler, worker and run as jobs would start them, in a folder that all see."""
    shutil.copy(FOLDER / "start.sh", tmp_path)
    (tmp_path / "my_run.yaml").write_text(yaml.safe_dump(tiny))
    (tmp_path / "slot").write_text("Cpus = 1\nMemory = 2048\n")
    environment = ENVIRONMENT | {"_CONDOR_MACHINE_AD": str(tmp_path / "slot")}
    with open(tmp_path / "log", "ab") as log:
        jobs = [
            psutil.Popen(
                ["bash", "start.sh", role], cwd=tmp_path, env=environment, stdout=log, stderr=log
            )
            for role in ("scheduler", "worker")
        ]
    try:
        run = ["bash", "start.sh", "run", "my_run.yaml"]
        done = subprocess.run(
            run, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        assert Store.read(tmp_path / "tiny.zarr").attributes["status"] == "finished"
        assert re.search(r"Memory: +2\.00 GiB", (tmp_path / "log").read_text())
    finally:
        family = [child for job in jobs for child in job.children(recursive=True)]
        for process in (*family, *jobs):
            if process.is_running():
                process.kill()
        psutil.wait_procs(jobs, timeout=20)
