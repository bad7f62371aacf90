"""Results of runs, in Zarr stores: local folders or object stores."""
