"""Differentiable clustering in a coffea analysis of the example ZH events, with two processors.

    python workflows/coffea_analysis.py --workers 2

``DijetMass`` is a processor such as an analyst writes. It removes isolated leptons from the
particles, selects events with two central jets, and fills a histogram with m_jj averaged over the
clusterings of each event. ``dj.RadiusProcessor`` computes the loss and its slope in R with their
errors, from the particles that the service reads.
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
    """PFNano without warnings about indices into collections that these files lack."""

    warn_missing_crossrefs = False


def isolated_leptons(particles: Any) -> Any:
    """Mask of isolated leptons: electrons and muons with pT above 10 GeV.

    Other particles within 0.3 have less than 15 % of the lepton's pT.
    """
    lepton = ((abs(particles.pdgId) == 11) | (abs(particles.pdgId) == 13)) & (particles.pt > 10.0)
    number = ak.local_index(particles.pt)
    candidates = particles[lepton]
    near = candidates.metric_table(particles) < 0.3
    pt = ak.broadcast_arrays(particles.pt[:, np.newaxis], near)[0]
    isolation = ak.sum(pt[near], axis=2) / candidates.pt - 1.0  # 1 for the lepton itself
    isolated = number[lepton][isolation < 0.15]
    return ak.any(number[:, :, np.newaxis] == isolated[:, np.newaxis], axis=2)


class DijetMass(processor.ProcessorABC):  # type: ignore[misc, unused-ignore]
    """m_jj averaged over the clusterings of each selected event."""

    def process(self, events: Any) -> dict[str, Any]:
        """Counts and the histogram of a chunk."""
        particles = events.PFCands[events.PFCands.pt > 0.5]
        particles = particles[~isolated_leptons(particles)]
        # Deterministic anti-kT jets.
        jets = dj.cluster_jets(particles, radius=0.4, pt_min=20.0, threads=1)
        selected = ak.num(jets[abs(jets.eta) < 2.5]) >= 2
        selected_events = events[selected]
        mass = dj.expectation(
            particles[selected],
            dj.observables.dijet_mass,
            radius=RADIUS,
            trees=TREES,
            where=CUT,
            seed=SEED,
            identity=(selected_events.run, selected_events.luminosityBlock, selected_events.event),
            threads=1,
        )
        accepted = mass.acceptance > 0.0
        spectrum = hist.Hist.new.Reg(
            25, 0, 250, label="m_jj averaged over clusterings [GeV]"
        ).Weight()
        weight = ak.to_numpy(selected_events.genWeight)[accepted] * mass.acceptance[accepted]
        spectrum.fill(mass.mean[accepted], weight=weight)
        counts = {
            "events": len(events),
            "selected": len(selected_events),
            "accepted": int(accepted.sum()),
        }
        return {events.metadata["dataset"]: {"mass": spectrum, **counts}}

    def postprocess(self, accumulator: Any) -> Any:
        """The accumulator, unchanged."""
        return accumulator


def analyse(executor: Any, chunksize: int = 50) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of both processors for the example events."""
    run = processor.Runner(executor, schema=Schema, chunksize=chunksize)
    radius = dj.RadiusProcessor(LOSS, radius=RADIUS, trees=TREES, pt_min=0.5, seed=SEED)
    return run(FILESET, DijetMass()), run(FILESET, radius)


@click.command()
@click.option(
    "--workers",
    type=int,
    default=1,
    show_default=True,
    help="Number of Dask workers; 1 uses no cluster.",
)
def main(workers: int) -> None:
    """Run the analysis and print its numbers.

    \b
    Example:
      python workflows/coffea_analysis.py --workers 2
    """
    if workers == 1:
        masses, radius = analyse(processor.IterativeExecutor(status=False))
    else:
        from distributed import Client

        with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as client:
            masses, radius = analyse(processor.DaskExecutor(client=client, status=False))
    for dataset, result in masses.items():
        click.echo(
            f"{dataset}: {result['events']} events, {result['selected']} selected, "
            f"{result['accepted']} with a mass"
        )
        peak = int(np.argmax(result["mass"].values()))
        click.echo(f"  most weight between {result['mass'].axes[0][peak]} GeV")
    total = radius["all"]
    for name in ("loss", "gradient", "mean", "sd", "acceptance"):
        number = getattr(total, name)
        click.echo(f"{name} at R = {RADIUS}: {number.value:.4f} +- {number.error:.4f}")


if __name__ == "__main__":
    main()
