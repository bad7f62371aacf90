"""Modules and kernels of a worker, loaded once in the process from which workers fork."""

import distributed.nanny  # noqa: F401

import djservice.on_dask.load
import djservice.on_dask.plugins  # noqa: F401
from djservice.on_dask.arithmetic import clustering_digest

clustering_digest()
