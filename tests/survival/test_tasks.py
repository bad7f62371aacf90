"""Runs that learn a network or weights of particles: killed, stopped and with workers that come and go, the same bits."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import djservice as dj
from djservice import examples
from djservice.config.run import Run
from djservice.store.run_store import Store

pytestmark = pytest.mark.long
Settings = dict[str, Any]
#: Rows of the group that a run learns in.
ITERATIONS = 60


def joint(tiny: Settings) -> Settings:
    """Two datasets of one shipped process: what matters here is how long it takes."""
    parts = {"signal": ("ZHllbb_200", [0, 40]), "background": ("ZHllbb_1000", [300, 340])}
    datasets = {
        name: {"files": {examples.path(file): {"object_path": "Events", "steps": [steps]}}}
        for name, (file, steps) in parts.items()
    }
    source = {"fileset": datasets, "pt_min": 2.0, "bundle_events": 20}
    network = {"name": "moment_efn", "particle_layers": [3], "jet_layers": [4]}
    section = {"network": network, "classes": ["signal", "background"], "network_steps": 3}
    return tiny | {"task": "joint", "input": source, "joint": section}


def weights(tiny: Settings) -> Settings:
    source = tiny["input"] | {"truth": "GenPart:higgs"}
    loss = {"kind": "bounded_error", "observable": "soft_dijet_mass", "scale": None}
    return tiny | {"task": "particle-weights", "input": source, "loss": loss}


@pytest.fixture(params=[joint, weights], ids=lambda make: make.__name__)
def settings(request: pytest.FixtureRequest, tiny: Settings, requires: Any) -> Settings:
    if request.param is joint:
        requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    made: Settings = request.param(tiny) | {"clustering": {"rigidity": 5.0}}
    section = made["task"].replace("-", "_")
    more = {"iterations": ITERATIONS, "batch_events": 16, "trees": 8, "score_trees": 200}
    return made | {section: made.get(section, {}) | more}


@pytest.fixture
def whole(settings: Settings, scheduler: str, tmp_path: Path) -> Path:
    """Store of the run as nothing disturbs it, on one worker with one thread."""
    own = {"cluster": {"scheduler": scheduler}, "output": {"store": str(tmp_path / "whole.zarr")}}
    return dj.run(Run.from_dict(settings | own)).store


def rows(store: Path, group: str) -> int:
    with contextlib.suppress(OSError, ValueError):  # not there, or just being written
        return json.loads((store / group / "zarr.json").read_text())["attributes"]["n_complete"]
    return 0


def learned(store: Path, group: str) -> dict[str, Any]:
    """Parameters, R and errors, which are attributes of the group; ``of`` names the run."""
    attributes = Store.read(store).group(group).attributes
    return {
        name: attributes[name] for name in attributes if name not in ("arrays", "checksum", "of")
    }


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_and_stopped_it_goes_on_to_the_same_bits(
    settings: Settings, whole: Path, stored: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    config, store, group = tmp_path / "run.yaml", tmp_path / "tiny.zarr", settings["task"]
    group = group.replace("-", "_")
    config.write_text(yaml.safe_dump(settings, sort_keys=False))  # datasets in their order
    faults = [
        (group, 1, "2", signal.SIGKILL),
        (group, ITERATIONS // 2, "1", signal.SIGTERM),
        (group, ITERATIONS - 5, "2", signal.SIGINT),
        (f"{group}/held_back", 1, "1", signal.SIGKILL),
        ("", 0, "2", None),
    ]
    command = [Path(sys.executable).parent / "djservice", "run", config, "--no-report"]
    late = 0
    for where, number, workers, fault in faults:
        with open(tmp_path / "stderr", "w") as errors:
            process = subprocess.Popen(
                [*command, "--workers", workers],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # type: ignore[arg-type,return-value]
            )
        if fault is None:
            assert process.wait(timeout=300) == 0, (tmp_path / "stderr").read_text()
            break
        least = max(number, rows(store, where) + 1)
        while rows(store, where) < least and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:  # it ended between two looks, on a busy machine
            assert process.returncode == 0, (tmp_path / "stderr").read_text()
            late += 1
            continue
        family = psutil.Process(process.pid).children(recursive=True)
        if fault == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, fault)
        assert process.wait(timeout=300) == (-fault if fault == signal.SIGKILL else 1)
        assert not psutil.wait_procs(family, timeout=300)[1]
        said = (tmp_path / "stderr").read_text()
        assert "Traceback" not in said and "damaged" not in said
        if fault != signal.SIGKILL:
            assert "the same command continues from there" in said
            assert Store.read(store).attributes["status"] == "interrupted"
    assert late <= 2  # of four: on a busy machine it ends between two looks
    assert stored(store) == stored(whole)
    assert learned(store, group) == learned(whole, group)


def test_the_same_bits_though_workers_come_and_go(
    settings: Settings,
    whole: Path,
    make_cluster: Any,
    stored: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    group = settings["task"].replace("-", "_")
    cluster = make_cluster(tmp_path)
    run = cluster.start_scheduler().submit(Run.from_dict(settings))
    cluster.start_workers(2)
    store = Path(settings["output"]["store"])
    for number in (1, ITERATIONS // 3, ITERATIONS // 2):
        wait_for(lambda number=number: rows(store, group) >= number)
        cluster.a_worker().kill()
    wait_for(lambda: rows(store, group) >= ITERATIONS - 10)
    cluster.kill_scheduler()
    cluster.kill_workers()
    run = cluster.start_scheduler().run(run.id)
    cluster.start_workers(1)
    run.wait(timeout=300)
    assert stored(store) == stored(whole)
    assert learned(store, group) == learned(whole, group)
