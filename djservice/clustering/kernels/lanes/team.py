"""Teams: the threads of a GPU that grow a tree together, each with its share of the lanes.

On a processor a team is one thread.

All threads of a team run all code outside the lanes, on the same numbers with the same results, in
memory of the team. They need not run in step. Where a thread writes what another reads, or has
read, ``sync`` comes between. Where numbers are read, changed and written back, the thread of rank 0
does so alone. Work on many independent elements is shared.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

#: Threads of a team on a GPU: 1, 2, 4, 8 or 32, which is a warp.
#: In numba's simulator, whose lanes are arrays, it is 1.
TEAM = 1 if numba.config.DISABLE_JIT else 32

_BIT, INT32, _INT64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
#: NVVM's codes for a ballot, for a shuffle from a thread by its index or by an index that differs
#: in some bits, and for a shuffle without bounds.
_BALLOT, _INDEXED, _BUTTERFLY, _NO_LIMIT = 3, 0, 3, 31
#: The address space of the device's memory.
GLOBAL = 1


def on_gpu(context: Any) -> bool:
    """Whether the code is compiled for a GPU."""
    return "cuda" in type(context).__module__


def team_size(context: Any) -> int:
    """The number of threads of a team on the machine for which the code is compiled."""
    return TEAM if on_gpu(context) else 1


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function, f"llvm.nvvm.{name}"), arguments
    )


def _lane(builder: Any) -> Any:
    """The index of this thread in its warp."""
    return _call(builder, "read.ptx.sreg.laneid", INT32)


def rank_of(builder: Any) -> Any:
    """The index of this thread in its team."""
    return builder.and_(_lane(builder), INT32(TEAM - 1))


def _first(builder: Any) -> Any:
    """The index in the warp of the team's first thread."""
    return builder.and_(_lane(builder), INT32(32 - TEAM))


def _members(builder: Any) -> Any:
    """The threads of this team, as bits of the warp."""
    return builder.shl(INT32(2**TEAM - 1), _first(builder))


def _wait(builder: Any) -> None:
    _call(builder, "bar.warp.sync", ir.VoidType(), _members(builder))


def ballot_of(builder: Any, flag: Any) -> Any:
    """An int64 with a bit for each thread of the team, set where its ``flag`` is."""
    result_type = ir.LiteralStructType((INT32, _BIT))
    votes = builder.extract_value(
        _call(builder, "vote.sync", result_type, _members(builder), INT32(_BALLOT), flag), 0
    )
    return builder.zext(
        builder.and_(builder.lshr(votes, _first(builder)), INT32(2**TEAM - 1)), _INT64
    )


def can_reduce() -> bool:
    """Whether the GPU that code is compiled for finds the smallest word of a warp by itself."""
    return TEAM == 32 and tuple(ConfigStack().top().compute_capability) >= (8, 0)


def smallest_of_warp(builder: Any, value: Any) -> Any:
    """The smallest float64 of a warp, none of which is negative: their bits have the same order."""
    low, high = _halves(builder, value)
    least_high = _smallest_word(builder, high)
    low = builder.select(builder.icmp_unsigned("==", high, least_high), low, INT32(2**32 - 1))
    return _whole(builder, _smallest_word(builder, low), least_high)


def _halves(builder: Any, value: Any) -> list[Any]:
    """The words of a float64, the lower one first."""
    words = builder.bitcast(value, ir.VectorType(INT32, 2))
    return [builder.extract_element(words, INT32(k)) for k in range(2)]


def _whole(builder: Any, low: Any, high: Any) -> Any:
    """The float64 of two words."""
    words = ir.Constant(ir.VectorType(INT32, 2), ir.Undefined)
    for k, word in enumerate((low, high)):
        words = builder.insert_element(words, word, INT32(k))
    return builder.bitcast(words, ir.DoubleType())


def _smallest_word(builder: Any, value: Any) -> Any:
    function = ir.FunctionType(INT32, [INT32, INT32])
    smallest = ir.InlineAsm(function, "redux.sync.min.u32 $0, $1, $2;", "=r,r,r", side_effect=True)
    return builder.call(smallest, [value, _members(builder)], attrs=("convergent",))


def partners(builder: Any, value: Any, distance: int) -> Any:
    """The float64 of the thread of the team whose index differs by the bit ``distance``."""
    return _shuffled(builder, value, _BUTTERFLY, INT32(distance))


def _shuffled(builder: Any, value: Any, mode: int, thread: Any) -> Any:
    """The float64 of another thread of the warp."""
    result_type, words = ir.LiteralStructType((INT32, _BIT)), []
    for half in _halves(builder, value):
        operands = (_members(builder), INT32(mode), half, thread, INT32(_NO_LIMIT))
        result = _call(builder, "shfl.sync.i32", result_type, *operands)
        words.append(builder.extract_value(result, 0))
    return _whole(builder, *words)


def in_32_bits(builder: Any, index: Any) -> Any:
    """An int64 below 2^32 as an int32.

    Registers of a GPU have 32 bits. NVIDIA's compiler would undo a truncation that LLVM sees, and
    count in 64 bits again, which takes two or three instructions for each.
    """
    halved = ir.InlineAsm(ir.FunctionType(INT32, [_INT64]), "cvt.u32.u64 $0, $1;", "=r,l")
    return builder.call(halved, [index])


@intrinsic
def _empty_view(typing_context, array):  # type: ignore[no-untyped-def]
    """See :func:`empty_view`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        view = context.make_array(array)(context, builder, values[0])
        shape = cgutils.unpack_tuple(builder, view.shape)
        view.nitems, view.shape = _INT64(0), cgutils.pack_array(builder, [_INT64(0), *shape[1:]])
        return view._getvalue()

    return array(array), code


@intrinsic
def _sync(typing_context):  # type: ignore[no-untyped-def]
    """See :func:`sync`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if team_size(context) > 1:
            _wait(builder)
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def _size(typing_context):  # type: ignore[no-untyped-def]
    """See :func:`size`."""
    return types.int64(), lambda context, builder, signature, values: _INT64(team_size(context))


@intrinsic
def _rank(typing_context):  # type: ignore[no-untyped-def]
    """See :func:`rank`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.zext(rank_of(builder), _INT64) if team_size(context) > 1 else _INT64(0)

    return types.int64(), code


@intrinsic
def _ballot(typing_context, flag):  # type: ignore[no-untyped-def]
    """See :func:`ballot`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        flag = builder.icmp_unsigned("!=", values[0], values[0].type(0))
        return ballot_of(builder, flag) if team_size(context) > 1 else builder.zext(flag, _INT64)

    return types.int64(types.boolean), code


@intrinsic
def _value_of_rank(typing_context, value, number):  # type: ignore[no-untyped-def]
    """See :func:`value_of_rank`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if team_size(context) == 1:
            return values[0]
        return _shuffled(
            builder,
            values[0],
            _INDEXED,
            builder.add(_first(builder), builder.trunc(values[1], INT32)),
        )

    return types.float64(types.float64, types.int64), code


@intrinsic
def _opaque_view(typing_context, array):  # type: ignore[no-untyped-def]
    """See :func:`opaque_view`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if not on_gpu(context):
            return values[0]
        view = context.make_array(array)(context, builder, values[0])
        pointer_type = ir.PointerType(context.get_data_type(array.dtype), GLOBAL)
        identity = ir.InlineAsm(ir.FunctionType(_INT64, [_INT64]), "mov.b64 $0, $1;", "=l,l")
        address = builder.call(
            identity, [builder.ptrtoint(builder.addrspacecast(view.data, pointer_type), _INT64)]
        )
        view.data = builder.addrspacecast(builder.inttoptr(address, pointer_type), view.data.type)
        return view._getvalue()

    return array(array), code


#: ``sync()``: the threads of a team wait for each other, and then see each other's writes.
sync: Any = (lambda: None) if numba.config.DISABLE_JIT else _sync
#: ``empty_view(array)``: the array with length 0, as a constant for the compiler.
empty_view: Any = (lambda array: array[:0]) if numba.config.DISABLE_JIT else _empty_view
#: ``size()``: the number of threads of the team. ``rank()``: the index of this thread.
#: On a processor they are 1 and 0.
size: Any = (lambda: 1) if numba.config.DISABLE_JIT else _size
rank: Any = (lambda: 0) if numba.config.DISABLE_JIT else _rank
#: ``ballot(flag)``: a bit for each thread of the team, set where ``flag`` is.
ballot: Any = int if numba.config.DISABLE_JIT else _ballot
#: ``value_of_rank(value, number)``: the ``value`` of the thread with that rank.
value_of_rank: Any = (lambda value, number: value) if numba.config.DISABLE_JIT else _value_of_rank
#: ``opaque_view(view)``: the same view, with an address that a compiler for GPUs cannot trace.
#: It then keeps the address in a register instead of computing it again for each element.
opaque_view: Any = (lambda view: view) if numba.config.DISABLE_JIT else _opaque_view
