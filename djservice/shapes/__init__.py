"""Shapes of events and jets: how far apart two of them are, and what they look like.

:func:`fit` finds the shape that a jet or an event is nearest to, by transport of its momentum.
"""

from __future__ import annotations

from djservice.shapes.fit import Fit, fit
from djservice.shapes.forms import Disk, Ellipse, Isotropy, Point, Ring, Shape, Uniform

__all__ = ["Disk", "Ellipse", "Fit", "Isotropy", "Point", "Ring", "Shape", "Uniform", "fit"]
