"""Intake: what is checked of a submission before it is queued, and again before it starts.

The functions read file systems. They must not be called on the scheduler's loop, but by
:class:`Intake`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.threadpoolexecutor import ThreadPoolExecutor  # hung threads let the process end

from djservice.config.run import Run, files_of
from djservice.core.urls import is_url
from djservice.errors import ConfigError, ServiceError
from djservice.fit.plan import RunPlan
from djservice.on_dask.limits import check_size, check_sizes, limit
from djservice.service import search
from djservice.service.allowed_paths import (
    INPUT_ROOTS,
    check_observables,
    check_roots,
    check_store,
    roots,
)
from djservice.service.submission import identity, same_numbers, unpack
from djservice.service.trial import check_trial
from djservice.store.location import locate

#: Seconds for the checks of a submission, and number of submissions that are checked at once. A
#: client waits 60 seconds for an answer.
TIMEOUT, THREADS = 45.0, 4


class Intake:
    """Threads of their own for checks, so that a file system that hangs holds up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="djservice-intake")

    async def check(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """The result of a check that reads file systems, within a bounded time.

        Raises
        ------
        ServiceError
            If it takes longer.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT):
                return await loop.run_in_executor(self._threads, function, argument)
        except TimeoutError:
            raise ServiceError(
                f"the submission was not checked within {TIMEOUT:g} s: a file system does "
                "not answer, or other submissions have many files. Try again later."
            ) from None

    def close(self) -> None:
        """Take no more checks; those that hang are left behind."""
        self._threads.shutdown(wait=False)


def parse_submission(config: Any) -> tuple[Run, str, str]:
    """The run of a submission, its identity, and the digest of its numbers.

    Raises
    ------
    DjserviceError
        If the submission is invalid, too large, outside of the roots, or its input is missing.
    """
    run = checked_plan(config).run
    return run, identity(run), same_numbers(run)


def checked_plan(config: Any) -> RunPlan:
    """The plan of a submission, checked against the limits and the roots.

    Raises
    ------
    DjserviceError
        See :func:`parse_submission`.
    """
    plan = RunPlan(unpack(config), PatternSearch())
    check_observables(plan.run)  # the sizes are known only once these files are read
    for where, term in plan.run.terms.items():
        if files_of(term.observable):
            check_trial(term.observable, f"{where}.observable")
    check_sizes(plan)
    check_roots(plan)
    check_store(plan.run)
    plan.check()
    for name in plan.run.inputs:
        check_size("files", f"files of {name}", len(plan.input(name).sources))
    return plan


class PatternSearch:
    """Search for the files of the patterns of one submission, in a bounded time for all of them."""

    def __init__(self) -> None:
        self._end = time.monotonic() + limit("search-seconds")

    def __call__(self, pattern: str) -> list[str]:
        """The files of one pattern.

        Raises
        ------
        ConfigError
            If the time does not suffice, or a link on the way leaves the input roots.
        """
        allowed, most = roots(INPUT_ROOTS), limit("files")
        folders = None if allowed is None else [root for root in allowed if "://" not in root]
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", search.__file__],
                input=json.dumps({"pattern": pattern, "folders": folders, "most": most}),
                capture_output=True,
                text=True,
                timeout=max(self._end - time.monotonic(), 0.1),
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"{pattern}: expected to find the files within {limit('search-seconds')} s, and "
                "looked through more folders than that. Name fewer folders, or raise "
                "djservice.limits.search-seconds in Dask's configuration."
            ) from None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ServiceError(f"{pattern}: the search for its files ended with {last}")
        answer = json.loads(done.stdout)
        if "outside" in answer:
            raise ConfigError(
                f"{pattern}: {answer['outside']} lies outside the folders that this scheduler "
                f"allows ({INPUT_ROOTS}). Choose a pattern without it."
            )
        paths: list[str] = answer["paths"]
        check_size("files", f"files that match {pattern}", len(paths))
        return paths


def same_location(first: str, second: str) -> bool:
    """True if two stores are one."""
    return (
        first == second
        if is_url(first) or is_url(second)
        else Path(first).resolve() == Path(second).resolve()
    )


def store_exists(store: str) -> bool:
    """True if there is a store at a path or URL."""
    return locate(store).exists()
