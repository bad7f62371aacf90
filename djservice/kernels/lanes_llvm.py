"""Lanes as LLVM vectors of eight doubles, which LLVM fits to the registers that there are.

Each function does what its namesake in :mod:`djservice.kernels.lanes_numpy` does; tests hold the two side by side.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

_DOUBLE, _INT64 = ir.DoubleType(), ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, 8)
_BITS = ir.VectorType(_INT64, 8)


class LanesType(types.Type):
    """numba's type of eight float64."""

    def __init__(self) -> None:
        super().__init__(name="float64x8")


lanes_type = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _VECTOR)


def _operator(symbol: Any, instruction: str) -> None:
    """Let a Python operator between lanes be one instruction."""

    @type_callable(symbol)
    def typed(context: Any) -> Callable[..., Any]:
        def result(a: Any, b: Any) -> Any:
            return lanes_type if isinstance(a, LanesType) and isinstance(b, LanesType) else None

        return result

    @lower_builtin(symbol, lanes_type, lanes_type)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _instruction)


def _lane_function(arguments: int, result: Any = lanes_type) -> Callable[..., Any]:
    """Make a function of lanes from one that builds its instructions: (builder, *vectors) -> value."""

    def wrap(build: Callable[..., Any]) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return build(builder, *values)

        signature = result(*(lanes_type,) * arguments)
        if arguments == 1:
            return intrinsic(lambda context, a: (signature, code))
        if arguments == 2:
            return intrinsic(lambda context, a, b: (signature, code))
        if arguments == 3:
            return intrinsic(lambda context, a, b, c: (signature, code))
        return intrinsic(lambda context, a, b, c, d: (signature, code))

    return wrap


def _call(builder: Any, name: str, *vectors: Any) -> Any:
    function = ir.FunctionType(_VECTOR, [_VECTOR] * len(vectors))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"{name}.v8f64"), vectors)


def _pointers(context: Any, builder: Any, array_type: Any, array: Any, at: Any, vector: Any) -> list[Any]:
    """To a whole vector, or where elements are not side by side to each of them."""
    data = context.make_array(array_type)(context, builder, array)
    if array_type.layout == "C":
        return [builder.bitcast(builder.gep(data.data, [at]), vector.as_pointer())]
    (stride,) = cgutils.unpack_tuple(builder, data.strides, 1)
    first = builder.mul(at, stride)
    offsets = [builder.add(first, builder.mul(stride, ir.Constant(_INT64, k))) for k in range(vector.count)]
    return [cgutils.pointer_add(builder, data.data, offset) for offset in offsets]


def _read(context: Any, builder: Any, array_type: Any, array: Any, at: Any, vector: Any) -> Any:
    """The elements from ``at`` on that fill a vector."""
    size = array_type.dtype.bitwidth // 8
    pointers = _pointers(context, builder, array_type, array, at, vector)
    if len(pointers) == 1:
        return builder.load(pointers[0], align=size)
    found = ir.Constant(vector, ir.Undefined)
    for k, pointer in enumerate(pointers):
        found = builder.insert_element(found, builder.load(pointer, align=size), ir.Constant(ir.IntType(32), k))
    return found


def _to_int64(builder: Any, flags: Any, width: int) -> Any:
    """A vector of booleans as the bits of an int64."""
    return builder.zext(builder.bitcast(flags, ir.IntType(width)), _INT64)


def _fold(builder: Any, vector: Any, combine: Callable[..., Any]) -> Any:
    """Combine lanes i and i + 4, then i and i + 2, then both that are left."""
    for width in (4, 2, 1):
        halves = [
            builder.shuffle_vector(
                vector,
                ir.Constant(vector.type, ir.Undefined),
                ir.Constant(
                    ir.VectorType(ir.IntType(32), width), [ir.Constant(ir.IntType(32), first + k) for k in range(width)]
                ),
            )
            for first in (0, width)
        ]
        vector = combine(builder, *halves)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@intrinsic
def load(typing_context, array, at):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _read(context, builder, array, values[0], values[1], _VECTOR)

    return lanes_type(array, types.int64), code


@intrinsic
def store(typing_context, array, at, lanes):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers = _pointers(context, builder, array, values[0], values[1], _VECTOR)
        if len(pointers) == 1:
            builder.store(values[2], pointers[0], align=8)
        else:
            for k, pointer in enumerate(pointers):
                builder.store(builder.extract_element(values[2], ir.Constant(ir.IntType(32), k)), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes_type), code


@intrinsic
def fill(typing_context, value):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), values[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [ir.Constant(ir.IntType(32), 0)] * 8)
        return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), zeros)

    return lanes_type(types.float64), code


@_lane_function(3)
def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """See lanes_numpy."""
    return _call(builder, "llvm.fma", a, b, c)


@_lane_function(2)
def least(builder: Any, a: Any, b: Any) -> Any:
    """See lanes_numpy."""
    return _smaller(builder, a, b)


@_lane_function(1)
def absolute(builder: Any, a: Any) -> Any:
    """See lanes_numpy. By its bits: CUDA's compiler knows no llvm.fabs of vectors."""
    without_sign = ir.Constant(_BITS, [ir.Constant(_INT64, (1 << 63) - 1)] * 8)
    return builder.bitcast(builder.and_(builder.bitcast(a, _BITS), without_sign), _VECTOR)


@_lane_function(4)
def where_below(builder: Any, a: Any, b: Any, then: Any, otherwise: Any) -> Any:
    """See lanes_numpy."""
    return builder.select(builder.fcmp_ordered("<", a, b), then, otherwise)


@_lane_function(1)
def power_of_two(builder: Any, shifted: Any) -> Any:
    """See lanes_numpy."""
    bits = builder.add(builder.bitcast(shifted, _BITS), ir.Constant(_BITS, [ir.Constant(_INT64, 1023)] * 8))
    return builder.bitcast(builder.shl(bits, ir.Constant(_BITS, [ir.Constant(_INT64, 52)] * 8)), _VECTOR)


@_lane_function(2, types.int64)
def below(builder: Any, a: Any, b: Any) -> Any:
    """See lanes_numpy."""
    return _to_int64(builder, builder.fcmp_ordered("<", a, b), 8)


@_lane_function(1, types.float64)
def smallest_lane(builder: Any, a: Any) -> Any:
    """See lanes_numpy."""
    return _fold(builder, a, _smaller)


@_lane_function(1, types.float64)
def total(builder: Any, a: Any) -> Any:
    """See lanes_numpy."""
    return _fold(builder, a, lambda builder, left, right: builder.fadd(left, right))


@intrinsic
def holds(typing_context, owner, other, at, a, b):
    """See lanes_numpy."""
    element = ir.IntType(owner.dtype.bitwidth)
    vector = ir.VectorType(element, 32)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        found = ir.Constant(ir.VectorType(ir.IntType(1), 32), [ir.Constant(ir.IntType(1), 0)] * 32)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 32), [ir.Constant(ir.IntType(32), 0)] * 32)
        for ident in values[3:]:
            narrow = builder.trunc(ident, element)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), narrow, ir.Constant(ir.IntType(32), 0))
            wanted = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)
            for array_type, array in ((owner, values[0]), (other, values[1])):
                ids = _read(context, builder, array_type, array, values[2], vector)
                found = builder.or_(found, builder.icmp_unsigned("==", ids, wanted))
        return _to_int64(builder, found, 32)

    return types.int64(owner, other, types.int64, types.int64, types.int64), code


@intrinsic
def lowest(typing_context, mask):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


@intrinsic
def highest(typing_context, mask):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zeros = builder.ctlz(values[0], ir.Constant(ir.IntType(1), 1))
        return builder.sub(ir.Constant(_INT64, 63), zeros)

    return types.int64(types.int64), code


@intrinsic
def natural(typing_context, index):
    """See lanes_numpy."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(1)])
        assume = cgutils.get_or_insert_function(builder.module, function, "llvm.assume")
        builder.call(assume, [builder.icmp_signed(">=", values[0], ir.Constant(_INT64, 0))])
        return values[0]

    return types.int64(types.int64), code
