"""Keeps the loops of our kernels rolled on a GPU; imported for this effect.

NVIDIA's compiler unrolls nearly every loop and copies what is inlined within, to 400 kB of
instructions for a tree. An H100 waited for them half of the time, and was 2.5 times slower for it
(docs/gpu.md). numba has no option for this, so the LLVM assembly gets metadata that says so.
"""

from __future__ import annotations

import re
from typing import Any

from numba.cuda.cudadrv import nvvm

#: Numbers of metadata, too high for numba to reach, which counts from 0.
_LOOP, _DIRECTIVE = 900_000_001, 900_000_002
_JUMP = re.compile(r"^(\s+br (?:i1|label) .*)$", re.MULTILINE)

_compile_ir = nvvm.compile_ir


def rolled(llvm: str) -> str:
    """LLVM assembly in which no loop is to be unrolled.

    The metadata belongs on the jump that ends a loop. Other jumps ignore it.
    """
    jumps = _JUMP.sub(rf"\1, !llvm.loop !{_LOOP}", llvm)
    loop = f"!{_LOOP} = distinct !{{!{_LOOP}, !{_DIRECTIVE}}}"
    directive = f'!{_DIRECTIVE} = !{{!"llvm.loop.unroll.disable"}}'
    return f"{jumps}\n{loop}\n{directive}\n"


def compile_ir(llvm: str | list[str], **options: Any) -> Any:
    """Compile with numba's function of this name, with the loops of this package rolled."""
    modules = [llvm] if isinstance(llvm, str) else llvm
    return _compile_ir(
        [rolled(module) if "djservice" in module else module for module in modules], **options
    )


nvvm.compile_ir = compile_ir
