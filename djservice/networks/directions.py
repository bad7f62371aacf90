"""Weights and directions of a jet's constituents, from their four-momenta."""

from __future__ import annotations

import torch

#: Smallest transverse momentum that directions are computed with, in GeV.
TINY = 1e-30


def weights_and_directions(
    particles: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of the transverse momentum and direction of each constituent.

    Directions are relative to the mean of (y, phi), weighted by the shares. So a jet that is
    rotated about the beam or boosted along it stays the same, and soft or collinear particles do
    not move the centre.

    Parameters
    ----------
    particles
        Shape (jet, particle, 4), float64: px, py, pz and E in GeV.
    mask
        Shape (jet, particle), bool, True where there is a particle.

    Returns
    -------
    tuple
        z, shape (jet, particle), which is 0 for padding, and (y, phi), shape (jet, particle, 2).
    """
    beside = particles.new_tensor([1.0, 0.0, 0.0, 1.0])
    px, py, pz, energy = torch.where(mask[..., None], particles, beside).unbind(-1)
    inside = mask.to(particles.dtype)
    pt2 = (px * px + py * py).clamp(min=TINY**2)
    pt = pt2.sqrt() * inside
    z = pt / pt.sum(dim=-1, keepdim=True).clamp(min=TINY)
    # The transverse mass is that of a massless particle where rounding left none.
    mt = torch.maximum((energy - pz) * (energy + pz), pt2).sqrt()
    y = ((pz.abs() + (mt * mt + pz * pz).sqrt()) / mt).log() * pz.sign()
    # Relative to the sum of momenta, the angles of a jet do not wrap.
    sum_x, sum_y = ((component * inside).sum(dim=-1, keepdim=True) for component in (px, py))
    phi = _angle(px * sum_x + py * sum_y, py * sum_x - px * sum_y)
    directions = torch.stack([y, phi], dim=-1)
    return z, directions - (z[..., None] * directions).sum(dim=-2, keepdim=True)


def _angle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Angle of (x, y): that in float32, and one step of Newton's method.

    onnxruntime has no arctangent in float64.
    """
    length = (x * x + y * y).sqrt()
    x, length = (torch.where(length > TINY, value, 1.0) for value in (x, length))
    rough = torch.atan2((y / length).float(), (x / length).float()).double().detach()
    return rough + (y * rough.cos() - x * rough.sin()) / length
