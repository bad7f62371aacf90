"""``dask worker --preload-nanny warm_nanny``: workers fork from a process that has modules and kernels loaded.

Loading them is two seconds of a processor for each worker that starts, and tests start many.
"""

import multiprocessing

from distributed.utils import get_mp_context

get_mp_context()  # sets Dask's own list of modules, which would otherwise come last
multiprocessing.get_context("forkserver").set_forkserver_preload(["warm_worker"])
