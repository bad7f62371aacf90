"""A generator of Pythia 8 that is ready to run."""

from __future__ import annotations

from typing import Any

import click


def started(energy: float, seed: int, *settings: str) -> Any:
    """An initialised generator of collisions.

    Parameters
    ----------
    energy
        Energy of the collision in GeV.
    seed
        Seed of the random numbers.
    settings
        Further lines of settings: the process, its cuts and decays.

    Raises
    ------
    ClickException
        If Pythia does not know a setting, or does not start.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    common = (
        f"Beams:eCM = {energy}",
        "Print:quiet = on",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
    )
    for line in (*common, *settings):
        if not pythia.readString(line):
            raise click.ClickException(
                f"Pythia does not know the setting {line!r}. Check its version."
            )
    if not pythia.init():
        raise click.ClickException("Pythia could not start; see its messages above.")
    return pythia
