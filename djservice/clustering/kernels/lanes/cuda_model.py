"""The data model of lanes for numba-cuda: the number of lanes that a thread of a team holds."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda.models import register_model
from numba.extending import models

from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.lanes.llvm import LanesType


@register_model(LanesType)
class LanesOfThread(models.PrimitiveModel):
    """The lanes of one thread, as a vector."""

    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(
            manager, numba_type, ir.VectorType(ir.DoubleType(), max(8 // team.TEAM, 1))
        )
