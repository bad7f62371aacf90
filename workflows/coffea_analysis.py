"""Differentiable clustering inside a coffea analysis: the shipped ZH events, one processor of one's own and one of djservice.

    python workflows/coffea_analysis.py --workers 2

``DijetMass`` is what an analyst writes: isolated leptons are taken out of the particles, events need two central jets, and a
histogram is filled with m_jj averaged over the clusterings of each event. ``dj.RadiusProcessor`` gives, for the same particles as
the service reads, the loss and its slope in R with their errors.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import click
import hist
import numpy as np
from coffea import processor
from coffea.nanoevents import PFNanoAODSchema

import djservice as dj

RADIUS, TREES, SEED = 0.7, 20, 1
CUT = dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9) & dj.cuts.mass_below(250.0)
LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0).where(CUT)
FILESET = {"ZH": {"files": {dj.examples.path("ZHllbb_200"): "Events"}}}


class Schema(PFNanoAODSchema):  # type: ignore[misc, unused-ignore]
    """PFNano without warnings of indices into collections that these files do not have."""

    warn_missing_crossrefs = False


def isolated_leptons(particles: Any) -> Any:
    """Which particles are electrons or muons above 10 GeV with less than 15 % of their pT in others within 0.3."""
    lepton = ((abs(particles.pdgId) == 11) | (abs(particles.pdgId) == 13)) & (particles.pt > 10.0)
    number = ak.local_index(particles.pt)
    candidates = particles[lepton]
    near = candidates.metric_table(particles) < 0.3
    pt = ak.broadcast_arrays(particles.pt[:, np.newaxis], near)[0]
    isolation = (
        ak.sum(pt[near], axis=2) / candidates.pt - 1.0
    )  # the lepton itself is among those near it
    isolated = number[lepton][isolation < 0.15]
    return ak.any(number[:, :, np.newaxis] == isolated[:, np.newaxis], axis=2)


class DijetMass(processor.ProcessorABC):  # type: ignore[misc, unused-ignore]
    """m_jj averaged over the clusterings of each selected event."""

    def process(self, events: Any) -> dict[str, Any]:
        """Counts and the histogram of a chunk."""
        particles = events.PFCands[events.PFCands.pt > 0.5]
        particles = particles[~isolated_leptons(particles)]
        jets = dj.cluster_jets(
            particles, radius=0.4, pt_min=20.0, threads=1
        )  # deterministic anti-kT
        selected = ak.num(jets[abs(jets.eta) < 2.5]) >= 2
        chosen = events[selected]
        mass = dj.expectation(
            particles[selected],
            dj.observables.dijet_mass,
            radius=RADIUS,
            trees=TREES,
            where=CUT,
            seed=SEED,
            identity=(chosen.run, chosen.luminosityBlock, chosen.event),
            threads=1,
        )
        known = mass.acceptance > 0.0
        spectrum = hist.Hist.new.Reg(
            25, 0, 250, label="m_jj averaged over clusterings [GeV]"
        ).Weight()
        weight = ak.to_numpy(chosen.genWeight)[known] * mass.acceptance[known]
        spectrum.fill(mass.mean[known], weight=weight)
        counts = {"events": len(events), "selected": len(chosen), "accepted": int(known.sum())}
        return {events.metadata["dataset"]: {"mass": spectrum, **counts}}

    def postprocess(self, accumulator: Any) -> Any:
        """Nothing is left to do."""
        return accumulator


def analyse(executor: Any, chunksize: int = 50) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both processors make of the shipped events."""
    run = processor.Runner(executor, schema=Schema, chunksize=chunksize)
    radius = dj.RadiusProcessor(LOSS, radius=RADIUS, trees=TREES, pt_min=0.5, seed=SEED)
    return run(FILESET, DijetMass()), run(FILESET, radius)


@click.command()
@click.option(
    "--workers",
    type=int,
    default=1,
    show_default=True,
    help="Dask workers; with 1 everything runs here.",
)
def main(workers: int) -> None:
    """Run the analysis and print its numbers."""
    if workers == 1:
        own, radius = analyse(processor.IterativeExecutor(status=False))
    else:
        from distributed import Client

        with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as client:
            own, radius = analyse(processor.DaskExecutor(client=client, status=False))
    for dataset, found in own.items():
        click.echo(
            f"{dataset}: {found['events']} events, {found['selected']} selected, {found['accepted']} with a mass"
        )
        peak = int(np.argmax(found["mass"].values()))
        click.echo(f"  most weight between {found['mass'].axes[0][peak]} GeV")
    together = radius["all"]
    for name in ("loss", "gradient", "mean", "sd", "acceptance"):
        number = getattr(together, name)
        click.echo(f"{name} at R = {RADIUS}: {number.value:.4f} +- {number.error:.4f}")


if __name__ == "__main__":
    main()
