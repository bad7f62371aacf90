"""Loops of our kernels stay rolled on a GPU. numba has no way to ask for it, so NVIDIA's compiler is given what LLVM calls metadata.

Its compiler unrolls nearly every loop and copies what is inlined within, to 400 kB of instructions for a tree. An H100 waited for
them half of the time, and was 2.5 times slower for it (docs/gpu.md). Imported for its effect.
"""

from __future__ import annotations

import re
from typing import Any

from numba.cuda.cudadrv import nvvm

#: Numbers of metadata that numba, which counts from 0, does not come to.
_LOOP, _DIRECTIVE = 900_000_001, 900_000_002
_JUMP = re.compile(r"^(\s+br (?:i1|label) .*)$", re.MULTILINE)

_compile_ir = nvvm.compile_ir


def rolled(llvm: str) -> str:
    """LLVM assembly in which no loop is to be unrolled: a loop is known by the jump that ends it, and other jumps ignore the word."""
    jumps = _JUMP.sub(rf"\1, !llvm.loop !{_LOOP}", llvm)
    return f'{jumps}\n!{_LOOP} = distinct !{{!{_LOOP}, !{_DIRECTIVE}}}\n!{_DIRECTIVE} = !{{!"llvm.loop.unroll.disable"}}\n'


def compile_ir(llvm: str | list[str], **options: Any) -> Any:
    """numba's, with the loops of this package rolled."""
    modules = [llvm] if isinstance(llvm, str) else llvm
    return _compile_ir(
        [rolled(module) if "djservice" in module else module for module in modules], **options
    )


nvvm.compile_ir = compile_ir
