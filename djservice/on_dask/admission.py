"""What a worker shows before it gets work, and the resource that it then announces.

Tasks of a run ask for the resource that workers with its code, packages and arithmetic announce, or
for that of a part of them (``parts.py``). Dask's scheduler gives them to no other worker, whenever
it joins.

The plugin and the introduction are local classes and functions, which are pickled by value. So a
worker with other sources, or without djservice, can answer too.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Literal, get_args

from distributed import Scheduler, WorkerPlugin
from distributed.protocol.pickle import dumps

from djservice.core.provenance import LOADED_CODE, code_hash, versions
from djservice.on_dask.arithmetic import clustering_digest, reading_digest

#: Work that a worker is admitted to. Clustering needs compiled kernels, reading does not.
Work = Literal["reading", "clustering"]
#: What a worker shows: strings, or a dictionary of versions.
Shown = dict[str, Any]


@functools.cache
def show(work: Work) -> Shown:
    """Code, packages and arithmetic of this process.

    The code is that of its start. A process whose sources were exchanged since then may have parts
    of both, and is like no other. Of a processor what it computes matters, and not its name.
    """
    changed = "" if code_hash() == LOADED_CODE else ", and its sources changed since it started"
    packages = {k: text for k, text in versions().items() if k not in ("code", "processor")}
    return {
        "code": LOADED_CODE + changed,
        "versions": {**packages, "python": ".".join(packages["python"].split(".")[:2])},
        "arithmetic": reading_digest() if work == "reading" else clustering_digest(),
    }


def likeness() -> Shown:
    """What a worker shows that is like this process, with any arithmetic."""
    return {**show("reading"), "arithmetic": None}


def _digest(shown: Shown) -> str:
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def resource_of(shown: Shown, work: Work) -> str:
    """Name of the resource of the workers that show the same."""
    return f"djservice-{work}-{_digest(shown)}"


def announcing(*resources: str) -> Callable[[Any], Awaitable[None]]:
    """A function with which a worker announces resources."""

    async def announce(dask_worker: Any) -> None:
        from distributed.core import Status

        await dask_worker.set_resources(
            **dict.fromkeys(resources, 1e9)
        )  # more than it can have tasks
        if dask_worker.status == Status.running:  # so that the scheduler looks at waiting tasks
            dask_worker.status = Status.paused
            dask_worker.status = Status.running

    return announce


def introduction(work: Work, expected: Shown) -> Callable[[Any], Awaitable[Shown]]:
    """A function with which a worker shows itself, or the problem that it has with that.

    If it is as expected, it announces its resource and that of its part. Only then are its kernels compiled.
    """

    async def introduce(dask_worker: Any) -> Shown:
        import asyncio

        try:
            from djservice.on_dask import admission, answers, parts, plugins

            plugins.redact_logs()
            shown = await asyncio.to_thread(admission.show, "reading")
            if {**shown, "arithmetic": None} == expected:
                shown = await asyncio.to_thread(admission.show, work)
                if answers.AnswersWithTasks.name not in dask_worker.plugins:
                    await dask_worker.plugin_add(answers.AnswersWithTasks())
                resource = admission.resource_of(shown, work)
                part = parts.part_of(resource, dask_worker.address)
                await admission.announcing(resource, part)(dask_worker)
            return shown
        except Exception as error:
            return {"problem": f"{type(error).__name__}: {' '.join(str(error).split())}"}

    return introduce


def announcement(work: Work, expected: Shown) -> WorkerPlugin:
    """A plugin with which every worker that joins introduces itself, while it starts."""

    class Announcement(WorkerPlugin):
        name = f"djservice-{work}-{_digest(expected)}"
        idempotent = True  # workers that have the plugin are skipped

        def setup(self, worker: Any) -> None:
            """Called by Dask on each worker when it joins. It beats and answers meanwhile."""
            import asyncio

            self.introducing = asyncio.ensure_future(introduction(work, expected)(worker))

        def teardown(self, worker: Any) -> None:
            """Called by Dask when the worker ends."""
            self.introducing.cancel()

    return Announcement()


def announcing_on(scheduler: Scheduler) -> Iterator[Coroutine[Any, Any, Any]]:
    """For each work what registers its plugin, with the likeness of the scheduler's process."""
    for work in get_args(Work):
        plugin = announcement(work, likeness())
        yield scheduler.register_worker_plugin(None, dumps(plugin), plugin.name, idempotent=True)


def differences(shown: Any, expected: Shown) -> str:
    """How a worker differs from what is expected; empty if it does not."""
    if isinstance(shown, BaseException):
        return f"it does not answer ({type(shown).__name__}: {shown})"
    if "problem" in shown:
        return f"its djservice is missing, too old or broken ({shown['problem']})"
    theirs, ours = shown["versions"], expected["versions"]
    packages = [
        f"{name} is {theirs.get(name, 'missing')} there and {ours.get(name, 'missing')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if not packages and shown["code"] != expected["code"]:
        packages = [f"djservice has other sources ({shown['code']}, here {expected['code']})"]
    if not packages and shown["arithmetic"] != expected["arithmetic"]:
        return (
            "its arithmetic differs in the last bits, by its processor or its C library. Use "
            "workers of one kind, or switch off in all of them what some processors lack "
            "(NPY_DISABLE_CPU_FEATURES; numpy.show_runtime() lists it)"
        )
    return "; ".join(packages)
