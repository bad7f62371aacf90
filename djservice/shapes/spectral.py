"""``dj.spectral_emd``: the distance between the pairwise angles of two events or jets."""

from __future__ import annotations

from typing import Any

from djservice.clustering.spectra import Spectra
from djservice.core.arguments import checked_arguments
from djservice.errors import InputError
from djservice.shapes.ground import Ground
from djservice.shapes.points import PT, points_of

#: Largest relative difference of two sums of pT that are the same but for rounding.
_ROUNDING = 1e-9


@checked_arguments
def spectral_emd(
    a: Any,
    b: Any,
    *,
    radius: float,
    beta: float = 1.0,
    norm: bool = False,
    periodic_phi: bool = True,
) -> float:
    """Spectral distance of two events or jets: transport between their spectra of pairwise angles.

    The spectrum of an event has the weight ``2 pt_i pt_j`` at ``omega = d_ij^beta / (beta R^beta)``
    for each pair of particles, and ``pt_i^2`` at 0 for each particle. The distance is the integral
    of ``(omega_a - omega_b)^2`` over equal weights of both spectra, in rising order: exact transport
    on a line with squared costs. Rotations and translations change nothing.

    Parameters
    ----------
    a, b, radius, beta, norm, periodic_phi
        See :func:`djservice.emd`. Without ``norm`` the sums of pT must be the same.

    Returns
    -------
    float
        The distance: a pure number with ``norm``, else in GeV^2.

    Raises
    ------
    InputError
        See :func:`djservice.emd`; also if the sums of pT differ.

    Notes
    -----
    The root of it is symmetric and keeps the triangle inequality. It is 0 between events that a
    rotation, a reflection or a translation maps onto each other, and between few others.

    References
    ----------
    Larkoski, Thaler: arXiv:2305.03751. Gambhir, Larkoski, Thaler: arXiv:2410.05379.
    """
    ground = Ground(radius, beta, norm, periodic_phi)
    first, second = (ground.prepared(points_of(x, name)) for x, name in ((a, "a"), (b, "b")))
    total, other = first[:, PT].sum(), second[:, PT].sum()
    if abs(total - other) > _ROUNDING * total:
        raise InputError(
            f"the sums of pt are {total:g} and {other:g} GeV, expected equal ones. The spectral "
            "distance compares shapes: pass norm=True."
        )
    spectra = [Spectra.of([x[:, PT]], [ground.cost(x, x)]) for x in (first, second)]
    return float(spectra[0].distances(spectra[1])[0, 0] * total * total)
