"""What is compiled: functions without code for Python, and trees without the score in the particles."""

from __future__ import annotations

from typing import Any

import numba
import pytest
from numba.core import ir, types
from numba.core.analysis import dead_branch_prune
from numba.core.compiler import run_frontend

from djservice.clustering.kernels import extensions
from djservice.clustering.kernels.grow import grow_item
from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.removal import remove_pairs
from djservice.clustering.kernels.tree import cluster_tree


@jit
def inner(x):
    return 2 * x


@entry
def outer(x):
    return inner(x)


def test_an_inner_function_is_called_by_compiled_functions_only() -> None:
    for _ in range(2):  # before and after it is compiled
        with pytest.raises(TypeError, match="inner has no code for a call by Python"):
            inner(2)
        assert outer(2) == 4


def test_extensions_of_numba_are_loaded_for_other_code_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled and read from files alike."""
    loads: list[int] = []
    monkeypatch.setattr(extensions, "_load_all", lambda: loads.append(1))
    assert outer(2.5) == 5.0 and outer.signatures and not loads
    assert numba.njit(lambda x: 2 * x)(2) == 4 and loads


OF_TREE = "start_slopes settle_weights start_candidates add_choice note_sum add_ended end_slopes"


@pytest.mark.parametrize(
    ("kernel", "of_score"),
    [
        (cluster_tree, set(OF_TREE.split())),
        (grow_item, {"add_tree"}),
        (remove_pairs, {"_add_pairs_of"}),
    ],
)
def test_a_tree_is_compiled_without_the_score_in_the_particles(
    kernel: Any, of_score: set[str]
) -> None:
    """A function that is not called in what is left is not typed, and not compiled."""
    for absent in (types.none, types.int64):
        code = run_frontend(kernel.py_func)
        kinds = {"slopes": absent, "cotangents": absent}
        dead_branch_prune(code, tuple(kinds.get(name, types.int64) for name in code.arg_names))
        left = {
            statement.value.name
            for block in code.blocks.values()
            for statement in block.body
            if isinstance(statement, ir.Assign) and isinstance(statement.value, ir.Global)
        }
        assert left & of_score == (set() if absent is types.none else of_score)
