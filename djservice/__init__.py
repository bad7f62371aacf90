"""djservice: differentiable jet clustering, distributed with Dask.

The public names in data-flow order. They are imported on first use, so that ``djservice --help`` stays instant.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from djservice import cuts as cuts
    from djservice import examples as examples
    from djservice import observables as observables
    from djservice import schemas as schemas
    from djservice.batch import EventBatch as EventBatch
    from djservice.cluster import cluster as cluster
    from djservice.cluster import replay as replay
    from djservice.config import Run as Run
    from djservice.connect import connect as connect
    from djservice.errors import DjserviceError as DjserviceError
    from djservice.estimators import AlternativePath as AlternativePath
    from djservice.estimators import FiniteDifference as FiniteDifference
    from djservice.estimators import GumbelSoftmax as GumbelSoftmax
    from djservice.estimators import LeaveOneOut as LeaveOneOut
    from djservice.estimators import MeanBaseline as MeanBaseline
    from djservice.estimators import OptimalBaseline as OptimalBaseline
    from djservice.estimators import Score as Score
    from djservice.estimators import SigmoidRelaxation as SigmoidRelaxation
    from djservice.estimators import StateBaseline as StateBaseline
    from djservice.evaluate import gradient as gradient
    from djservice.expectation import Expectation as Expectation
    from djservice.expectation import expectation as expectation
    from djservice.features import feature as feature
    from djservice.grid import compare as compare
    from djservice.grid import scan as scan
    from djservice.jets import cluster_jets as cluster_jets
    from djservice.losses import RobustWidth as RobustWidth
    from djservice.losses import SquaredError as SquaredError
    from djservice.losses import SquaredErrorOfMean as SquaredErrorOfMean
    from djservice.losses import Width as Width
    from djservice.observables import observable as observable
    from djservice.processor import RadiusProcessor as RadiusProcessor
    from djservice.radius import VariableR as VariableR
    from djservice.radius_model import RadiusModel as RadiusModel
    from djservice.read import read as read
    from djservice.report import report as report
    from djservice.reweight import reweight as reweight
    from djservice.run import run as run
    from djservice.store import Store as Store
    from djservice.torch_model import TorchModel as TorchModel
    from djservice.trees import TreeSample as TreeSample

_MODULES = ("schemas", "examples", "observables", "cuts")
_PUBLIC = {
    "read": "read",
    "EventBatch": "batch",
    "VariableR": "radius",
    "cluster": "cluster",
    "replay": "cluster",
    "TreeSample": "trees",
    "cluster_jets": "jets",
    "observable": "observables",
    "SquaredError": "losses",
    "SquaredErrorOfMean": "losses",
    "Width": "losses",
    "RobustWidth": "losses",
    "Score": "estimators",
    "LeaveOneOut": "estimators",
    "StateBaseline": "estimators",
    "MeanBaseline": "estimators",
    "SigmoidRelaxation": "estimators",
    "GumbelSoftmax": "estimators",
    "OptimalBaseline": "estimators",
    "AlternativePath": "estimators",
    "FiniteDifference": "estimators",
    "gradient": "evaluate",
    "expectation": "expectation",
    "Expectation": "expectation",
    "feature": "features",
    "RadiusModel": "radius_model",
    "TorchModel": "torch_model",
    "reweight": "reweight",
    "Run": "config",
    "run": "run",
    "connect": "connect",
    "Store": "store",
    "report": "report",
    "RadiusProcessor": "processor",
    "scan": "grid",
    "compare": "grid",
    "DjserviceError": "errors",
}
__all__ = [*_MODULES, *_PUBLIC]


class _Package(ModuleType):
    """Keeps a function such as ``djservice.read`` from being hidden by the submodule of its name."""

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, as any module: cloudpickle knows only modules of no class of their own, and scripts name this one."""
        return importlib.import_module, (self.__name__,)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _PUBLIC.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
