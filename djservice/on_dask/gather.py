"""Results of Dask tasks, with any failure as one clear error."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from djservice.core.formatting import counted
from djservice.core.progress import Watch
from djservice.core.redact import message_of, shareable
from djservice.errors import DjserviceError, RunError, TasksLostError

#: Seconds after which a run says that it waits for the workers.
ANNOUNCED_AFTER = 5.0
#: What is to be done about workers that were lost, one after the other, before they had any work.
LOST = (
    "Look for the reason in their logs. If they ran out of memory, give them more: the limit of a "
    "worker is that of `dask worker --memory-limit`, or else its share of the memory of its "
    "machine or container, as of the processors."
)


async def wait_patiently(client: Client, waiting: Coroutine[Any, Any, Any], watch: Watch) -> Any:
    """The result of a coroutine; the watch hears what a long wait may be for."""
    gathering = asyncio.ensure_future(waiting)
    try:
        if not (await asyncio.wait([gathering], timeout=ANNOUNCED_AFTER))[0]:
            watch.say(f"waiting for the workers: {await _occupation(client)}")
        return await gathering
    finally:
        gathering.cancel()


async def _occupation(client: Client) -> str:
    """What keeps the workers busy: tasks of others, or else those of this client."""
    processing: dict[str, Any] = {}
    with contextlib.suppress(OSError):  # what is waited for says that the scheduler is gone
        processing = await client.processing()
    others = sum(key not in client.futures for keys in processing.values() for key in keys)
    if others:
        return f"they have {counted(others, 'task')} of other runs, or the last pieces of a stopped one"
    return "the files, or the machine, are slow"


async def gather(client: Client, futures: Sequence[Future | None]) -> Any:
    """The results of tasks, in their order.

    Raises
    ------
    DjserviceError
        If a task raises one, a worker or the scheduler is lost, or a function of the user fails.
    """
    try:
        return await client.gather(futures)
    except asyncio.CancelledError:
        # After a signal, Dask leaves a task behind whose failure nobody asks for.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        raise
    except DjserviceError:
        raise
    except KilledWorker as error:
        raise RunError(
            f"{error.allowed_failures + 1} workers died on the task {error.task}, so it was "
            "abandoned. Look for the reason in their logs. If they ran out of memory, give them "
            "more, or choose smaller bundles (input.bundle_events)."
        ) from error
    except (NoValidWorkerError, NoWorkerError) as error:
        raise RunError(
            f"the task {error.task} waited for a worker that may take it for longer than "
            f"{error.timeout:g} s (distributed.scheduler.no-workers-timeout). Start workers from "
            "the environment of this run that see its files; the same command continues from the store."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise TasksLostError(
            "the Dask scheduler stopped or dropped the tasks of this run "
            f"({message_of(error)}). The same command continues from the store."
        ) from shareable(error)
    except Exception as error:  # raised by a function of the user
        frame = traceback.extract_tb(error.__traceback__)[-1]
        file = Path(frame.filename).name  # "<...>" for a function that was pickled by value
        location = f"{frame.name}, line {frame.lineno}" + (
            f" of {file}" if not file.startswith("<") else ""
        )
        raise RunError(
            f"{type(error).__name__} on a worker in {location}: {message_of(error)}. "
            "Check your own observables and cuts, if there are any."
        ) from shareable(error)
