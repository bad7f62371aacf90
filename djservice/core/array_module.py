"""Arrays of NumPy, and of CuPy where trees grow on a GPU: one source for both.

NumPy's functions work on CuPy's arrays where these are, and give such (NEP 13 and 18). So only what makes an array of nothing
asks which module to take, and only what is to be on the host is brought there, by name: CuPy does neither by itself.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def module_of(array: Any) -> Any:
    """NumPy, or for an array on a GPU the module of its class: CuPy."""
    on_gpu = hasattr(type(array), "__cuda_array_interface__")
    return sys.modules[type(array).__module__.partition(".")[0]] if on_gpu else np


def to_host(array: Any) -> Any:
    """As a NumPy array."""
    module = module_of(array)
    return array if module is np else module.asnumpy(array)


def quotient(a: Any, b: Any, where: Any) -> Any:
    """a / b where a condition holds, and 0 elsewhere. (CuPy's functions have no ``where``.)"""
    return np.where(where, a / np.where(where, b, 1.0), 0.0)


def sums_by_owner(values: Any, owner: Any, owners: int) -> Any:
    """Sum of the values of each owner, in their order, shape (owners,).

    Parameters
    ----------
    owner
        Whose each value is, from 0 on, rising.
    """
    module = module_of(values)
    if module is np:
        return np.bincount(owner, values, owners).astype(np.float64)
    # CuPy's bincount adds in any order, so its last bits change from call to call. Here row k has value k of each owner, and rows
    # are added one after the other, so that a sum does not depend on how many values other owners have.
    first = np.searchsorted(owner, module.arange(owners + 1))
    number = first[1:] - first[:-1]
    row = module.arange(int(number.max()) if owners else 0)[:, np.newaxis]
    at = np.minimum(first[:-1] + row, len(values) - 1)
    total = module.zeros(owners)
    for values_k in np.where(row < number, values[at], 0.0):
        total += values_k
    return total
