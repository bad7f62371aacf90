"""What helps the threads of a GPU that go along together, a warp: on a processor nothing is needed.

They go apart at a branch and on together at its end, which is where all ways from it meet. What a compiler knows can move that
place: from a branch that ends with ``status = FULL`` it leads straight to what follows from that, past the place.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

#: Threads in a warp.
WARP = 32
_INT64 = ir.IntType(64)


@intrinsic
def _meet(typing_context, number):  # type: ignore[no-untyped-def]
    """See :func:`meet`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if "cuda" not in type(context).__module__:
            return values[0]
        unseen = ir.InlineAsm(ir.FunctionType(_INT64, [_INT64]), "mov.b64 $0, $1;", "=l,l", side_effect=True)
        return builder.call(unseen, values)

    return types.int64(types.int64), code


@intrinsic
def _apart(typing_context, array):  # type: ignore[no-untyped-def]
    """See :func:`apart`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        view = context.make_array(array)(context, builder, values[0])
        view.strides = cgutils.pack_array(builder, [ir.Constant(_INT64, WARP * array.dtype.bitwidth // 8)])
        return view._getvalue()

    return array(array), code


def _itself(what: Any) -> Any:
    """Without a compiler."""
    return what


#: ``meet(number)`` is the number, of which a compiler for GPUs knows nothing: so all threads come by here.
meet: Any = _itself if numba.config.DISABLE_JIT else _meet
#: ``apart(view)`` is the same view of one thread's numbers in memory of a warp: so a compiler knows how far apart they are.
apart: Any = _itself if numba.config.DISABLE_JIT else _apart
