"""What a run leaves: Zarr, in a folder or a bucket."""
