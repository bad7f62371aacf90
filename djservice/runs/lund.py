"""Lund reweighting on a cluster: ``djservice lund measure`` and ``djservice lund apply``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from djservice.config.lund import LundSample
from djservice.core.atomic import written_aside
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.regular import in_the_way
from djservice.core.urls import basename
from djservice.errors import ConfigError, InputFileError
from djservice.events.batch import EventBatch
from djservice.fit.plan import augmentations_of
from djservice.input.file_damage import damage_explained
from djservice.input.plan import plan_input
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.prong_jets import QUARKS
from djservice.lund_planes.ratio import LundRatio, need_free, need_names
from djservice.lund_planes.reweighter import LundReweighter
from djservice.lund_planes.selected_jets import SelectedJets, check_jets, select_jets
from djservice.lund_planes.weights import LundWeights
from djservice.on_dask.augment import augment
from djservice.on_dask.crew import Crew
from djservice.on_dask.load import Loaded, load
from djservice.on_dask.lund import plane
from djservice.on_dask.plugins import compile_kernels
from djservice.on_dask.session import client_for, run_to_completion

#: The tree of weights.
_TREE = "LundWeights"


def measure(
    data: LundSample,
    simulation: LundSample,
    output: str | Path,
    variations: Mapping[str, tuple[LundSample, LundSample]] | None = None,
    watch: Watch | None = None,
) -> LundRatio:
    """Measure the ratio of the Lund planes of two samples, and write it.

    Parameters
    ----------
    data, simulation
        The samples. Background is subtracted by datasets of negative weight.
    output
        File to write.
    variations
        By name, the simulation varied up and down.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Raises
    ------
    DjserviceError
        If a sample cannot be read or has no jets, their jets differ, or the file cannot be written.
    """
    need_free(Path(output).expanduser())
    need_names(variations or ())
    samples = {"data": data, "simulation": simulation}
    for name, pair in (variations or {}).items():
        samples |= {f"{name} up": pair[0], f"{name} down": pair[1]}
    prongs = _same_jets(samples)
    binning = Binning(radius=data.jets.radius)
    with shown(watch) as display:
        planes = run_to_completion(_planes(samples, prongs, binning, display), display)
    sums = {name: of for name, (of, _) in planes.items()}
    ratio = LundRatio.of(
        sums["data"],
        sums["simulation"],
        binning,
        variations={n: (sums[f"{n} up"], sums[f"{n} down"]) for n in variations or {}},
        origin={
            "jets": data.jets.model_dump(mode="json"),
            "inputs": {name: inputs for name, (_, inputs) in planes.items()},
        },
    )
    ratio.write(output)
    return ratio


def _same_jets(samples: Mapping[str, LundSample]) -> int:
    """The number of prongs of all samples, whose jets are the same.

    Raises
    ------
    ConfigError
        If they differ, other than by quarks of a simulation, or the data are asked for quarks.
    """
    jets = samples["data"].jets
    if isinstance(jets.prongs, str):
        raise ConfigError(
            "data: jets.prongs is quarks, expected a number: data have no generated quarks. "
            "Simulations may have quarks."
        )
    for name, sample in samples.items():
        matched = {"prongs": jets.prongs} if sample.jets.prongs == QUARKS else {}
        if sample.jets.model_copy(update=matched) != jets:
            raise ConfigError(
                f"{name}: its jets are {sample.jets}, and those of the data {jets}. Expected the "
                "same, or prongs: quarks."
            )
    return jets.prongs


async def _planes(
    samples: Mapping[str, LundSample], prongs: int, binning: Binning, watch: Watch
) -> dict[str, tuple[PlaneSums, list[Any]]]:
    """The planes of samples, and the identities of their files, on one cluster."""
    planes = {}
    async with client_for(_cluster(samples["data"]), watch) as client:
        crew = await Crew.muster(client, watch)
        for name, sample in samples.items():
            watch.say(f"{name}:")
            token = uuid.uuid4().hex[:12]
            loaded = await _loaded(crew, sample, watch, token)
            sums = await plane(crew, loaded.bundles, sample.jets, prongs, binning, token)
            watch.say(f"{name}: {sums.subjets.sum():,.0f} subjets, weights added up")
            planes[name] = sums, [[basename(f.path), f.size, f.uuid] for f in loaded.inputs]
    return planes


def _cluster(sample: LundSample) -> Any:
    return sample.cluster.model_copy(update={"device": "cpu"})


async def _loaded(crew: Crew, sample: LundSample, watch: Watch, token: str) -> Loaded:
    plan = plan_input(sample.input, quarks=sample.jets.prongs == QUARKS)
    loaded = await load(crew, plan, watch, token)
    if augmentations := augmentations_of(sample.input):
        loaded = await augment(crew, loaded, augmentations, sample.seed, watch, token)
    await compile_kernels(crew.admit_to_clustering(["lund planes"]), watch)
    return loaded


def apply(
    ratio: LundRatio,
    sample: LundSample,
    output: str | Path,
    toys: int = 100,
    watch: Watch | None = None,
) -> LundWeights:
    """Weigh the jets of a sample, and write the weights as a ROOT tree, a row for each jet.

    Raises
    ------
    DjserviceError
        If the sample cannot be read, has jets of another radius, or the file cannot be written.
    """
    check_jets(ratio, sample.jets)
    path = Path(output).expanduser()
    need_weights(path)
    with shown(watch) as display:
        events, jets = run_to_completion(_jets(sample, display), display)
    weights = LundReweighter(ratio).weights(
        jets.batch, prongs=sample.jets.prongs, toys=toys, seed=sample.seed
    )
    write_weights(path, events, jets, weights)
    return weights


def need_weights(path: Path) -> None:
    """Refuse to replace what is no file of weights, such as a ROOT file of events.

    Raises
    ------
    InputFileError
        If it is there.
    """
    other = in_the_way(path, b"root")
    if not other and path.exists() and path.stat().st_size:
        import uproot

        with damage_explained(str(path), str(path), "ROOT"), uproot.open(path) as file:
            trees = file.keys(cycle=False)
        other = "" if trees == [_TREE] else f"a ROOT file with {', '.join(trees) or 'nothing'}"
    if other:
        raise InputFileError(
            f"{path}: expected no file or one with the tree {_TREE} alone, found {other}. Choose "
            "another name."
        )


async def _jets(sample: LundSample, watch: Watch) -> tuple[EventBatch, SelectedJets]:
    """The events of a sample, and their jets."""
    async with client_for(_cluster(sample), watch) as client:
        crew, token = await Crew.muster(client, watch), uuid.uuid4().hex[:12]
        loaded = await _loaded(crew, sample, watch, token)
        futures = [
            crew.submit(jets_of, b, sample.jets, key=f"lund-jets-{token}-{i}", work="clustering")
            for i, b in enumerate(loaded.bundles)
        ]
        parts = await crew.gather(futures)
    first = np.cumsum([0, *(len(events) for events, _ in parts)])
    jets = SelectedJets(
        EventBatch.concatenate([jets.batch for _, jets in parts]),
        np.concatenate([jets.event + f for f, (_, jets) in zip(first, parts, strict=False)]),
        np.concatenate([jets.pt for _, jets in parts]),
    )
    return EventBatch.concatenate([events for events, _ in parts]), jets


def jets_of(events: EventBatch, section: Any) -> tuple[EventBatch, SelectedJets]:
    """The events without their particles, and their selected jets."""
    return events.keep(np.zeros(len(events.pt), np.bool_)), select_jets(events, section)


def write_weights(path: Path, events: EventBatch, jets: SelectedJets, weights: LundWeights) -> None:
    """Write the weights of jets, atomically.

    Raises
    ------
    InputFileError
        If the file cannot be written.
    """
    import uproot

    rows = jets.event
    first = np.searchsorted(rows, rows)
    tree = {
        "run": events.run[rows],
        "luminosityBlock": events.luminosity_block[rows],
        "event": events.event[rows],
        "entry": events.entry[rows],
        "jet": np.arange(len(rows)) - first,
        "pt": jets.pt,
        "prongs": weights.prongs,
        "bad_match": weights.bad_match,
        "weight": weights.nominal,
        **{f"weight_{name}": toys for name, toys in weights.toys.items() if toys.shape[1]},
    }
    for name, (up, down) in weights.variations.items():
        tree |= {f"weight_{name}_up": up, f"weight_{name}_down": down}
    try:
        with written_aside(path) as aside, uproot.recreate(aside) as file:
            file[_TREE] = tree
    except OSError as error:
        raise InputFileError(f"{path}: cannot be written: {error.strerror or error}.") from error
