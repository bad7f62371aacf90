"""Boards, alerts and schedules: they are well formed, name metrics that exist, and call commands that exist."""

import configparser
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import distributed
import pytest
import yaml

from djservice.cli import main
from djservice.service.interface import PLUGIN_NAME
from djservice.service.records import ENDED, STATES
from djservice.service.web.metrics import RunsCollector

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "monitoring" / "grafana.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())
UNITS = DEPLOY / "systemd"


class Runs:
    """A service with one run that goes on."""

    outcomes: ClassVar[Counter[str]] = Counter()

    def records(self, lines: int = 20) -> list[dict[str, Any]]:
        progress = {"iteration": 1, "radius": 0.7, "trees": 10, "done": 1, "total": 2}
        return [{"id": "a", "state": "running", "progress": progress}]

    def settings(self, run_id: str) -> dict[str, Any]: ...
    async def status(self, run_id: str) -> dict[str, Any]: ...
    async def logs(self, run_id: str) -> list[tuple[float, str]]: ...


def metrics() -> dict[str, set[str]]:
    """Names of the metrics with their labels: our own as they are collected, and Dask's by its sources."""
    collector = RunsCollector()
    collector.server = SimpleNamespace(plugins={PLUGIN_NAME: Runs()})
    samples = [sample for family in collector.collect() for sample in family.samples]
    source = Path(distributed.__file__).parent / "http/scheduler/prometheus/core.py"
    dask = re.findall(r'build_name\("(\w+)"\)', source.read_text())
    return {sample.name: set(sample.labels) for sample in samples} | {
        f"dask_scheduler_{name}": {"state"} for name in dask
    }


def expressions() -> list[str]:
    panels = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    queries = [variable["query"] for variable in BOARD["templating"]["list"][1:]]
    rules = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    return [*panels, *queries, *rules]


@pytest.mark.parametrize("expression", expressions())
def test_boards_and_alerts_name_metrics_that_exist(expression: str) -> None:
    known = metrics()
    named = re.findall(r"\b((?:djservice|dask)_\w+)(?:\{([^}]*)\})?", expression)
    assert named
    for name, labels in named:
        assert name in known, name
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', labels):
            assert label in known[name] | {"instance"}, label
            if label == "state":
                assert set(value.split("|")) <= {*STATES, *ENDED}


def test_every_metric_is_on_the_board() -> None:
    text = " ".join(expressions())
    assert {name for name in metrics() if name.startswith("djservice_")} <= set(
        re.findall(r"djservice_\w+", text)
    )


def test_the_board_and_the_rules_are_well_formed() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
        for command in re.findall(r"`djservice (\w+)", rule["annotations"]["description"]):
            assert command in main.commands


def test_schedules_call_commands_that_exist() -> None:
    (line,) = [
        line
        for line in (DEPLOY / "cron" / "crontab").read_text().splitlines()
        if line[:1].isdigit()
    ]
    assert len(re.match(r"(\S+ ){5}", line)[0].split()) == 5  # type: ignore[index]
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNITS / "djservice-reprocess.service")
    for text in (line, unit["Service"]["ExecStart"]):
        command, *arguments = text.split("bin/djservice ")[1].split(">>")[0].split()
        main.commands[command].make_context(command, arguments)
    assert unit["Service"]["SuccessExitStatus"] == "3"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_its_units(tmp_path: Path) -> None:
    for name in ("djservice-reprocess.service", "djservice-reprocess.timer"):
        text = (UNITS / name).read_text().replace("%h/analysis/.venv/bin/djservice", "/bin/true")
        (tmp_path / name).write_text(text)
    timer = tmp_path / "djservice-reprocess.timer"
    ended = subprocess.run(["systemd-analyze", "verify", timer], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
