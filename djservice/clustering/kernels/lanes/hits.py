"""Lanes of a mask, stored one after the other: how hits of a scan get on a list.

Some processors move the lanes of a mask together in a register. ``compresses`` says whether this
one does. The function is there everywhere, so that a source with both ways compiles.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from djservice.clustering.kernels.lanes.llvm import lanes_type
from djservice.clustering.kernels.lanes.team import INT32, on_gpu

_BIT, _INT16, _INT64 = ir.IntType(1), ir.IntType(16), ir.IntType(64)


def _has_instructions(context: Any) -> bool:
    """Whether the target has AVX-512 VBMI2, which moves float64 and uint16."""
    features = "" if on_gpu(context) else context.codegen().magic_tuple()[2]
    return "+avx512vbmi2" in features and "+avx512vl" in features


@intrinsic
def compresses(typing_context):  # type: ignore[no-untyped-def]
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _BIT(_has_instructions(context))

    return types.boolean(), code


@intrinsic
def store_where(typing_context, array, index, lanes, mask):  # type: ignore[no-untyped-def]
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(array)(context, builder, values[0]).data
        index, vector, mask = values[1:]
        if array.dtype != types.float64:  # ids; to int32 first, for which there is an instruction
            count = vector.type.count
            vector = builder.fptosi(vector, ir.VectorType(INT32, count))
            vector = builder.trunc(vector, ir.VectorType(_INT16, count))
        if _has_instructions(context):
            _store_together(builder, data, index, vector, mask)
        else:
            _store_each(builder, data, index, vector, mask)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes_type, types.int64), code


def _store_together(builder: Any, data: Any, index: Any, vector: Any, mask: Any) -> None:
    kind = vector.type
    name, size = ("i16", 2) if kind.element == _INT16 else ("f64", 8)
    flags = ir.VectorType(_BIT, kind.count)
    compress = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind, kind, flags]),
        f"llvm.x86.avx512.mask.compress.v{kind.count}{name}",
    )
    bits = builder.bitcast(builder.trunc(mask, ir.IntType(kind.count)), flags)
    together = builder.call(compress, [vector, kind(ir.Undefined), bits])
    pointer = builder.bitcast(builder.gep(data, [index]), kind.as_pointer())
    builder.store(together, pointer, align=size)


def _store_each(builder: Any, data: Any, index: Any, vector: Any, mask: Any) -> None:
    """Store every lane, and the next one over it if it is not of the mask."""
    size = 2 if vector.type.element == _INT16 else 8
    for k in range(vector.type.count):
        lane = builder.extract_element(vector, INT32(k))
        builder.store(lane, builder.gep(data, [index]), align=size)
        index = builder.add(index, builder.and_(builder.lshr(mask, _INT64(k)), _INT64(1)))
