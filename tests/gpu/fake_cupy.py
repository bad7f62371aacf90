"""CuPy as far as djservice calls it, on the host: NumPy arrays in a class that refuses what CuPy's refuses.

An array of it does not become NumPy's by itself, does not mix with those, and knows only CuPy's functions with CuPy's arguments
(test_compiled.py compares :data:`FUNCTIONS` and :data:`METHODS` with CuPy). Bytes that cross to the host are counted. It is stricter in
one thing: CuPy takes NumPy's arrays as indices, copying them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: CuPy's functions by their arguments, and its ufuncs; nothing else is called.
FUNCTIONS = {
    "argsort": "a axis kind",
    "broadcast_to": "array shape",
    "clip": "a a_min a_max out",
    "cumsum": "a axis dtype out",
    "concatenate": "tup axis out dtype casting",
    "einsum": "operands kwargs",
    "flatnonzero": "a",
    "full_like": "a fill_value dtype order subok shape",
    "moveaxis": "a source destination",
    "nan_to_num": "x copy nan posinf neginf",
    "nansum": "a axis dtype out keepdims",
    "nonzero": "a",
    "reshape": "a newshape order copy",
    "searchsorted": "a v side sorter",
    "stack": "tup axis out dtype casting",
    "where": "condition x y",
    "empty_like": "prototype dtype order subok shape",
    "zeros_like": "a dtype order subok shape",
}
UFUNCS = (
    "absolute add arccos arctan2 arcsinh bitwise_and bitwise_or copysign cos cosh divide equal exp floor floor_divide greater "
    "greater_equal invert isfinite isnan less less_equal log logical_and logical_not maximum minimum multiply negative "
    "not_equal power remainder sign sin sinh sqrt square subtract tan tanh"
)
METHODS = {
    "all": "axis out keepdims",
    "any": "axis out keepdims",
    "argsort": "axis kind",
    "astype": "dtype order casting subok copy",
    "copy": "order",
    "max": "axis out keepdims",
    "mean": "axis dtype out keepdims",
    "min": "axis out keepdims",
    "ravel": "order",
    "reshape": "shape order copy",
    "sum": "axis dtype out keepdims",
    "transpose": "axes",
    "view": "dtype type",
}


class Traffic:
    """Bytes that were copied from arrays here to the host."""

    to_host = 0


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that is not on the host."""

    def __init__(self, host: Any) -> None:
        self.host = np.asarray(host)

    # What marks an array on a GPU. Nobody reads it, as there is none.
    __cuda_array_interface__: Any = None

    shape, ndim, dtype, size, nbytes = (
        property(lambda self, name=name: getattr(self.host, name))
        for name in ("shape", "ndim", "dtype", "size", "nbytes")
    )
    T = property(lambda self: ndarray(self.host.T))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **how: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in UFUNCS.split():
            return NotImplemented if ufunc.__name__ != "matmul" else self._matmul(inputs, how)
        if not set(how) <= {"out", "dtype", "casting"}:
            raise TypeError(f"{ufunc.__name__} of CuPy has no {sorted(how)}")
        if not all(
            isinstance(value, (ndarray, np.ndarray, np.generic, bool, int, float))
            for value in inputs
        ):
            return NotImplemented  # a vector
        if "out" in how:
            (out,) = how["out"]
            ufunc(*unwrapped(inputs), out=unwrapped(out))
            return out
        return ndarray(ufunc(*unwrapped(inputs), **how))

    def _matmul(self, inputs: Any, how: Any) -> Any:
        assert not how
        return ndarray(np.matmul(*unwrapped(inputs)))

    def __array_function__(self, function: Any, types: Any, inputs: Any, how: Any) -> Any:
        name = function.__name__
        if name not in FUNCTIONS or not set(how) <= set(FUNCTIONS[name].split()):
            return NotImplemented
        return wrapped(function(*unwrapped(inputs), **unwrapped(how)))

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(
                f"an array of CuPy has no {name}, or djservice did not call it so far"
            )

        def method(*given: Any, **how: Any) -> Any:
            if not set(how) <= set(METHODS[name].split()):
                raise TypeError(f"{name} of CuPy has no {sorted(how)}")
            return wrapped(getattr(self.host, name)(*unwrapped(given), **unwrapped(how)))

        return method

    def __getitem__(self, where: Any) -> ndarray:
        return ndarray(self.host[unwrapped(where)])

    def __setitem__(self, where: Any, value: Any) -> None:
        self.host[unwrapped(where)] = unwrapped(value)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        return bool(asnumpy(self))

    def __int__(self) -> int:
        return int(asnumpy(self))

    def __float__(self) -> float:
        return float(asnumpy(self))


def unwrapped(value: Any) -> Any:
    """What is in arrays; refuses NumPy's own."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(unwrapped(part) for part in value)
    if isinstance(value, dict):
        return {name: unwrapped(part) for name, part in value.items()}
    return value


def wrapped(value: Any) -> Any:
    """Arrays in the class, numbers too: reductions give arrays without dimensions."""
    if isinstance(value, tuple):
        return tuple(wrapped(part) for part in value)
    return ndarray(value)


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """Copied from the host, if it is not here."""
    if isinstance(value, ndarray):
        return value if dtype is None else value.astype(dtype, copy=False)
    return ndarray(np.array(value, dtype=dtype))


def asnumpy(array: ndarray) -> Any:
    """Copied to the host."""
    Traffic.to_host += array.nbytes
    return array.host.copy()


def empty(shape: Any, dtype: Any = np.float64) -> ndarray:
    """Full of what nobody may read."""
    return full(shape, np.nan if np.dtype(dtype).kind == "f" else 77, dtype)


def zeros(shape: Any, dtype: Any = np.float64) -> ndarray:
    return ndarray(np.zeros(shape, dtype))


def full(shape: Any, fill_value: Any, dtype: Any = None) -> ndarray:
    return ndarray(np.full(shape, fill_value, dtype))


def arange(start: int, stop: int | None = None, step: int = 1, dtype: Any = None) -> ndarray:
    return ndarray(
        np.arange(start, stop, step, dtype) if stop is not None else np.arange(start, dtype=dtype)
    )
