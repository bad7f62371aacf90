"""Moment energy flow networks: functions of energy-weighted moments of a latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement, pairwise

import torch
from torch import nn

from djservice.core.bounds import Bound, require
from djservice.errors import InputError
from djservice.networks.directions import weights_and_directions

#: Numbers that describe the direction of a constituent.
DIRECTION = 3
_WHOLE, _ORDER = Bound(1, 4096, whole=True), Bound(1, 64, whole=True)
#: Largest number of hidden layers of both networks together.
DEEPEST = 100


class MomentEFN(nn.Module):
    """Moment energy flow network, F(<1>, <Phi_a>, <Phi_a Phi_b>, ..., <Phi_a ... Phi_k>).

    Phi is a network of the direction of a constituent. <f> is the sum over the constituents of
    z f, where z is the constituent's share of the transverse momentum. Products are taken for each
    constituent, then summed. Order 1 is the energy flow network. The output is infrared and
    collinear safe whatever the parameters are.

    Attributes
    ----------
    order
        Highest number of factors of a moment.
    latent
        Number of functions Phi.
    moments
        Number of moments with <1>, which is binomial(latent + order, order).
    outputs
        Number of outputs: one per class for :func:`train`.
    scale
        Unit of angles, such as the radius of the jets.

    Parameters
    ----------
    particle_layers, jet_layers
        Widths of the hidden layers of Phi and of F, with SiLU between them.
    seed
        Seed of the initial parameters.
    dtype
        Type of the parameters and the outputs. Directions are computed in float64.

    Raises
    ------
    InputError
        If a number or a type has no meaning.

    References
    ----------
    Gambhir, Osathapan, Thaler 2024 (arXiv:2403.08854), and for order 1 Komiske, Metodiev, Thaler
    2019 (arXiv:1810.05165).

    Examples
    --------
    >>> network = dj.networks.MomentEFN(order=4, latent=1, scale=0.4)
    >>> scores = network(particles, mask)  # (jet, output)
    """

    def __init__(
        self,
        order: int = 1,
        latent: int = 8,
        *,
        outputs: int = 2,
        scale: float = 1.0,
        particle_layers: Sequence[int] = (64, 64),
        jet_layers: Sequence[int] = (64, 64, 64),
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.order, self.latent, self.outputs, self.scale = order, latent, outputs, scale
        self._check([*particle_layers, *jet_layers], seed, dtype)
        self.moments = math.comb(latent + order, order)
        # Each monomial has `order` factors among 1 and the functions Phi.
        monomials = list(combinations_with_replacement(range(latent + 1), order))
        self.register_buffer("factors", torch.tensor(monomials).T.contiguous(), persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.phi = dense(DIRECTION, *particle_layers, latent).to(dtype)
            self.head = dense(self.moments, *jet_layers, outputs).to(dtype)

    def forward(self, particles: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of each jet, shape (jet, output).

        Parameters
        ----------
        particles
            Shape (jet, particle, 4), float32 or float64: px, py, pz and E in GeV.
        mask
            Shape (jet, particle), bool, True where there is a particle; all by default. What else
            stands in ``particles`` is not read and has the derivative 0.

        Raises
        ------
        InputError
            If a shape or a type is wrong.
        """
        mask = _checked_mask(particles, mask)
        outputs: torch.Tensor = self.head(self.moments_of(particles, mask))
        return outputs

    def moments_of(self, particles: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """All moments of each jet, shape (jet, moment), first <1>."""
        z, directions = weights_and_directions(particles.double(), mask)
        dtype = next(self.parameters()).dtype
        # Phi of padding is not computed, as most of a jet is padding.
        phi = torch.zeros((*mask.shape, self.latent), dtype=dtype, device=mask.device)
        phi[mask] = self.phi(_angles(directions[mask] / self.scale).to(dtype))
        phi = torch.cat([torch.ones_like(phi[..., :1]), phi], dim=-1)
        products = phi[..., self.factors[0]]
        for factor in self.factors[1:]:
            products = products * phi[..., factor]
        return torch.matmul(z.to(dtype)[..., None, :], products)[..., 0, :]

    def _check(self, widths: Sequence[int], seed: int, dtype: torch.dtype) -> None:
        """Refuse settings without a meaning."""
        numbers = [("order", self.order), ("latent", self.latent), ("outputs", self.outputs)]
        for name, number in [*numbers, *(("the width of a layer", width) for width in widths)]:
            bound = _ORDER if name == "order" else _WHOLE
            if not bound.holds(number):
                raise InputError(f"{name} is {number!r}, expected {bound}.")
        if len(widths) > DEEPEST:
            raise InputError(f"{len(widths):,} hidden layers, expected at most {DEEPEST}.")
        if not _WHOLE.holds(math.comb(self.latent + self.order, self.order)):
            raise InputError(
                f"order {self.order} of {self.latent} latent functions has more than "
                f"{_WHOLE.high:,} moments. Take a lower order or fewer functions."
            )
        require("radius", self.scale, of="scale")
        require("seed", seed)
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype is {dtype}, expected torch.float32 or torch.float64.")


def _angles(directions: torch.Tensor) -> torch.Tensor:
    """The direction and the logarithm of its length, so that small angles can be told apart.

    The logarithm is cut off smoothly at 1e-3, which keeps it safe.
    """
    y, phi = directions.unbind(-1)
    return torch.stack([y, phi, (1e-3 + (y * y + phi * phi + 1e-18).sqrt()).log()], dim=-1)


def dense(*widths: int) -> nn.Sequential:
    """Dense layers with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def _checked_mask(particles: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if not isinstance(particles, torch.Tensor) or not particles.is_floating_point():
        kind = getattr(particles, "dtype", type(particles).__name__)
        raise InputError(f"particles are {kind}, expected a torch.Tensor of floats.")
    if particles.ndim != 3 or particles.shape[-1] != 4:
        raise InputError(
            f"particles have the shape {tuple(particles.shape)}, expected (jet, particle, 4): px, "
            "py, pz and E in GeV."
        )
    if mask is None:
        return torch.ones(particles.shape[:-1], dtype=torch.bool, device=particles.device)
    if mask.dtype != torch.bool or mask.shape != particles.shape[:-1]:
        raise InputError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}, expected torch.bool of shape "
            f"{tuple(particles.shape[:-1])}, as the particles have."
        )
    return mask
