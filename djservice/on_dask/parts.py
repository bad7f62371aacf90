"""Parts of the workers of a large cluster, so that the scheduler looks at few of them for each task.

For each task Dask's scheduler looks at every worker that announces what the task asks for. If all
admitted workers announced one thing only, its work would grow with the square of their number. So
each one announces as well which part of them it is in, by its address, and tasks of many workers
ask for the part of the worker that they are meant for. While that one is gone or paused, another
one of its part gets them. When a whole part is, the run lets others announce it too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Number of parts, and of workers from which on tasks ask for one.
PARTS, MANY = 32, 256


def part_of(resource: str, worker: str) -> str:
    """Name of the resource of a worker's part.

    Parameters
    ----------
    resource
        The resource of all admitted workers.
    worker
        Address of the worker.
    """
    return f"{resource}-{zlib.crc32(worker.encode()) % PARTS}"


def resources_near(resource: str, workers: Sequence[str]) -> list[str]:
    """The resource for each of some tasks, from the workers that they are meant for."""
    if len(workers) < MANY:
        return [resource] * len(workers)
    return [part_of(resource, worker) for worker in workers]


def unfilled(resources: Iterable[str], workers: Iterable[Mapping[str, Any]]) -> set[str]:
    """Resources that none of some workers announces.

    Parameters
    ----------
    resources
        Names of resources.
    workers
        The workers, as Dask describes them.
    """
    return {*resources}.difference(*(facts["resources"] for facts in workers))


@dataclass(frozen=True)
class ByNumber:
    """What each task needs, for :func:`dask.annotate`; keys end in the numbers of their tasks."""

    needed: list[dict[str, float]]

    def __call__(self, key: str) -> dict[str, float]:
        return self.needed[int(key.rpartition("-")[2])]
