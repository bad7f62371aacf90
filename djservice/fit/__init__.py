"""The optimisation, without Dask."""
