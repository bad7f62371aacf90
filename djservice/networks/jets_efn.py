"""Moment energy flow networks of several jets, which may see their momentum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from djservice.networks.directions import TINY, weights_and_directions
from djservice.networks.moment_efn import MomentEFN, dense


class JetsEFN(nn.Module):
    """A network of the moments of each of some jets, and of how the jets lie to each other.

    It sees the moments of each jet (:class:`MomentEFN`), the share of the transverse momentum of
    each, and this share times the direction of the jet about the centre of all. With ``in_gev`` it
    also sees ln(pT / 100 GeV), where pT is the sum over all constituents. The output is infrared
    and collinear safe.

    Parameters
    ----------
    jets
        Number of jets.
    order, latent, outputs, scale, particle_layers, jet_layers, seed
        As of a :class:`MomentEFN`.
    in_gev
        Whether it sees the momentum. Without it the scale of the momenta changes nothing.
    """

    def __init__(
        self,
        jets: int,
        order: int = 1,
        latent: int = 8,
        *,
        outputs: int = 2,
        scale: float = 1.0,
        particle_layers: Sequence[int] = (64, 64),
        jet_layers: Sequence[int] = (64, 64, 64),
        seed: int = 0,
        in_gev: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.jets, self.in_gev = jets, in_gev
        self.moments = MomentEFN(
            order,
            latent,
            outputs=outputs,
            scale=scale,
            particle_layers=particle_layers,
            jet_layers=jet_layers,
            seed=seed,
            dtype=dtype,
        )
        inputs = jets * (self.moments.moments + 3) + int(in_gev)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.moments.head = nn.Identity()
            self.head = dense(inputs, *jet_layers, outputs).to(dtype)

    def forward(self, particles: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Outputs of each set of jets, shape (set, output).

        Parameters
        ----------
        particles
            Shape (set, jet, particle, 4), or (set, particle, 4) for one jet: px, py, pz and E in
            GeV.
        mask
            The same shape without the last axis, bool; False everywhere for a jet that is absent.
        """
        if self.jets == 1 and mask.ndim == 2:
            particles, mask = particles[:, None], mask[:, None]
        moments = self.moments(particles.flatten(0, 1), mask.flatten(0, 1))
        z, directions = weights_and_directions(particles.flatten(1, 2).double(), mask.flatten(1, 2))
        weighted = torch.cat([z[..., None], z[..., None] * directions], dim=-1)
        places = weighted.unflatten(1, mask.shape[1:]).sum(dim=2).flatten(1)
        numbers = [moments.reshape(len(mask), -1), places]
        if self.in_gev:
            pt = torch.hypot(particles[..., 0], particles[..., 1]) * mask
            numbers.append((pt.sum(dim=(1, 2)).clamp(min=TINY) / 100.0).log()[:, None])
        dtype = next(self.head.parameters()).dtype
        outputs: torch.Tensor = self.head(torch.cat([x.to(dtype) for x in numbers], dim=-1))
        return outputs
