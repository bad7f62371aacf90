"""Networks in ONNX: small graphs whose score is known."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from small_networks import NAMES, write_model, write_preprocessing

import djservice as dj
from djservice.errors import ConfigError, InputError, MissingPackageError
from djservice.fit.build import build_loss
from djservice.fit.plan import RunPlan
from djservice.objectives import onnx_tagger
from djservice.objectives.particle_variables import VARIABLES


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """a = 3 x + y and b = y, of the sums x and y of the two scaled variables."""
    model = write_model(tmp_path / "sums.onnx", [[3.0, 0.0], [1.0, 1.0]])
    return {"model": str(model), "preprocess": str(write_preprocessing(tmp_path / "pre.json"))}


@pytest.fixture(scope="module")
def events() -> Any:
    read = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 8))
    charge = np.resize([1.0, -1.0, 0.0], len(read.pt))
    return dj.EventBatch.from_arrays(
        pt=read.pt, rapidity=read.rapidity, phi=read.phi, mass=read.mass, offsets=read.offsets,
        columns={"charge": charge},
    )  # fmt: skip


def trees(events: Any, n: int = 5) -> Any:
    return dj.cluster(events, radius=0.7, rigidity=1.0, trees=n, constituents=True)


def test_the_score_is_that_of_the_hardest_constituents(events: Any, files: Any) -> None:
    sample = trees(events)
    a, b, share = (
        dj.observables.onnx(**files, output=output, jet=1)(sample.jets)
        for output in (0, "b", "a / (a + b) - b")
    )
    for event, listed in enumerate(sample.constituents):
        for tree in range(5):
            index = listed.index[tree, 1][: min(listed.count[tree, 1], 8)]
            row = events.offsets[event] + index
            x = np.clip((np.log(events.pt[row]) - 1.0) * 2.0, -5, 5).sum()
            y = np.clip((events.columns["charge"][row] - 1.0) * 2.0, -5, 5).sum()
            if len(index) == 0:
                assert np.isnan(a[event, tree])
                continue
            assert a[event, tree] == pytest.approx(3.0 * x + y, rel=1e-5, abs=1e-4)
            assert b[event, tree] == pytest.approx(y, rel=1e-5, abs=1e-4)
            expected = a[event, tree] / (a[event, tree] + b[event, tree]) - b[event, tree]
            assert share[event, tree] == pytest.approx(expected, rel=1e-6)


def test_bits_depend_on_the_jet_alone(
    events: Any, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = dj.observables.onnx(**files, output="a")
    expected = tagger(trees(events).jets)
    monkeypatch.setattr("djservice.clustering.constituents.BLOCK", 5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tagger))(trees(events).jets), expected)
    for row in range(len(events)):
        np.testing.assert_array_equal(tagger(trees(events.select([row])).jets)[0], expected[row])


def test_a_column_that_is_missing_counts_as_its_default(events: Any, files: Any) -> None:
    bare = dj.EventBatch.from_arrays(
        pt=events.pt, rapidity=events.rapidity, phi=events.phi, mass=events.mass,
        offsets=events.offsets,
    )  # fmt: skip
    sample = trees(bare)
    counts = np.stack([found.count[:, 0] for found in sample.constituents])
    b = dj.observables.onnx(**files, output="b")(sample.jets)
    np.testing.assert_allclose(b, -2.0 * np.minimum(counts, 8), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_is_a_finite_number_of_each_constituent(
    events: Any, name: str, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "one.onnx", [[1.0]], variables=1)
    pre = write_preprocessing(tmp_path / "pre.json", names=[name], labels=["x"])
    tagger = dj.observables.onnx(str(model), str(pre), output="x")
    sample = trees(events, 1)
    assert np.isfinite(tagger(sample.jets)).all()
    seen: list[Any] = []
    dj.observable(constituents=4)(
        lambda jets, particles: seen.append((jets, particles)) or jets.pt
    )(sample.jets)
    (jets, particles), *_ = seen
    values = VARIABLES[name](onnx_tagger.Source(jets, particles))
    assert values.shape == particles.mask.shape and np.isfinite(values[particles.mask]).all()


def test_variables_of_one_jet_by_hand(events: Any) -> None:
    """The conventions: sign of deta, fold of dphi, logarithms to the jet, momenta along the axis."""
    charged = dj.EventBatch.from_arrays(
        pt=[40.0, 10.0], eta=[-1.0, -1.2], phi=[3.1, -3.1], mass=[0.0, 0.0], offsets=[0, 2],
        columns={"charge": [1.0, 0.0], "pdgId": [-211.0, 22.0], "d0": [0.5, 0.0], "d0Err": [0.1, 0.0]},
    )  # fmt: skip
    seen: list[Any] = []
    keep = dj.observable(constituents=3)(lambda j, p: seen.append(onnx_tagger.Source(j, p)) or j.pt)
    keep(dj.cluster(charged, radius=1.0, rigidity=1e3, trees=1, constituents=True).jets)
    (source,), jet = seen, seen[0].jets[0]
    with np.errstate(divide="ignore"):  # in the padding
        found = {name: VARIABLES[name](source)[0] for name in VARIABLES}
    np.testing.assert_allclose(found["part_deta"][:2], [-(-1.0 - jet.eta), -(-1.2 - jet.eta)])
    assert (np.abs(found["part_dphi"][:2]) < 0.1).all()
    assert found["part_logptrel"][0] == pytest.approx(np.log(40.0 / jet.pt))
    assert found["pfcand_erel_log"][1] == pytest.approx(np.log(10.0 * np.cosh(1.2) / jet.E))
    for name, expected in {
        "part_isChargedHadron": [1, 0, 0], "pfcand_isGamma": [0, 1, 0], "part_isNeutralHadron": [0, 0, 0],
        "pfcand_dxysig": [5, 0, 0], "part_d0": [np.tanh(0.5), 0, 0], "part_mask": [1, 1, 0],
    }.items():  # fmt: skip
        np.testing.assert_allclose(found[name], expected, err_msg=name)
    along, across = found["pfcand_btagPParRatio"], found["pfcand_btagPtRatio"]
    assert along[0] ** 2 + across[0] ** 2 == pytest.approx(1.0) and along[1] == across[1] == 0.0


def bad_file(tmp_path: Path, name: str, content: bytes) -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def outside(folder: Path) -> str:
    """A model whose weights are in another file."""
    model = onnx.load(write_model(folder / "o.onnx", [[1.0, 1.0]] * 2))
    weights = model.graph.initializer[1]
    (folder / "weights.bin").write_bytes(weights.raw_data)
    weights.data_location = TensorProto.EXTERNAL
    weights.ClearField("raw_data")
    place = os.path.relpath(folder / "weights.bin")
    weights.external_data.add(key="location", value=place)
    return bad_file(folder, "outside.onnx", model.SerializeToString())


REFUSED: dict[str, tuple[Any, str]] = {
    "no file": (lambda t: {"model": str(t / "none.onnx")}, "cannot be read"),
    "a folder": (lambda t: {"model": str(t)}, "found a folder"),
    "a URL": (lambda t: {"model": "s3://bucket/tagger.onnx"}, "a local file"),
    "empty": (lambda t: {"model": bad_file(t, "e.onnx", b"")}, "0 bytes"),
    "no ONNX": (lambda t: {"model": bad_file(t, "x.onnx", b"\x01text")}, "expected an ONNX model"),
    "too large": (lambda t: {"preprocess": bad_file(t, "l.json", b" " * 1_000_001)}, "at most 1,000,000"),
    "no JSON": (lambda t: {"preprocess": bad_file(t, "x.json", b"{")}, "preprocess.json of weaver"),
    "a list": (lambda t: {"preprocess": bad_file(t, "x.json", b"[]")}, "preprocess.json of weaver"),
    "a variable": (
        lambda t: {"preprocess": str(write_preprocessing(t / "v.json", names=["part_pt_lg", "x"]))},
        "unknown variable 'part_pt_lg'.*did you mean 'part_pt_log'.*part_charge",
    ),
    "the number of variables": (
        lambda t: {"preprocess": str(write_preprocessing(t / "v.json", names=NAMES[:1]))},
        r"shape \['N', 2, 'n'\]",
    ),
    "many variables": (
        lambda t: {"preprocess": str(write_preprocessing(t / "v.json", names=NAMES[:1] * 300))},
        "have 300 variables, expected at most 256",
    ),
    "data in another file": (
        lambda t: {"model": outside(t)}, "weights.bin|external|External|expected an ONNX model"
    ),
    "another input": (lambda t: {"model": str(write_model(t / "o.onnx", [[1.0], [1.0]], name="other"))}, "no input 'other'"),
    "another type": (
        lambda t: {"model": str(write_model(t / "d.onnx", [[1.0], [1.0]], type=TensorProto.INT64))},
        "expected an ONNX model|tensor",
    ),
    "one jet only": (lambda t: {"model": str(write_model(t / "f.onnx", [[1.0], [1.0]], jets=1))}, "free number of jets"),
    "labels": (lambda t: {"model": str(write_model(t / "w.onnx", [[1.0] * 3] * 2))}, "has 3 outputs.*names 2"),
    "a label": (lambda t: {"output": "c"}, "no label 'c'.*a, b"),
    "a column": (lambda t: {"output": 2}, "output is 2"),
    "code": (lambda t: {"output": "__import__('os')"}, "expected labels"),
    "a call": (lambda t: {"output": "a(b)"}, "expected its end"),
    "brackets": (lambda t: {"output": "a / (a + b"}, "closing bracket"),
    "no output": (lambda t: {"output": ""}, "expected a label"),
    "a jet": (lambda t: {"jet": -1}, "jet is -1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_any_work(
    case: str, files: Any, tmp_path: Path
) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        dj.observables.onnx(**{"output": "a", **files, **changes(tmp_path)})


def test_a_score_that_is_not_finite_names_the_event(events: Any, files: Any) -> None:
    with pytest.raises(InputError, match=r"'a / \(b - b\)' is .*inf.* arrays, entry"):
        dj.observables.onnx(**files, output="a / (b - b)")(trees(events).jets)


def test_a_network_of_fixed_length_gets_it(events: Any, tmp_path: Path) -> None:
    pre = str(write_preprocessing(tmp_path / "pre.json"))
    models = [
        write_model(tmp_path / f"{room}.onnx", [[3.0, 0.0], [1.0, 1.0]], room=room)
        for room in (8, "n")
    ]
    fixed, free = (dj.observables.onnx(str(m), pre, output="a")(trees(events).jets) for m in models)
    np.testing.assert_allclose(fixed, free, rtol=1e-5, atol=1e-4)
    with pytest.raises(InputError, match="expected tensor"):
        dj.observables.onnx(str(write_model(tmp_path / "x.onnx", [[1.0, 0.0]] * 2, room=9)), pre)


def test_the_missing_package_is_named(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    onnx_tagger.session.cache_clear()
    with pytest.raises(MissingPackageError, match=r"djservice\[onnx\]"):
        dj.observables.onnx(**files)


def test_a_configuration_names_it(files: Any, tiny_run: Any, tmp_path: Path) -> None:
    settings = tiny_run(tmp_path / "run.zarr")
    settings["loss"] = {"observable": {"name": "onnx", **files, "output": "a"}, "target": 1.0}
    run = dj.Run.from_dict(settings)
    assert [key for key, _ in run.observable_files] == [
        "loss[0].observable.model", "loss[0].observable.preprocess",
    ]  # fmt: skip
    assert not any("model" in key and "loss" in key for key in run.numbers)
    (term,) = build_loss(run).terms
    assert (term.observable * dj.observables.dijet_mass).columns == ("charge",)
    assert "reads charge, which input.columns lacks" in RunPlan(run).defaults[0]
    before = term.observable.fingerprint
    write_model(Path(files["model"]), [[3.0, 0.0], [1.0, 1.5]])
    (term,) = build_loss(run).terms
    assert term.observable.fingerprint != before
    settings["loss"]["observable"]["output"] = "c"
    with pytest.raises(ConfigError, match=r"loss\[0\]\.observable: .*no label 'c'"):
        build_loss(dj.Run.from_dict(settings))
    assert onnx.__version__
