"""What travels from a client to the scheduler."""

from pathlib import Path
from typing import Any

import pytest

from djservice.config.run import Run
from djservice.errors import ConfigError
from djservice.service.submission import identity, pack, same_numbers, unpack

Settings = dict[str, Any]


def test_a_run_travels_as_plain_data(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ["root://host//x.root", "example:ZHllbb_200"]
    given = tiny | {
        "input": tiny["input"] | {"files": ["data/*.root", *urls]},
        "output": {"store": "a.zarr"},
    }
    run = Run.from_dict(given | {"cluster": {"scheduler": "tcp://somewhere:1"}})
    there = unpack(pack(run))
    checks = {"task": "radius-model", "radius_model": {"checks": {"zz": {"files": "zz.root"}}}}
    packed = pack(Run.from_dict(given | checks))
    assert packed["radius_model"]["checks"]["zz"]["files"] == [str(tmp_path / "zz.root")]
    packed["radius_model"]["checks"]["zz"]["files"] = ["zz.root"]
    with pytest.raises(ConfigError, match=r"zz\.root is a relative path"):
        unpack(packed)
    assert there.input.files == (str(tmp_path / "data/*.root"), *urls)
    assert there.output.store == str(tmp_path / "a.zarr")
    assert there.numbers == run.numbers
    assert there.cluster.scheduler is None
    assert pack(there) == pack(run)


def test_identities_of_runs(tiny: Settings) -> None:
    def of(**sections: Any) -> tuple[str, str]:
        run = Run.from_dict(tiny | sections)
        return identity(run), same_numbers(run)

    same = of()
    assert of(cluster={"workers": 3}) == same
    elsewhere = of(output={"store": "/tmp/../tmp/b.zarr"})
    assert elsewhere == of(output={"store": "/tmp/b.zarr"})
    assert (elsewhere[0] != same[0], elsewhere[1]) == (True, same[1])
    for other in (
        of(seed=2),
        of(optimiser=tiny["optimiser"] | {"iterations": 7}),
        of(input=tiny["input"] | {"files": "example:ZHllbb_1000"}),
    ):
        assert other[0] != same[0] and other[1] != same[1]
    assert identity(Run.from_dict(tiny | {"output": {"store": "/tmp/..a /é.x.zarr"}})).startswith(
        "x-"
    )


def test_files_of_observables_travel_by_their_absolute_paths(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"model": "a.onnx", "preprocess": "b.json"}
    run = Run.from_dict(tiny | {"loss": {"observable": {"name": "onnx", **files}, "target": 1.0}})
    packed = pack(run)
    observable = packed["loss"][0]["observable"]
    assert observable["model"] == str(tmp_path / "a.onnx")
    assert unpack(packed).numbers == run.numbers  # their content is compared, and not their paths
    other = Run.from_dict(
        tiny | {"loss": {"observable": {"name": "onnx", **files, "model": "c.onnx"}, "target": 1.0}}
    )
    assert same_numbers(other) != same_numbers(run)
    observable["preprocess"] = "b.json"
    with pytest.raises(ConfigError, match=r"b\.json is a relative path"):
        unpack(packed)
