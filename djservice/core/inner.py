"""inner: sums of products that have the same bits on every processor."""

from __future__ import annotations

from typing import Any

import numpy as np


def inner(weights: Any, values: Any) -> Any:
    """Sum over the first axis of ``values``, shape (n, ...), times ``weights``, shape (n,).

    The operator ``@`` would ask a BLAS, which adds in another order on another processor and with
    another number of threads.
    """
    return np.einsum("i,i...->...", weights, values)
