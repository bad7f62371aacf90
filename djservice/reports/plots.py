"""The figures of a report one by one, as matplotlib's axes: for notebooks and own scripts."""

from __future__ import annotations

from typing import Any

from djservice.core.html_table import html_table
from djservice.errors import MissingPackageError, StoreError
from djservice.store import run_store


class Store(run_store.Store):
    """A store of a run, opened for reading, with its figures.

    Each ``plot_*`` draws a figure of the report and returns matplotlib's axes, a list of them
    where there are several. It raises :class:`djservice.errors.StoreError` if the run has not come
    so far, and :class:`djservice.errors.MissingPackageError` without the extra ``report``.
    """

    def __repr__(self) -> str:
        return f"Store({self.path}, {self.attributes['status']})"

    def _repr_html_(self) -> str:
        attributes = self.attributes
        result = attributes.get("result")
        rows = {
            "path": self.path,
            "task": attributes["run"]["task"],
            "status": attributes["status"],
            "message": attributes.get("message"),
            "events": f"{attributes['events']:,}",
            "iterations": f"{self.n_complete('history'):,}",
            "R": f"{result['radius']:.4g}" if isinstance(result, dict) else None,
        }
        return html_table("Store", rows)

    def plot_scan(self) -> Any:
        """Loss against R, with the radii of the iterations and the optimum."""
        return self._axes("landscape")

    def plot_iterations(self) -> Any:
        """Radius, and loss of each batch, against the iteration: two axes."""
        return self._axes("iterations")

    def plot_spectra(self) -> Any:
        """Distribution of the observable at each radius of the spectrum."""
        return self._axes("spectra")

    def plot_radii(self) -> Any:
        """Distribution of the radii of single events, of a run with ``task: per-event``."""
        return self._axes("radii_per_event")

    def _axes(self, name: str) -> Any:
        try:
            from djservice.reports import figures

            with figures.style():
                figure = getattr(figures, name)(self)
        except ImportError as error:
            raise MissingPackageError(
                f"figures need {error.name}. Install it: pip install 'djservice[report]'."
            ) from None
        if figure is None:
            raise StoreError(f"{self.path}: the run has nothing to draw here yet.")
        axes = [each for each in figure.axes if each.get_label() != "<colorbar>"]
        return axes[0] if len(axes) == 1 else axes
