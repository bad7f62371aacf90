"""Mean and spread of a loss over versions of the events, with their derivatives.

With losses L_1 ... L_n, the mean plus lambda standard deviations s is F = mean(L) + lambda s, where
s^2 = mean((L - mean(L))^2).
"""

from __future__ import annotations

import numpy as np

from djservice.core.typing import Floats

#: Spread below this part of the largest loss, which is rounding.
ROUNDING = 1e-12


def combined(losses: Floats, spread: float) -> tuple[Floats, Floats]:
    """F of losses of shape (..., version), and dF / dL, of the same shape as the losses.

    Without any spread, dF / dL is that of the mean.
    """
    number = losses.shape[-1]
    mean, sd, direction = _mean_sd(losses)
    return mean + spread * sd, 1.0 / number + spread * direction


def second_along(losses: Floats, slopes: Floats, spread: float) -> Floats:
    """d^2F / dL^2 times slopes of the losses, shape (..., version)."""
    number = losses.shape[-1]
    _, sd, direction = _mean_sd(losses)
    along = (direction * slopes).sum(axis=-1, keepdims=True)
    centred = slopes - slopes.mean(axis=-1, keepdims=True)
    sd = sd[..., np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        second = (centred / number - direction * along) / sd
    return spread * np.where(sd > 0.0, second, 0.0)


def _mean_sd(losses: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation s, and ds / dL; 0 for a spread that is rounding."""
    mean = losses.mean(axis=-1)
    centred = losses - mean[..., np.newaxis]
    sd = np.sqrt(np.square(centred).mean(axis=-1))
    sd = np.where(sd > ROUNDING * np.abs(losses).max(axis=-1), sd, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = centred / (losses.shape[-1] * sd[..., np.newaxis])
    return mean, sd, np.where(sd[..., np.newaxis] > 0.0, direction, 0.0)
