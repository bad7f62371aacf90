"""Compiles what runs and scans need into NUMBA_CACHE_DIR, when an image is built: trees, and their scores; and modules, by importing them."""

import importlib

import djservice as dj

for module in (
    "bokeh.server.server",
    "coffea.processor",
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "distributed.dashboard.scheduler",
    "mplhep",
    "s3fs",
    "uproot",
    "zarr",
):
    importlib.import_module(module)

events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 2))
dj.cluster(events, radius=0.8, rigidity=1.0, seed=1)
dj.gradient(events, dj.observables.dijet_mass, radius=0.8, trees=2, seed=1)
dj.lund(events, dj.cluster_jets(events, radius=0.8))
dj.input_gradient(events, dj.observables.soft_dijet_mass(), radius=0.8, trees=2, seed=1)
