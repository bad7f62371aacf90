"""The assembled kernels, whose instructions the model of warps counts. No GPU is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tools
from compilers import kernels_in_ptx
from machine_code import BYTES, MachineCode, numbered, without_lines
from ptx_as_c import statements

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Fetched = Callable[..., Path]
PTX = """
.version 8.3
.target sm_90, debug
.address_size 64
.visible .entry twice(
\t.param .u64 twice_param_0
)
{
\t.reg .b64 \t%rd<3>;
\t.loc\t2 7 0
\tld.param.u64 \t%rd1, [twice_param_0];
$L__BB0_1:
\t.loc\t1 9 1, function_name $L__info, inlined_at 2 8 1
\tadd.s64 \t%rd2,
\t%rd1, %rd1;
\tst.u64 \t[%rd1], %rd2;
\tret;
}
\t.file\t1 "one.py"
\t.file\t2 "two.py"
\t.section\t.debug_str
"""


def test_each_statement_has_a_number_and_its_place_in_python() -> None:
    text, places = numbered(PTX)
    assert places == [("two.py", 7), *[("one.py", 9)] * 3]
    lines = [line.split() for line in text.splitlines()]
    after = [lines[k + 1][0] for k, line in enumerate(lines) if line[:1] == [".loc"]]
    assert after == ["ld.param.u64", "add.s64", "st.u64", "ret;"]
    plain = without_lines(PTX)
    assert ".loc" not in plain and ".file" not in plain and "debug" not in plain + text
    assert [s for s in statements(plain) if s[0] not in ".{}$"][1] == "add.s64 %rd2, %rd1, %rd1"


def test_what_the_assembler_makes_is_counted(
    fetched: Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the model of a warp, as it counts statements; what is only for threads that have parted is not."""
    for tool in (tools.nvdisasm, tools.ptxas):
        fetched(tool)
    python = fetched(tools.program, "numba").with_name("python")
    ptx = kernels_in_ptx(python)
    code = MachineCode(ptx["grow_plain"], tmp_path, registers=168)
    statement, number = np.array([s for s, _ in code.instructions]), len(code.places)
    assert statement.max() < number and np.unique(statement).size > 0.4 * number
    assert 0.02 < (statement < 0).mean() < 0.25
    ones = np.ones(number)
    assert code.counts(ones).total() == (statement >= 0).sum()
    assert code.in_use(ones, 1.0) == BYTES * (statement >= 0).sum() < code.size

    monkeypatch.syspath_prepend(BENCHMARKS)
    warps = importlib.import_module("warps")
    ((_, _, model),) = warps.counted(ptx, [60], [10.0], warps=1)
    assert len(model.executed) == number
    assert model.executed.sum() == pytest.approx(model.counts.issued)
    assert 0.7 < code.counts(model.executed).total() / model.counts.issued < 1.5
    assert 0 < code.stack < 4096
    words = warps.report(code, 60, 10.0, model).split()
    assert words[:3] == ["60", "10", f"{code.counts(model.executed).total():.0f}"]
