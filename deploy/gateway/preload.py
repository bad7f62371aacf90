"""djservice's preload without options of its own: on a gateway the command line belongs to dask-gateway's preload."""

from distributed import Scheduler

from djservice import preload


def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask when the scheduler starts."""
    preload.dask_setup.callback(scheduler, state_directory=None, concurrent_runs=None)
