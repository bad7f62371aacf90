"""The published study of 1,000 ZH events: a global radius from two starts, and one per event.

    python workflows/zh_study.py --output zh_study

It does three runs of workflows/zh_global_radius.yaml, each with a store and a report: from R = 0.3,
from R = 1.0, and from R = 1.0 followed by one radius per event. Finished runs are not repeated. The
numbers are printed beside the published ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

import djservice as dj
from djservice.core.formatting import with_error
from djservice.reports.summary import summary

CONFIG = Path(__file__).with_name("zh_global_radius.yaml")
#: Mean and standard deviation of m_jj in GeV.
PUBLISHED = {"R = 1.00": (145.8, 38.0), "R = 0.65": (125.1, 37.9), "one R per event": (125.6, 29.5)}


def completed_summary(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Summary of one run, which is done first unless it is finished."""
    run = dj.Run.from_yaml(CONFIG, [f"output.store={folder / name}.zarr", *overrides])
    finished = dj.run(run)
    dj.report(finished.store)
    return summary(finished.store)


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="zh_study",
    help="Folder for the stores and reports.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one configuration key of all runs. Repeatable.",
)
def main(output: Path, overrides: tuple[str, ...]) -> None:
    """Do the study, or continue it, and print its numbers.

    \b
    Example:
      python workflows/zh_study.py --output zh_study
    """
    low = completed_summary(output, "from_0.3", "radius.start=0.3", *overrides)
    high = completed_summary(output, "from_1.0", "radius.start=1.0", *overrides)
    events = completed_summary(
        output, "per_event", "radius.start=1.0", "task=per-event", *overrides
    )
    radii = [(run["result"]["radius"], run["result"]["radius_error"]) for run in (low, high)]
    for start, (radius, error) in zip((0.3, 1.0), radii, strict=True):
        click.echo(f"from R = {start}: R = {with_error(radius, error, 3)}")
    if all(error is not None for _, error in radii):
        apart = abs(radii[0][0] - radii[1][0]) / math.hypot(radii[0][1], radii[1][1])
        click.echo(f"they differ by {apart:.1f} standard errors")
    rows = {"R = 1.00": events["spectrum"][0], "R = 0.65": events["spectrum"][2]}
    rows |= {f"R = {events['result']['radius']:.2f}, the optimum": events["spectrum"][1]}
    rows |= {
        "one R per event": events["per_event"]["fresh"],
        "  on its own trees": events["per_event"]["same"],
    }
    click.echo(f"{'m_jj [GeV]':24s} {'mean':>14s} {'sd':>14s}   published")
    for label, row in rows.items():
        published = "{:.1f} / {:.1f}".format(*PUBLISHED[label]) if label in PUBLISHED else ""
        mean, sd = (with_error(row[key], row[f"{key}_error"], 1) for key in ("mean", "sd"))
        click.echo(f"{label:24s} {mean:>14s} {sd:>14s}   {published}")


if __name__ == "__main__":
    main()
