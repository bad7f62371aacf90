"""The clustering as a layer for PyTorch (extra ``torch``).

:func:`expectation` is all that a loss needs. :func:`cluster` and :func:`surrogate` are its parts.
"""

from __future__ import annotations

from djservice.layers.keys import event_identity
from djservice.torch.layer import Clusterings, cluster, expectation, surrogate

__all__ = ["Clusterings", "cluster", "event_identity", "expectation", "surrogate"]
