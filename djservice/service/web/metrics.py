"""Gauges of the runs under ``/metrics``, with a label for each run that is not at its end: no more than go on at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from distributed import Scheduler
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from djservice.service.interface import PLUGIN_NAME, RunBoard
from djservice.service.records import STATES, UNFINISHED


class RunsCollector:
    """Of the scheduler that began to serve last: a process has one registry. Asked on its loop."""

    server: Scheduler

    def collect(self) -> Iterator[Any]:
        """The metrics; none on a scheduler that takes no runs."""
        service = self.server.plugins.get(PLUGIN_NAME)
        if not isinstance(service, RunBoard):
            return
        records = service.records(lines=0)
        states = Counter(record["state"] for record in records)
        runs = GaugeMetricFamily("djservice_runs", "Runs by state", labels=["state"])
        for state in STATES:
            runs.add_metric([state], states[state])
        yield runs
        active = {
            r["id"]: r["progress"] for r in records if r["state"] in UNFINISHED and r["progress"]
        }
        yield _by_run(
            GaugeMetricFamily,
            "djservice_iteration",
            "Iterations of R that are done",
            active,
            "iteration",
        )
        yield _by_run(
            GaugeMetricFamily, "djservice_radius", "R of the last iteration", active, "radius"
        )
        yield _by_run(
            CounterMetricFamily,
            "djservice_trees",
            "Trees sampled since the run was taken up here",
            active,
            "trees",
        )
        yield _by_run(
            GaugeMetricFamily,
            "djservice_steps_done",
            "Steps of the phase that are done",
            active,
            "done",
        )
        yield _by_run(
            GaugeMetricFamily, "djservice_steps", "Steps of the phase in all", active, "total"
        )


_COLLECTOR = RunsCollector()


def register(scheduler: Scheduler) -> None:
    """Have the runs of this scheduler under ``/metrics``."""
    known = hasattr(_COLLECTOR, "server")
    _COLLECTOR.server = scheduler
    if not known:
        REGISTRY.register(_COLLECTOR)


def _by_run(
    kind: type[Any], name: str, text: str, active: dict[str, dict[str, Any]], key: str
) -> Any:
    """A family with one value for each run that has it."""
    family = kind(name, text, labels=["run"])
    for run_id, progress in active.items():
        if progress[key] is not None:
            family.add_metric([run_id], progress[key])
    return family
