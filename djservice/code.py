"""A hash of the code that numbers come from: a store is continued only by the code that began it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

#: Modules whose change may change a number.
_NUMERIC = (
    "kernels/*",
    "apply",
    "arrays",
    "batch",
    "cluster",
    "columnar",
    "cuts",
    "descent",
    "device_jets",
    "estimator",
    "estimators",
    "evaluate",
    "features",
    "fileset",
    "fit",
    "forms",
    "gumbel",
    "identity",
    "iterations",
    "job",
    "layouts",
    "load",
    "losses",
    "model_fit",
    "moments",
    "observables",
    "on_cpu",
    "on_gpu",
    "optimisers",
    "ordering",
    "particles",
    "pathwise",
    "per_event",
    "physical",
    "radius",
    "radius_model",
    "read",
    "reduce",
    "relaxed",
    "rootfile",
    "schemas",
    "selection",
    "tasks",
    "torch_model",
    "truth",
    "windows",
)


#: Those of them that make events of files.
READING = ("batch", "columnar", "identity", "layouts", "particles", "read", "rootfile", "schemas", "selection", "truth")


def code_hash(modules: Sequence[str] = _NUMERIC) -> str:
    """Hash of the sources of modules, by default of every one that a number can depend on."""
    folder = Path(__file__).parent
    files = sorted(path for name in modules for path in folder.glob(f"{name}.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
