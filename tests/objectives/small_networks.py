"""Small networks in ONNX whose outputs are known, and their preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

NAMES = ("part_pt_log", "part_charge")


def write_model(
    path: Path, weights: Any, variables: int = 2, jets: Any = "N", room: Any = "n", **how: Any
) -> Path:
    """Sums over constituents of the variables, times a matrix: shape (jet, column)."""
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "weights"], ["scores"]),
    ]
    weights = np.asarray(weights, np.float32)
    graph = helper.make_graph(
        nodes,
        "sums",
        [
            helper.make_tensor_value_info(
                how.get("name", "features"), how.get("type", TensorProto.FLOAT),
                [jets, variables, room],
            )
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [jets, weights.shape[1]])],
        [numpy_helper.from_array(np.array([2]), "axes"), numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    if how.get("name", "features") != "features":
        nodes[0].input[0] = how["name"]
        graph.node[0].input[0] = how["name"]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = how.get("doc", "")
    path.write_bytes(model.SerializeToString())
    return path


def write_preprocessing(
    path: Path, names: Any = NAMES, labels: Any = ("a", "b"), **changes: Any
) -> Path:
    scaling = {
        "median": 1.0, "norm_factor": 2.0, "replace_inf_value": 0.0, "lower_bound": -5.0,
        "upper_bound": 5.0, "pad": 0.0,
    }  # fmt: skip
    data: dict[str, Any] = {
        "input_names": ["features"],
        "output_names": labels,
        "features": {
            "var_names": list(names), "min_length": 2, "max_length": 8,
            "var_infos": dict.fromkeys(names, scaling),
        },
    }  # fmt: skip
    path.write_text(json.dumps(data | changes))
    return path
