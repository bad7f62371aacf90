"""A finished run. Clients of a service import it, so what computes is not imported with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from djservice.core.html_table import html_table
from djservice.fit.result import Result, rows_of


@dataclass(frozen=True)
class FinishedRun:
    """Result of a finished run.

    Attributes
    ----------
    result
        The optimum with its error.
    store
        Folder or URL of the store.
    """

    result: Result
    store: Path | str

    @property
    def radius(self) -> float:
        """The optimal radius: with its network, if the run trained one together with R."""
        result = self.result
        return result.radius if math.isnan(result.joint_radius) else result.joint_radius

    def plot(self) -> Any:
        """Loss against R, with the iterations and the optimum; returns matplotlib's axes.

        ``dj.Store.read(fit.store)`` has the other figures.

        Raises
        ------
        MissingPackageError
            Without the extra ``report``.
        """
        from djservice.reports.plots import Store

        return Store.read(self.store).plot_scan()

    def _repr_html_(self) -> str:
        return html_table("Finished run", {**rows_of(self.result), "store": self.store})
