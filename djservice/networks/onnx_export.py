"""Networks as ONNX files, with the preprocessing that taggers are applied with."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from djservice.core.atomic import write_text, written_aside
from djservice.core.bounds import require
from djservice.errors import InputError, MissingPackageError
from djservice.networks.moment_efn import MomentEFN

#: Operators of ONNX 1.12, which every onnxruntime that runs with NumPy 2 knows.
OPSET = 17
#: Inputs of the graph and their variables, by the names of weaver.
VECTORS = ("part_px", "part_py", "part_pz", "part_energy")
INPUTS = {"pf_vectors": VECTORS, "pf_mask": ("part_mask",)}
UNBOUNDED = 1e32


def export(
    network: MomentEFN,
    folder: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    constituents: int = 128,
) -> None:
    """Write ``model.onnx`` and ``preprocess.json``, as weaver does, into a folder.

    Parameters
    ----------
    network
        Network of constituents. Its inputs become ``pf_vectors``, shape (jet, 4, particle): px, py,
        pz and E in GeV, and ``pf_mask``, shape (jet, 1, particle): 1 for a particle and 0 for
        padding; both float32. Directions are computed within the graph, which needs no scaling.
    folder
        Made if it does not exist. Files of an earlier export are replaced.
    labels
        Names of the outputs. With several outputs they are classes: the output is named ``softmax``
        and has their probabilities, shape (jet, class). One output, ``output``, is written as it
        is. The default is ``label_0``, ``label_1`` and so on.
    constituents
        Number of leading constituents that a jet is padded or cut to.

    Raises
    ------
    InputError
        If labels are not as many as outputs, or not unique, or the network has weights that are
        not finite.
    MissingPackageError
        If the package onnx is not installed.
    """
    require("jets", constituents, of="constituents")
    if find_spec("onnx") is None:
        raise MissingPackageError("PyTorch needs onnx to export: pip install 'djservice[torch]'.")
    names = [f"label_{i}" for i in range(network.outputs)] if labels is None else list(labels)
    if len(names) != network.outputs or len(set(names)) != len(names):
        raise InputError(
            f"labels are {names}, expected {network.outputs} different names, one for each output."
        )
    for name, values in network.named_parameters():
        if not bool(torch.isfinite(values).all()):
            raise InputError(
                f"{name} has values that are not finite, so the network cannot be used. Train it "
                "with a lower learning rate."
            )
    output = "softmax" if network.outputs > 1 else "output"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / "model.onnx") as aside:
        _write_graph(aside, network, output, constituents)
    text = json.dumps(_preprocessing(names, constituents), indent=4)
    write_text(folder / "preprocess.json", text)


class _OfWeaver(nn.Module):
    """A network behind weaver's inputs."""

    def __init__(self, network: MomentEFN) -> None:
        super().__init__()
        self.network = network

    def forward(self, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.network(vectors.transpose(1, 2), mask[:, 0] > 0.5).float()
        return outputs.softmax(dim=-1) if self.network.outputs > 1 else outputs


def _write_graph(path: Path, network: MomentEFN, output: str, constituents: int) -> None:
    """Write the graph. It is traced with two jets, for an axis of length 1 would be fixed."""
    shown = torch.ones(2, 4, constituents), torch.ones(2, 1, constituents)
    axes = {name: {0: "N", 2: "n_pf"} for name in INPUTS} | {output: {0: "N"}}
    training = network.training
    with warnings.catch_warnings():
        # PyTorch warns that it prefers another exporter, which needs a further package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _OfWeaver(network).eval(),
            shown,
            path,
            input_names=list(INPUTS),
            output_names=[output],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    network.train(training)


def _preprocessing(labels: list[str], constituents: int) -> dict[str, object]:
    """Contents of preprocess.json: every variable as it is."""
    as_it_is = {
        "median": 0,
        "norm_factor": 1,
        "replace_inf_value": 0,
        "lower_bound": -UNBOUNDED,
        "upper_bound": UNBOUNDED,
        "pad": 0,
    }
    inputs = {
        name: {
            "var_names": list(variables),
            "var_infos": dict.fromkeys(variables, as_it_is),
            "var_length": constituents,
        }
        for name, variables in INPUTS.items()
    }
    return {"output_names": labels, "input_names": list(INPUTS), **inputs}
