"""djservice's preload without options.

On a gateway, dask-gateway's own preload reads the command line.
"""

from distributed import Scheduler

from djservice import preload


def dask_setup(scheduler: Scheduler) -> None:
    """Called by Dask when the scheduler starts."""
    preload.dask_setup.callback(scheduler, state_directory=None, concurrent_runs=None)
