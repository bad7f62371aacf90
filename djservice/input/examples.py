r"""Example files that come with djservice.

The events are pp -> ZH at 13.6 TeV with Z -> ee or mumu and H -> bb, from Pythia 8.317 with its
default tune and multiparton interactions. The particles are the visible stable ones with
\|eta\| < 4.9 and pT > 0.5 GeV. The Z leptons and everything else that comes from the leptonic Z are
removed. ``djservice/data/README.md`` describes every branch, and ``workflows/generate_zh.py`` makes
such files.

- ``ZHllbb_1000``: 1,000 events. Mantissas of the particles are rounded to 10 bits (pT, mass) and
  12 bits (eta, phi).
- ``ZHllbb_200``: the first 200 of these events in full float32 precision.
"""

from __future__ import annotations

from pathlib import Path

from djservice.core.arguments import checked_arguments
from djservice.errors import MissingFileError

__all__ = [
    "names",
    "path",
]


_DATA = Path(__file__).parents[1] / "data"


def names() -> tuple[str, ...]:
    """Names of the example files."""
    return tuple(sorted(file.stem for file in _DATA.glob("*.root")))


@checked_arguments
def path(name: str) -> str:
    """Absolute path of an example file.

    Raises
    ------
    MissingFileError
        If there is no example of that name.
    """
    if name not in names():
        raise MissingFileError(f"no example file {name!r}; there are {', '.join(names())}.")
    return str((_DATA / f"{name}.root").absolute())
