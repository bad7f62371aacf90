"""Networks of submissions that would take the scheduler with them, tried elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from djservice.config.run import Run
from djservice.errors import ConfigError
from djservice.service import trial
from djservice.service.intake import checked_plan
from djservice.service.submission import pack

SCALING = dict.fromkeys(("median", "replace_inf_value", "pad"), 0.0) | {"norm_factor": 1.0}
#: Nodes between the mean m of the constituents and the output y.
ENDLESS = helper.make_graph(
    [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["x"], ["sin"])],
    "body",
    [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
    ],
    [
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("sin", TensorProto.FLOAT, None),
    ],
)
HOSTILE: dict[str, tuple[list[Any], str]] = {
    "memory": (
        [
            helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
            helper.make_node("ReduceMean", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", ["m", "zero"], ["y"]),
        ],
        "takes more than 2,000,000,000 bytes",
    ),
    "a loop": ([helper.make_node("Loop", ["n", "true", "m"], ["y"], body=ENDLESS)], "than 1 s"),
}


def written(nodes: list[Any], folder: Path) -> dict[str, Any]:
    mean = helper.make_node("ReduceMean", ["features"], ["m"], axes=[2], keepdims=0)
    constants = {"large": np.array([10**11]), "n": np.array(10**12), "true": np.array(True)}
    graph = helper.make_graph(
        [mean, *nodes],
        "hostile",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["jet", 1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["jet", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    part = {"var_names": ["part_pt_log"], "var_infos": {"part_pt_log": SCALING}, "var_length": 4}
    (folder / "a.json").write_text(
        repr({"input_names": ["features"], "features": part}).replace("'", '"')
    )
    return {
        "name": "onnx",
        "model": str(folder / "a.onnx"),
        "preprocess": str(folder / "a.json"),
    }


@pytest.mark.parametrize("observable", [{"name": 5}, {"name": "dijet_mass"}, {"name": "onnx"}])
def test_what_is_merely_wrong_is_left_to_who_builds_it(observable: dict[str, Any]) -> None:
    trial.check_trial(observable, "loss[0].observable")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_network_without_measure_ends_in_its_trial(
    name: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, said = HOSTILE[name]
    monkeypatch.setattr(trial, "SECONDS", 1 if name == "a loop" else 300)
    loss = tiny["loss"] | {"observable": written(nodes, tmp_path)}
    with pytest.raises(ConfigError, match=rf"loss\[0\]\.observable: a trial .*{said}"):
        checked_plan(pack(Run.from_dict(tiny | {"loss": loss})))
