"""`djservice lund`: a ratio measured on Dask equals that in one process, and runs take its weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli.app import main
from djservice.config.distances import Distances
from djservice.config.input import LundJets, LundWeightsSection
from djservice.config.lund import LundSample
from djservice.errors import ConfigError, DjserviceError, InputError, InputFileError
from djservice.fit.plan import RunPlan
from djservice.input.plan import plan_input
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.prong_jets import ProngJets
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.selected_jets import plane_of, select_jets, varied
from djservice.runs.lund import measure, need_weights
from djservice.runs.lund_shift import shift
from djservice.service.submission import pack

JETS: dict[str, Any] = {"pt_min": 40.0, "mass": None, "number": 2}
DATA = {"input": {"files": ["example:ZHllbb_200"], "pt_min": 2.0, "entries": [0, 60]}, "jets": JETS}
SIMULATION = {**DATA, "input": {**DATA["input"], "entries": [60, 140]}}
BY_QUARKS = {**JETS, "prongs": "quarks"}
RUN: dict[str, Any] = {
    "input": DATA["input"],
    "loss": {"kind": "squared_error", "target": 125.0, "scale": 125.0},
    "optimiser": {"iterations": 1, "trees": 4, "batch_events": 20},
    "output": {"store": "run.zarr"},
}


def events_of(section: Any) -> dj.EventBatch:
    first, last = section["input"]["entries"]
    schema = dj.schemas.nanoaod(pt_min=2.0, quarks=True)
    return dj.read("example:ZHllbb_200", schema=schema, entries=(first, last))


@pytest.fixture(scope="module")
def ratio() -> LundRatio:
    data = plane_of(events_of(DATA), LundJets(**JETS), 2, Binning())
    planes = [data, plane_of(events_of(SIMULATION), LundJets(**BY_QUARKS), 2, Binning())]
    return LundRatio.of(*planes, Binning(), variations={"fsr": (planes[0], planes[1])})


@pytest.mark.filterwarnings("ignore:.*subjets that are not those of their quarks")
def test_a_ratio_is_measured_applied_and_taken_by_a_run(
    ratio: LundRatio, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the prongs of the simulation are its quarks; those of data are a number."""
    monkeypatch.chdir(tmp_path)
    for name, section in (("data", DATA), ("simulation", {**SIMULATION, "jets": BY_QUARKS})):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(section))
    options = ["--scheduler", scheduler]
    call = CliRunner().invoke
    measured = call(main, ["lund", "measure", "data.yaml", "simulation.yaml", "r.json", *options])
    assert measured.exit_code == 0, measured.output
    assert "wrote r.json" in measured.output
    found = LundRatio.read("r.json")
    np.testing.assert_allclose(found.nominal.value, ratio.nominal.value, rtol=1e-12)
    again = ["lund", "apply", "r.json", "simulation.yaml", "w.root", "--toys", "2", *options]
    applied = call(main, again)
    assert applied.exit_code == 0, applied.output
    jets = select_jets(events_of(SIMULATION), LundJets(**BY_QUARKS))
    expected = dj.LundReweighter("r.json").weights(jets.batch, prongs="quarks", toys=2)
    tree = uproot.open("w.root")["LundWeights"].arrays()
    np.testing.assert_allclose(ak.to_numpy(tree.weight), expected.nominal, rtol=1e-12)
    assert ak.to_list(tree.prongs) == expected.prongs.tolist()
    assert ak.to_list(tree.bad_match) == expected.bad_match.tolist()
    up, _ = expected.variations["prongs"]
    np.testing.assert_allclose(ak.to_numpy(tree.weight_prongs_up), up, rtol=1e-12)
    toys = ak.to_numpy(tree.weight_statistics)
    np.testing.assert_allclose(toys, expected.toys["statistics"], rtol=1e-12)
    section = {"ratio": "r.json", "jets": BY_QUARKS, "variation": "prongs_up"}
    settings = {**RUN, "input": {**SIMULATION["input"], "lund_weights": section}}
    settings["cluster"] = {"scheduler": scheduler}
    fit = dj.run(dj.Run.from_dict(settings))
    factor = np.ones(80)
    np.multiply.at(factor, jets.event, up)
    weight = dj.Store.read(fit.store).array("spectrum", "weight")
    np.testing.assert_allclose(weight, factor, rtol=1e-12)


def test_the_shift_of_r_is_that_of_its_variations(
    ratio: LundRatio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variation is a run with its own store; the runs themselves are not repeated here."""
    monkeypatch.chdir(tmp_path)
    ratio.write("ratio.json")
    radii = {"fsr_up": 0.9, "fsr_down": 0.75, "statistics_0": 0.81, "unweighted": 0.7}
    stores = []

    def ended(run: dj.Run, watch: Any = None) -> Any:
        section = run.input.lund_weights
        stores.append(str(run.output.store))
        name = "unweighted" if section is None else section.variation
        return SimpleNamespace(radius=radii.get(name, 0.8))

    monkeypatch.setattr("djservice.runs.lund_shift.do_run", ended)
    lund_weights = {"ratio": "ratio.json", "jets": JETS}
    run = dj.Run.from_dict({**RUN, "input": {**RUN["input"], "lund_weights": lund_weights}})
    Path("run.yaml").write_text(yaml.safe_dump(run.to_dict()))
    result = CliRunner().invoke(main, ["lund", "shift", "run.yaml", "--toys", "2"])
    assert result.exit_code == 0, result.output
    assert len(set(stores)) == 8 and stores[0] == "run.zarr" and "run.fsr_up.zarr" in stores
    changes = json.loads(Path("run.shift.json").read_text())["changes"]
    assert changes["fsr"] == pytest.approx([0.1, -0.05])
    assert changes["statistics"] == pytest.approx([0.01, -0.01])
    assert changes["extrapolation"] == pytest.approx([0.0, 0.0])
    assert changes["total"] == pytest.approx([np.hypot(0.1, 0.01), -np.hypot(0.05, 0.01)])
    assert changes["weights"] == pytest.approx([0.1, 0.1])
    with pytest.raises(ConfigError, match="expected a run with input"):
        shift(dj.Run.from_dict(RUN), 0)


def plan_of(tmp_path: Path, **section: Any) -> RunPlan:
    path = tmp_path / "ratio.json"
    lund_weights = {"ratio": str(path), "jets": JETS, **section}
    return RunPlan(
        dj.Run.from_dict({**RUN, "input": {**RUN["input"], "lund_weights": lund_weights}})
    )


def test_bad_ratios_and_variations_end_a_run_before_it_starts(
    ratio: LundRatio, tmp_path: Path
) -> None:
    with pytest.raises(dj.DjserviceError, match="there is no Lund ratio"):
        plan_of(tmp_path).check()
    ratio.write(tmp_path / "ratio.json")
    plan_of(tmp_path, variation="fsr_up").check()
    plan_of(tmp_path, variation="prongs_up", jets=BY_QUARKS).check()
    with pytest.raises(ConfigError, match="no variation 'prongs_up'"):
        plan_of(tmp_path, variation="prongs_up").check()
    with pytest.raises(ConfigError, match=r"there are .*fsr_down, prongs_up.* unmatched_down"):
        plan_of(tmp_path, variation="b_quarks_up", jets=BY_QUARKS).check()
    with pytest.raises(ConfigError, match="no variation 'fsr'; there are nominal, fsr_up, fsr_dow"):
        plan_of(tmp_path, variation="fsr").check()
    with pytest.raises(ConfigError, match=r"of jets with R = 0\.8, and these have R = 0\.4"):
        plan_of(tmp_path, jets={**JETS, "radius": 0.4}).check()
    run = plan_of(tmp_path).run
    assert "input.lund_weights.ratio" not in run.numbers  # its content is compared
    packed = pack(dj.Run.from_dict({**run.to_dict(), "output": {"store": "here.zarr"}}))
    assert packed["input"]["lund_weights"]["ratio"] == str(tmp_path / "ratio.json")
    assert ("input.lund_weights.ratio", str(tmp_path / "ratio.json")) in run.observable_files


def test_a_run_takes_a_published_file(ratio: LundRatio, tmp_path: Path) -> None:
    path, bins = tmp_path / "ratio_2018.root", ratio.binning
    axes = [hist.axis.Variable(edges) for edges in ((*bins.pt, 99999.0), bins.x, bins.y)]
    histogram = hist.Hist(*axes, storage=hist.storage.Weight())
    histogram.view().value, histogram.view().variance = ratio.nominal.value, 0.01
    with uproot.recreate(path) as file:
        for name in ("ratio_nom", "ratio_sys_tot_up", "ratio_sys_tot_down"):
            file[name] = histogram
    plan = plan_of(tmp_path, ratio=str(path), variation="systematics_up")
    plan.check()
    weighting = plan.lund_weights()
    assert weighting is not None
    np.testing.assert_allclose(weighting.table.value, ratio.nominal.value)


def test_where_weights_mean_nothing_they_are_refused() -> None:
    section = {**DATA["input"], "lund_weights": {"ratio": "ratio.json"}}
    with pytest.raises(ConfigError, match="expected none where Lund planes are measured"):
        LundSample.from_dict({"input": section})
    with pytest.raises(ConfigError, match="distances take no weights"):
        Distances.from_dict({"input": section, "output": {"store": "emd.zarr"}})


def test_a_run_weighs_jets_of_any_mass_unless_it_says_another() -> None:
    """Also if it names other keys of the jets; samples of a measurement are those of W bosons."""
    for jets, mass in (({}, None), ({"pt_min": 40.0}, None), ({"mass": [60, 90]}, (60.0, 90.0))):
        section = LundWeightsSection.model_validate({"ratio": "r.json", "jets": jets})
        assert section.jets.mass == mass
    assert LundSample.from_dict({"input": DATA["input"]}).jets.mass == (70.0, 110.0)


def test_variations_have_their_names(ratio: LundRatio) -> None:
    assert varied(ratio, "nominal", 1) is ratio.nominal
    assert varied(ratio, "fsr_down", 1) is ratio.variations["fsr"][1]
    toy = varied(ratio, "statistics_3", 1)
    np.testing.assert_array_equal(toy.value, varied(ratio, "statistics_3", 1).value)
    assert (toy.value != varied(ratio, "statistics_4", 1).value).any()
    assert (varied(ratio, "extrapolation_0", 1).coefficients != toy.coefficients).any()
    with pytest.raises(InputError, match="no variation 'statistics_x'"):
        varied(ratio, "statistics_x", 1)


def test_backgrounds_are_subtracted_by_negative_weights(ratio: LundRatio) -> None:
    jets = LundJets(**JETS)
    whole, part = (plane_of(events_of(s), jets, 2, Binning()) for s in (DATA, SIMULATION))
    minus = PlaneSums(-part.subjets, -part.emissions, part.squares)
    rest = whole + part + minus
    np.testing.assert_allclose(rest.emissions, whole.emissions, atol=1e-9)


def test_the_data_have_no_quarks(tmp_path: Path) -> None:
    data, quarks, others = (
        LundSample.from_dict({**DATA, "jets": jets})
        for jets in (JETS, BY_QUARKS, {**BY_QUARKS, "pt_min": 50.0})
    )
    with pytest.raises(ConfigError, match=r"data: jets\.prongs is quarks, expected a number: data"):
        measure(quarks, quarks, tmp_path / "r.json")
    with pytest.raises(
        ConfigError, match=r"simulation: its jets are .* Expected the same, or pron"
    ):
        measure(data, others, tmp_path / "r.json")
    with pytest.raises(
        ConfigError, match="prongs: expected a whole number or 'quarks', found 'quark'"
    ):
        LundSample.from_dict({**DATA, "jets": {**JETS, "prongs": "quark"}})
    assert plan_input(quarks.input, quarks=True).schema.quarks
    weights = {"ratio": "r.json", "jets": BY_QUARKS}
    of_run = LundSample.from_dict(DATA).input.model_copy(
        update={"lund_weights": LundWeightsSection.model_validate(weights)}
    )
    assert plan_input(of_run).schema.quarks and not plan_input(data.input).schema.quarks


def test_jets_of_other_numbers_of_quarks_are_no_part_of_a_measurement() -> None:
    events, section = events_of(SIMULATION), LundJets(**BY_QUARKS)
    jets = ProngJets.of(select_jets(events, section).batch, "quarks")
    for number in (1, 2):
        good = (jets.prongs == number) & ~jets.bad
        subjets = plane_of(events, section, number, Binning()).subjets.sum()
        assert subjets == number * good.sum() > 0


def test_weights_replace_no_events(tmp_path: Path) -> None:
    """A ROOT file in the way is looked into: its first bytes are those of every ROOT file."""
    events, weights = tmp_path / "events.root", tmp_path / "weights.root"
    for path, tree in ((events, "Events"), (weights, "LundWeights")):
        with uproot.recreate(path) as file:
            file[tree] = {"run": np.arange(3)}
    before = events.read_bytes()
    with pytest.raises(InputFileError, match="found a ROOT file with Events"):
        need_weights(events)
    assert events.read_bytes() == before
    need_weights(weights)
    need_weights(tmp_path / "new.root")
    (tmp_path / "notes.root").write_text("mine")
    with pytest.raises(InputFileError, match="found another file"):
        need_weights(tmp_path / "notes.root")


def test_a_shift_that_cannot_be_written_is_one_line(
    ratio: LundRatio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ratio.write("ratio.json")
    monkeypatch.setattr(
        "djservice.runs.lund_shift.do_run", lambda run, watch: SimpleNamespace(radius=0.8)
    )
    lund_weights = {"ratio": "ratio.json", "jets": JETS}
    settings = {**RUN, "output": {"store": "gone/run.zarr"}}
    settings["input"] = {**RUN["input"], "lund_weights": lund_weights}
    with pytest.raises(InputFileError, match=r"run\.shift\.json: cannot be written"):
        shift(dj.Run.from_dict(settings), 1)


@pytest.mark.parametrize(
    ("output", "variations", "message"),
    [("notes.txt", {}, "found another file"), ("r.json", {"a/b": None}, "variation 'a/b'")],
)
def test_what_cannot_be_written_is_said_before_it_is_measured(
    output: str, variations: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    sample: Any = None  # nothing is read
    with pytest.raises(DjserviceError, match=message):
        measure(sample, sample, tmp_path / output, variations)
