"""Lanes as LLVM vectors of eight doubles, which LLVM maps to the registers of the machine.

On a GPU each thread of a team holds a part. Thread j of T has the lanes j, j + T, j + 2 T ..., so
that the threads of a team load adjacent elements together. Each function does the same as its
namesake in :mod:`djservice.clustering.kernels.lanes.reference`, and tests compare the two.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from djservice.clustering.kernels.lanes.reference import EIGHTHS
from djservice.clustering.kernels.lanes.team import (
    GLOBAL,
    INT32,
    ballot_of,
    can_reduce,
    in_32_bits,
    on_gpu,
    partners,
    rank_of,
    smallest_of_warp,
    team_size,
)

_DOUBLE, _INT64 = ir.DoubleType(), ir.IntType(64)
#: What the table of EIGHTHS is called in a GPU's code.
_TABLE = "djservice_eighths"


class LanesType(types.Type):
    """numba's type of eight float64."""

    def __init__(self) -> None:
        super().__init__(name="float64x8")


lanes_type = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, ir.VectorType(_DOUBLE, 8))


def _operator(symbol: Any, instruction: str) -> None:
    """Compile a Python operator between lanes to one instruction."""

    @type_callable(symbol)
    def typed(context: Any) -> Callable[..., Any]:
        def result(a: Any, b: Any) -> Any:
            return lanes_type if isinstance(a, LanesType) and isinstance(b, LanesType) else None

        return result

    @lower_builtin(symbol, lanes_type, lanes_type)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
):
    _operator(_symbol, _instruction)


def _lane_function(arguments: int, result: Any = lanes_type) -> Callable[..., Any]:
    """A decorator that makes a function of lanes from one that builds its instructions.

    That one is called with (context, builder, *vectors) and returns a value.
    """

    def wrap(build: Callable[..., Any]) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return build(context, builder, *values)

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
    kind = vectors[0].type
    function = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function, f"{name}.v{kind.count}f64"),
        vectors,
    )


def _broadcast(builder: Any, value: Any, count: int) -> Any:
    """A vector with ``value`` in each of ``count`` elements."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, INT32(0)),
        undefined,
        ir.VectorType(INT32, count)([INT32(0)] * count),
    )


def _pointers(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, count: int
) -> list[Any]:
    """Pointers to this thread's share of the ``count`` elements from ``index`` on.

    There is one pointer to a vector if the share is contiguous, otherwise one to each element.
    """
    assert array_type.layout == "C"
    data, team = context.make_array(array_type)(context, builder, array).data, team_size(context)
    if team == 1:
        vector = ir.VectorType(context.get_value_type(array_type.dtype), count)
        return [builder.bitcast(builder.gep(data, [index]), vector.as_pointer())]
    first = builder.add(in_32_bits(builder, index), rank_of(builder))
    first = builder.gep(data, [builder.zext(first, _INT64)])
    return [builder.gep(first, [_INT64(k)]) for k in range(0, count, team)]


def width_of(context: Any) -> int:
    """The number of float64 in one group of lanes."""
    return max(8, team_size(context))


def _read(context: Any, builder: Any, array_type: Any, array: Any, index: Any, count: int) -> Any:
    """This thread's share of the ``count`` elements from ``index`` on, as a vector."""
    size = array_type.dtype.bitwidth // 8
    pointers = _pointers(context, builder, array_type, array, index, count)
    if team_size(context) == 1:
        return builder.load(pointers[0], align=size)
    vector = ir.Constant(
        ir.VectorType(context.get_value_type(array_type.dtype), len(pointers)), ir.Undefined
    )
    for k, pointer in enumerate(pointers):
        vector = builder.insert_element(vector, builder.load(pointer, align=size), INT32(k))
    return vector


def _mask(context: Any, builder: Any, flags: Any) -> Any:
    """The booleans of all threads of the team, as the bits of an int64."""
    if team_size(context) == 1:
        return builder.zext(builder.bitcast(flags, ir.IntType(flags.type.count)), _INT64)
    mask = _INT64(0)
    for k in range(flags.type.count):
        votes = ballot_of(builder, builder.extract_element(flags, INT32(k)))
        mask = builder.or_(mask, builder.shl(votes, _INT64(k * team_size(context))))
    return mask


def _fold(context: Any, builder: Any, vector: Any, combine: Callable[..., Any]) -> Any:
    """Combine lanes i and i + 4, then i and i + 2, then the last two."""
    width = vector.type.count // 2
    while width:
        undefined = ir.Constant(vector.type, ir.Undefined)
        selection = ir.VectorType(INT32, width)
        halves = [
            builder.shuffle_vector(
                vector, undefined, selection([INT32(first + k) for k in range(width)])
            )
            for first in (0, width)
        ]
        vector = combine(builder, *halves)
        width //= 2
    return _fold_threads(
        builder, builder.extract_element(vector, INT32(0)), team_size(context), combine
    )


def _fold_threads(builder: Any, value: Any, threads: int, combine: Callable[..., Any]) -> Any:
    """Combine the numbers of so many neighbouring threads, starting with the farthest apart."""
    while threads > 1:
        threads //= 2
        value = combine(builder, value, partners(builder, value, threads))
    return value


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@intrinsic
def load(typing_context, array, index):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _read(context, builder, array, values[0], values[1], width_of(context))

    return lanes_type(array, types.int64), code


@intrinsic
def store(typing_context, array, index, lanes):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers = _pointers(context, builder, array, values[0], values[1], width_of(context))
        if team_size(context) == 1:
            builder.store(values[2], pointers[0], align=8)
        else:
            for k, pointer in enumerate(pointers):
                builder.store(builder.extract_element(values[2], INT32(k)), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes_type), code


@intrinsic
def fill(typing_context, value):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _broadcast(builder, values[0], width_of(context) // team_size(context))

    return lanes_type(types.float64), code


@_lane_function(3)
def fma(context: Any, builder: Any, a: Any, b: Any, c: Any) -> Any:
    """See reference."""
    return _call(builder, "llvm.fma", a, b, c)


@_lane_function(2)
def least(context: Any, builder: Any, a: Any, b: Any) -> Any:
    """See reference."""
    return _smaller(builder, a, b)


@_lane_function(1)
def absolute(context: Any, builder: Any, a: Any) -> Any:
    """|a|, see reference; by its bits, for CUDA's compiler has no llvm.fabs of vectors."""
    bits = ir.VectorType(_INT64, a.type.count)
    without_sign = bits([_INT64((1 << 63) - 1)] * a.type.count)
    return builder.bitcast(builder.and_(builder.bitcast(a, bits), without_sign), a.type)


@_lane_function(4)
def where_below(context: Any, builder: Any, a: Any, b: Any, if_below: Any, if_not: Any) -> Any:
    """See reference."""
    return builder.select(builder.fcmp_ordered("<", a, b), if_below, if_not)


@_lane_function(1)
def power_of_two(context: Any, builder: Any, shifted: Any) -> Any:
    """See reference."""
    count = shifted.type.count
    integers = ir.VectorType(_INT64, count)
    bits, eighth, exponent = (
        builder.bitcast(shifted, integers),
        integers([_INT64(3)] * count),
        integers([_INT64(52)] * count),
    )
    exponents = builder.shl(builder.lshr(bits, eighth), exponent)
    eighths = builder.bitcast(_eighths(context, builder, bits), integers)
    return builder.bitcast(builder.add(eighths, exponents), shifted.type)


def _eighths(context: Any, builder: Any, bits: Any) -> Any:
    """2^(k/8) of the last three bits of each integer, from a table: on a processor in registers."""
    kind = ir.VectorType(_DOUBLE, bits.type.count)
    if on_gpu(context):
        return _looked_up(builder, EIGHTHS, builder.and_(bits, bits.type([_INT64(7)] * kind.count)))
    if "+avx512f" in context.codegen().magic_tuple()[2]:
        function = ir.FunctionType(kind, [kind, bits.type])
        name = "llvm.x86.avx512.permvar.df.512"
        permutation = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(permutation, [kind([_DOUBLE(x) for x in EIGHTHS]), bits])
    values = [kind([_DOUBLE(x)] * kind.count) for x in EIGHTHS]
    for bit in (1, 2, 4):
        some = bits.type([_INT64(bit)] * kind.count)
        is_set = builder.icmp_unsigned("==", builder.and_(bits, some), some)
        pairs = zip(values[1::2], values[::2], strict=True)
        values = [builder.select(is_set, odd, even) for odd, even in pairs]
    return values[0]


def _looked_up(builder: Any, numbers: Any, indices: Any) -> Any:
    """The float64 at each index of a table in a GPU's memory."""
    table = ir.ArrayType(_DOUBLE, len(numbers))
    memory = builder.module.globals.get(_TABLE)
    if memory is None:
        memory = ir.GlobalVariable(builder.module, table, _TABLE, addrspace=GLOBAL)
        memory.global_constant, memory.linkage = True, "internal"
        memory.initializer = table([_DOUBLE(x) for x in numbers])
    found = ir.Constant(ir.VectorType(_DOUBLE, indices.type.count), ir.Undefined)
    for k in range(indices.type.count):
        index = builder.extract_element(indices, INT32(k))
        number = builder.load(builder.gep(memory, [INT32(0), index], inbounds=True))
        found = builder.insert_element(found, number, INT32(k))
    return found


@_lane_function(2, types.int64)
def below(context: Any, builder: Any, a: Any, b: Any) -> Any:
    """See reference."""
    return _mask(context, builder, builder.fcmp_ordered("<", a, b))


@_lane_function(1, types.float64)
def smallest_lane(context: Any, builder: Any, a: Any) -> Any:
    """See reference."""
    return _fold(context, builder, a, _smaller)


@_lane_function(1, types.float64)
def smallest_natural(context: Any, builder: Any, a: Any) -> Any:
    """See reference."""
    if on_gpu(context) and can_reduce():
        return smallest_of_warp(builder, builder.extract_element(a, INT32(0)))
    return _fold(context, builder, a, _smaller)


@intrinsic
def width(typing_context):
    """See reference."""
    return types.int64(), lambda context, builder, signature, values: _INT64(width_of(context))


@intrinsic
def sum_of_eight(typing_context, value):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        add = lambda builder, left, right: builder.fadd(left, right)  # noqa: E731
        return _fold_threads(builder, values[0], min(8, team_size(context)), add)

    return types.float64(types.float64), code


@_lane_function(1, types.float64)
def total(context: Any, builder: Any, a: Any) -> Any:
    """See reference."""
    return _fold(context, builder, a, lambda builder, left, right: builder.fadd(left, right))


@intrinsic
def holds(typing_context, owner, other, index, a, b):
    """See reference."""
    element = ir.IntType(owner.dtype.bitwidth)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        count = 32 // team_size(context)
        flags = ir.VectorType(ir.IntType(1), count)([ir.IntType(1)(0)] * count)
        for ident in values[3:]:
            target = _broadcast(builder, builder.trunc(ident, element), count)
            for array_type, array in ((owner, values[0]), (other, values[1])):
                ids = _read(context, builder, array_type, array, values[2], 32)
                flags = builder.or_(flags, builder.icmp_unsigned("==", ids, target))
        return _mask(context, builder, flags)

    return types.int64(owner, other, types.int64, types.int64, types.int64), code


@intrinsic
def lowest(typing_context, mask):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.IntType(1)(1))

    return types.int64(types.int64), code


@intrinsic
def thread_bits(typing_context, mask):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        team = team_size(context)
        if team == 1:
            return values[0]
        pattern = _INT64(sum(1 << k for k in range(0, 64, team)))
        return builder.and_(values[0], builder.shl(pattern, builder.zext(rank_of(builder), _INT64)))

    return types.int64(types.int64), code


@intrinsic
def bit_count(typing_context, mask):
    """See reference."""
    return types.int64(types.int64), lambda context, builder, signature, values: builder.ctpop(
        values[0]
    )


@intrinsic
def bits_below(typing_context, mask, bit):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        lower = builder.sub(builder.shl(_INT64(1), values[1]), _INT64(1))
        return builder.ctpop(builder.and_(values[0], lower))

    return types.int64(types.int64, types.int64), code


@intrinsic
def bits_of(typing_context, value):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _INT64)

    return types.int64(types.float64), code


@intrinsic
def float_of(typing_context, bits):
    """See reference."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _DOUBLE)

    return types.float64(types.int64), code
