"""Ctrl-C and SIGTERM end every command in one line, which says how to go on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.core import plain_data

COMMANDS = {
    "run": ["run", "run.yaml", "--no-report"],
    "overwrite": ["run", "run.yaml", "--overwrite"],
    "scan": ["scan", "run.yaml"],
    "compare": ["compare", "run.yaml"],
    "check-irc": ["check-irc", "run.yaml"],
    "emd": ["emd", "jets.yaml"],
    "shapes": ["shapes", "shapes.yaml"],
    "lund": ["lund", "measure", "sample.yaml", "sample.yaml", "ratio.json"],
    "reprocess": ["reprocess", "reprocess.yaml"],
    "check": ["check", "run.yaml"],
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_before_a_cluster_is_one_line(
    command: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for argument in COMMANDS[command]:
        if argument.endswith(".yaml"):
            Path(argument).write_text("a: 1")
    monkeypatch.setattr(plain_data, "yaml_data", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(main, COMMANDS[command])
    assert signal.getsignal(signal.SIGTERM) is before
    without = " without --overwrite" if command == "overwrite" else ""
    expected = f"djservice: stopped by a signal; the same command{without} does what is left.\n"
    assert (done.exit_code, done.output) == (1, expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configurations of all commands, over files that take seconds to read."""
    path = tmp_path_factory.mktemp("signals")
    for number in range(200):
        shutil.copy(dj.examples.path("ZHllbb_200"), path / f"{number}.root")
    read = {"files": [str(path / "*.root")], "pt_min": 5.0}
    jets = {"radius": 0.8, "pt_min": 25.0}
    loss = {"observable": "dijet_mass", "target": 125.0}
    documents: dict[str, Any] = {
        "run": {"input": read, "loss": loss, "output": {"store": "x.zarr"}},
        "jets": {"input": read, "jets": jets, "output": {"store": "e.zarr"}},
        "shapes": {"input": read, "jets": jets, "shape": {"kind": "point"}},
        "sample": {"input": read, "jets": jets},
        "reprocess": {"run": "run.yaml", "folder": "results"},
    }
    documents["shapes"]["output"] = {"store": "s.zarr"}
    for name, document in documents.items():
        (path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return path


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("delay", [0.1, 1.5])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "check"])
def test_a_signal_while_workers_start_and_read_is_one_line(
    command: str, delay: float, number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    """The signal goes to the whole group, as from a terminal or a batch system."""
    with open(tmp_path / "said", "wb") as said:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "djservice", *COMMANDS[command]],
            cwd=folder,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # type: ignore[arg-type,return-value]
        )
    while not workers_of(process):
        assert process.poll() is None
        time.sleep(0.2)  # each look reads the whole table of processes
    time.sleep(delay)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    assert process.wait(timeout=300) == 1
    assert not psutil.wait_procs(family, timeout=300)[1]
    *before, last = (tmp_path / "said").read_text().splitlines()
    assert "stopped by a signal" in last, (before, last)
    assert not any("Traceback" in line or "distributed" in line for line in before), before
