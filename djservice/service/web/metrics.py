"""Prometheus metrics of the runs under ``/metrics``.

Only runs in progress have a label of their own, so the number of labels stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from distributed import Scheduler
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from djservice.service.interface import PLUGIN_NAME, RunBoard
from djservice.service.records import ENDED, STATES, UNFINISHED


class RunsCollector:
    """Collector for the scheduler that started last, because a process has one registry.

    Prometheus calls it on the scheduler's loop.
    """

    server: Scheduler

    def collect(self) -> Iterator[Any]:
        """The metrics; none on a scheduler that does not accept runs."""
        service = self.server.plugins.get(PLUGIN_NAME)
        if not isinstance(service, RunBoard):
            return
        records = service.records(lines=0)
        states = Counter(record["state"] for record in records)
        runs = GaugeMetricFamily("djservice_runs", "Runs by state", labels=["state"])
        for state in STATES:
            runs.add_metric([state], states[state])
        yield runs
        ended = CounterMetricFamily(
            "djservice_runs_ended", "Runs that ended since this scheduler started", labels=["state"]
        )
        for end in ENDED:
            ended.add_metric([end], service.outcomes[end])
        yield ended
        active = {
            r["id"]: r["progress"] for r in records if r["state"] in UNFINISHED and r["progress"]
        }
        yield _by_run(
            GaugeMetricFamily,
            "djservice_iteration",
            "Finished iterations of R",
            active,
            "iteration",
        )
        yield _by_run(
            GaugeMetricFamily, "djservice_radius", "R of the last iteration", active, "radius"
        )
        yield _by_run(
            CounterMetricFamily,
            "djservice_trees",
            "Trees sampled since this scheduler took the run up",
            active,
            "trees",
        )
        yield _by_run(
            GaugeMetricFamily,
            "djservice_steps_done",
            "Finished steps of the phase",
            active,
            "done",
        )
        yield _by_run(
            GaugeMetricFamily, "djservice_steps", "Total steps of the phase", active, "total"
        )


_COLLECTOR = RunsCollector()


def register(scheduler: Scheduler) -> None:
    """Show the runs of this scheduler under ``/metrics``."""
    registered = hasattr(_COLLECTOR, "server")
    _COLLECTOR.server = scheduler
    if not registered:
        REGISTRY.register(_COLLECTOR)


def _by_run(
    kind: type[Any], name: str, text: str, active: dict[str, dict[str, Any]], key: str
) -> Any:
    """A metric with one value for each run that has one."""
    family = kind(name, text, labels=["run"])
    for run_id, progress in active.items():
        if progress[key] is not None:
            family.add_metric([run_id], progress[key])
    return family
