"""A Dask cluster whose workers are threads of the process of the tests."""

import contextlib
from collections.abc import AsyncIterator

from distributed import Client, LocalCluster


@contextlib.asynccontextmanager
async def thread_cluster(
    workers: int, threads: int = 1
) -> AsyncIterator[tuple[LocalCluster, Client]]:
    """The cluster and a client of it, in the loop of the caller."""
    async with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield cluster, client
