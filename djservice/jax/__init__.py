"""The clustering as a layer for JAX (extra ``jax``).

:func:`expectation` is all that a loss needs. :func:`cluster` and :func:`surrogate` are its parts.
"""

from __future__ import annotations

from djservice.jax.layer import Clusterings, cluster, expectation, surrogate
from djservice.layers.keys import event_identity

__all__ = ["Clusterings", "cluster", "event_identity", "expectation", "surrogate"]
