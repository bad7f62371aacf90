"""The clustering as a layer of a network, in NumPy: what :mod:`djservice.torch` and
:mod:`djservice.jax` have in common."""
