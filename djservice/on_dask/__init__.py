"""Events and evaluations on a Dask cluster."""
