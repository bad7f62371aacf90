"""The binned Asimov significance as a function of expected signal and background."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.objectives.binned_statistics import BinnedStatistic, Numbers


@dataclass(frozen=True)
class NegativeSignificance(BinnedStatistic):
    """Minus the median discovery significance, -sqrt(sum over bins of Z^2).

    With n = s + b events expected in a bin and a relative background uncertainty r, independent in
    each bin and measured by counting,

        Z^2 / 2 = n log(n (1 + r^2 b) / (b (1 + r^2 n))) - log((1 + r^2 n) / (1 + r^2 b)) / r^2

    or n log(n / b) - s for r = 0. Reference: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, and
    with the uncertainty G. Cowan, "Discovery sensitivity for a counting experiment with background
    uncertainty" (2012). Bins without signal contribute nothing.

    Attributes
    ----------
    signals
        The first so many categories are signal, the others background.
    luminosity
        Factor from sums of weights to expected events.
    uncertainty
        r.
    minimum_entries
        Effective background entries of a bin; with fewer, it is merged with the next ones.
    groups
        Number of the merged bin of each bin; empty where none are merged.
    """

    signals: int = 1
    luminosity: float = 1.0
    uncertainty: float = 0.0
    minimum_entries: float = 10.0
    groups: tuple[int, ...] = ()

    is_extensive = True

    def value(self, sums: Floats) -> Floats:
        return np.asarray(-np.sqrt(self._square(*self._expected(sums)).sum()))

    def gradient(self, sums: Floats) -> Floats:
        s, b = self._expected(sums)
        z = np.sqrt(self._square(s, b).sum())
        first, _ = self._derivatives(s, b)
        return self._of_sums(-first / (2.0 * z))

    def curvature_along(self, sums: Floats, slopes: Floats) -> Floats:
        s, b = self._expected(sums)
        z = np.sqrt(self._square(s, b).sum())
        first, second = self._derivatives(s, b)
        along = np.stack(self._expected(slopes))
        change = np.einsum("ijg,jg->ig", second, along)
        return self._of_sums(
            -change / (2.0 * z) + first * (first * along).sum() / (4.0 * z * z * z)
        )

    def blocks(self, sums: Numbers) -> Numbers:
        s, b = self._expected(sums)
        z = np.sqrt(self._square(s, b).sum())
        first, second = self._derivatives(s, b)
        merge = self.merged
        padded = np.zeros((self.categories, self.sums, self.sums), sums.dtype)
        for category in range(self.categories):
            kind = int(category >= self.signals)
            block = np.outer(first[kind], first[kind]) / (4.0 * z * z * z)
            block -= np.diag(second[kind, kind]) / (2.0 * z)
            padded[category, :-1, :-1] = self.luminosity**2 * (block[np.ix_(merge, merge)])
        return padded

    def usable(self, sums: Floats, outer: Floats) -> NegativeSignificance:
        background = sums[self.signals :, :-1].sum(axis=0)
        squares = outer[self.signals :, :-1, :-1].sum(axis=0)
        groups, first = [0] * self.bins, 0
        for last in range(self.bins):
            groups[last] = groups[first - 1] + 1 if first else 0
            bins = slice(first, last + 1)
            if _effective(background[bins], squares[bins, bins]) >= self.minimum_entries:
                first = last + 1
        if first == 0:
            raise NothingAcceptedError(
                f"the background has {_effective(background, squares):.3g} effective entries in "
                f"all bins together, expected {self.minimum_entries:g} or more in each. Give more "
                "background events, or choose other bins."
            )
        for rest in range(first, self.bins):  # too few for a bin
            groups[rest] = groups[first - 1]
        merged = replace(self, groups=tuple(groups))
        if not (merged._expected(sums)[0] > 0.0).any():
            raise NothingAcceptedError(
                "no signal is in any bin, so the significance is 0. Give more signal events, or "
                "choose other bins."
            )
        return merged

    @property
    def merged(self) -> NDArray[np.int64]:
        return np.asarray(self.groups or range(self.bins), np.int64)

    def _expected(self, sums: Numbers) -> tuple[Numbers, Numbers]:
        """Expected signal and background of each merged bin."""
        first = np.flatnonzero(np.diff(self.merged, prepend=-1))
        s, b = (
            self.luminosity * np.add.reduceat(part[:, :-1].sum(axis=0), first)
            for part in (sums[: self.signals], sums[self.signals :])
        )
        return s, b

    def _square(self, s: Numbers, b: Numbers) -> Numbers:
        """Z^2 of each bin."""
        n, rho = s + b, self.uncertainty**2
        constraint = s if rho == 0.0 else (np.log1p(rho * n) - np.log1p(rho * b)) / rho
        return np.where(s.real > 0.0, 2.0 * (n * self._log(s, b) - constraint), 0.0)

    def _log(self, s: Numbers, b: Numbers) -> Numbers:
        rho = self.uncertainty**2
        with np.errstate(invalid="ignore"):
            return np.asarray(np.log1p(s / b) - np.log1p(rho * (s + b)) + np.log1p(rho * b))

    def _derivatives(self, s: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
        """Derivatives of Z^2 in (s, b): shapes (2, bin) and (2, 2, bin)."""
        n, rho, log = s + b, self.uncertainty**2, self._log(s, b)
        of_n, of_b = 1.0 / (n * (1.0 + rho * n)), 1.0 / (b * (1.0 + rho * b))
        first = 2.0 * np.stack([log, log - s * of_b])
        cross = of_n - of_b
        last = cross + s * (1.0 + 2.0 * rho * b) * of_b**2
        second = 2.0 * np.stack([np.stack([of_n, cross]), np.stack([cross, last])])
        signal = s.real > 0.0
        return np.where(signal, first, 0.0), np.where(signal, second, 0.0)

    def _of_sums(self, of_bins: Floats) -> Floats:
        """Derivatives in all sums from those in expected signal and background of merged bins."""
        rows = [of_bins[int(category >= self.signals)] for category in range(self.categories)]
        of_bin = self.luminosity * np.stack(rows)[:, self.merged]
        return np.concatenate([of_bin, np.zeros((self.categories, 1))], axis=1)


def _effective(contents: Floats, squares: Floats) -> float:
    """Number of events of equal weight with the same relative error."""
    total, square = float(contents.sum()), float(squares.sum())
    return total**2 / square if total > 0.0 and square > 0.0 else 0.0
