"""The results of Dask tasks; whatever goes wrong as one clear error."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError

from djservice.errors import DjserviceError, RunError, TasksLostError


async def gather(client: Client, futures: Sequence[Future | None]) -> Any:
    """The results of tasks, in their order.

    Raises
    ------
    DjserviceError
        As a task raised it, or about what happened to the cluster or in a function of the user.
    """
    try:
        return await client.gather(futures)
    except (
        asyncio.CancelledError
    ):  # by a signal: Dask leaves a task behind whose failure nobody will ask for
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        raise
    except DjserviceError:
        raise
    except KilledWorker as error:
        raise RunError(
            f"{error.allowed_failures + 1} workers died on the task {error.task}, so it was given up. Their logs may say why; "
            "where memory ran out, give them more, or choose smaller bundles (input.bundle_events)."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise TasksLostError(
            f"the Dask scheduler is gone or dropped our tasks ({' '.join(str(error).split())}). The same command goes on from the store."
        ) from error
    except Exception as error:  # of an observable or a cut
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = Path(place.filename).name  # none where a function came pickled by value
        where = f"{place.name}, line {place.lineno}" + (
            f" of {file}" if not file.startswith("<") else ""
        )
        raise RunError(
            f"{type(error).__name__} on a worker in {where}: {' '.join(str(error).split())}. "
            "Is it raised by an observable or a cut of your own?"
        ) from error
