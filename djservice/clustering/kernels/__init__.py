"""Compiled kernels: the physics of one step, one tree, and the loops over trees on CPU and GPU."""
