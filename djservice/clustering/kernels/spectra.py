"""Transport on a line between the spectra of events: the inner loop of the spectral distance."""

from __future__ import annotations

from typing import Any

from djservice.clustering.kernels.jit import entry


@entry
def spectral_distances(
    omega_a: Any,
    reached_a: Any,
    bounds_a: Any,
    omega_b: Any,
    reached_b: Any,
    bounds_b: Any,
    out: Any,
) -> None:
    """Integral of (omega_a - omega_b)^2 over the quantiles of two spectra, for all pairs of events.

    Parameters
    ----------
    omega_a, reached_a
        Spectra of the events of a, one after the other, shape (line,): rising positions, and the
        weight up to and with each of them. The last weight is the same in all spectra.
    bounds_a
        Shape (event + 1,): event i owns the lines ``bounds_a[i]:bounds_a[i + 1]``.
    omega_b, reached_b, bounds_b
        Those of b.
    out
        Output, shape (event of a, event of b).
    """
    for i in range(len(bounds_a) - 1):
        for j in range(len(bounds_b) - 1):
            x, y = bounds_a[i], bounds_b[j]
            total, reached = 0.0, 0.0
            while x < bounds_a[i + 1] and y < bounds_b[j + 1]:
                end = min(reached_a[x], reached_b[y])
                apart = omega_a[x] - omega_b[y]
                total += (end - reached) * apart * apart
                reached = end
                if reached_a[x] <= end:
                    x += 1
                if reached_b[y] <= end:
                    y += 1
            out[i, j] = total
