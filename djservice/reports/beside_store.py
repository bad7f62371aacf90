"""saved(path, draw): a figure beside a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from djservice.core.urls import basename, beside, is_url
from djservice.errors import DjserviceError


def saved(path: str | Path, draw: Callable[[Any], Any], replaced: str = ".zarr") -> list[Path]:
    """Save a figure as PNG and SVG beside a store or a file, and return the files.

    Beside a URL, the figure is written into the working directory.

    Parameters
    ----------
    path
        The store or file.
    draw
        Makes the figure with ``matplotlib.pyplot``.
    replaced
        End of the name of ``path`` that the ends of the figures replace.

    Raises
    ------
    DjserviceError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt

        from djservice.reports.figures import style
    except ImportError as error:
        raise DjserviceError(
            f"the figure needs {error.name}. Install it: pip install 'djservice[report]'."
        ) from None
    text = str(path)
    place = Path(basename(text)) if is_url(text) else Path(path).expanduser()
    with style():
        figure = draw(plt)
        files = [beside(place, suffix, replaced) for suffix in (".png", ".svg")]
        figure.savefig(files[0], dpi=130)
        figure.set_layout_engine("none")  # it has one
        figure.savefig(files[1], metadata={"Date": None})
        plt.close(figure)
    return files
