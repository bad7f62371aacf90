"""A hash of the code that numbers come from: a store is continued only by the code that began it."""

from __future__ import annotations

import hashlib
from pathlib import Path

#: Modules whose change may change a number.
_NUMERIC = (
    "kernels/*",
    "batch",
    "cluster",
    "cuts",
    "descent",
    "estimator",
    "estimators",
    "evaluate",
    "features",
    "fit",
    "forms",
    "gumbel",
    "identity",
    "iterations",
    "job",
    "losses",
    "model_fit",
    "moments",
    "observables",
    "on_cpu",
    "on_gpu",
    "optimisers",
    "ordering",
    "pathwise",
    "per_event",
    "radius",
    "radius_model",
    "read",
    "reduce",
    "relaxed",
    "rootfile",
    "schemas",
    "tasks",
    "truth",
    "windows",
)


def code_hash() -> str:
    """Hash of the sources of every module that a number can depend on."""
    folder = Path(__file__).parent
    files = sorted(path for name in _NUMERIC for path in folder.glob(f"{name}.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
