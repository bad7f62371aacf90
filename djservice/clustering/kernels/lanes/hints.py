"""Hints for the compiler: what never happens, and what seldom does."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from djservice.clustering.kernels.lanes.team import in_32_bits, on_gpu

_BIT, _INT64 = ir.IntType(1), ir.IntType(64)


def _as_word(builder: Any, index: Any) -> Any:
    return builder.zext(in_32_bits(builder, index), _INT64)


@intrinsic(prefer_literal=True)
def natural(typing_context, index):  # type: ignore[no-untyped-def]
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if isinstance(index, types.IntegerLiteral):
            return _INT64(index.literal_value)
        if on_gpu(context):
            return _as_word(builder, values[0])
        function = ir.FunctionType(ir.VoidType(), [_BIT])
        assume = cgutils.get_or_insert_function(builder.module, function, "llvm.assume")
        builder.call(assume, [builder.icmp_signed(">=", values[0], _INT64(0))])
        return values[0]

    literal = isinstance(index, types.IntegerLiteral)
    return types.int64(index if literal else types.int64), code


@intrinsic
def word(typing_context, index):  # type: ignore[no-untyped-def]
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if on_gpu(context):
            return _as_word(builder, values[0])
        return values[0]

    return types.int64(types.int64), code


@intrinsic
def seldom(typing_context, flag):  # type: ignore[no-untyped-def]
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        flag = builder.icmp_unsigned("!=", values[0], values[0].type(0))
        if not on_gpu(context):
            function = ir.FunctionType(_BIT, [_BIT, _BIT])
            expect = cgutils.get_or_insert_function(builder.module, function, "llvm.expect.i1")
            flag = builder.call(expect, [flag, _BIT(0)])
        return builder.zext(flag, values[0].type)

    return types.boolean(types.boolean), code
