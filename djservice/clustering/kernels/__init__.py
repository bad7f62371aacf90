"""The physics, compiled: scalar and one-tree functions, and the loops that run them on the CPU."""
