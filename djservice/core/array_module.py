"""One source for NumPy arrays, and for CuPy arrays of trees on a GPU.

NumPy's functions work on CuPy arrays and return CuPy arrays (NEP 13 and 18). Only code that creates
an array needs its module, and only results for the host are copied there, with :func:`to_host`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def array_module(array: Any) -> Any:
    """The module of an array: NumPy, or CuPy on a GPU."""
    on_gpu = hasattr(type(array), "__cuda_array_interface__")
    return sys.modules[type(array).__module__.partition(".")[0]] if on_gpu else np


def to_host(array: Any) -> Any:
    """The array as a NumPy array."""
    module = array_module(array)
    return array if module is np else module.asnumpy(array)


def quotient(a: Any, b: Any, where: Any) -> Any:
    """a / b where a condition holds, and 0 elsewhere.

    CuPy's functions have no argument ``where``.
    """
    return np.where(where, a / np.where(where, b, 1.0), 0.0)


def sums_by_owner(values: Any, owner: Any, owners: int) -> Any:
    """Sum of the values of each owner, in their order, shape (owners,).

    Parameters
    ----------
    owner
        Index of the owner of each value, from 0 on, in increasing order.
    """
    module = array_module(values)
    if module is np:
        return np.bincount(owner, values, owners).astype(np.float64)
    # CuPy's bincount adds in any order, so its last bits change from call to call. Here row k has
    # value k of each owner, and rows are added in order. A sum then does not depend on the number
    # of values of other owners.
    first = np.searchsorted(owner, module.arange(owners + 1))
    number = first[1:] - first[:-1]
    row = module.arange(int(number.max()) if owners else 0)[:, np.newaxis]
    index = np.minimum(first[:-1] + row, len(values) - 1)
    total = module.zeros(owners)
    for values_k in np.where(row < number, values[index], 0.0):
        total += values_k
    return total
