"""djservice: differentiable jet clustering, distributed with Dask.

The packages are listed along the flow of data. Each imports only those that stand below it
(``tool.importlinter`` in pyproject.toml; docs/design.md shows it)::

    errors          the errors a user can meet
    core            tools that every other package may use
    config          a run as strict, plain data: YAML in, YAML out
    events          events in memory: flat columns, offsets and identities
    input           from ROOT files to events
    clustering      from events to sampled trees, jets and scores; its kernels are compiled
    shapes          how far apart events and jets are, and their shapes (extra ``shapes``)
    objectives      from jets to numbers: observables, cuts, losses
    estimators      from values and scores to derivatives
    radius_models   R as a function of an event
    networks        networks on constituents of jets, in PyTorch (extra ``torch``)
    lund_planes     density of emissions in jets, and weights of jets that follow from it
    weight_models   weights of particles, as functions of their features
    layers          what the clustering as a layer of a network is, in NumPy
    evaluation      a loss and its gradient over a batch, as mergeable sums
    analysis        tools for a user's own analysis: expectations, reweighting, a coffea processor
    torch           layers for PyTorch (extra ``torch``)
    jax             layers for JAX (extra ``jax``)
    store           the results of a run: Zarr, in a folder or a bucket
    fit             the optimisation, without Dask
    on_dask         events and evaluations on a Dask cluster
    runs            from a configuration to a store
    exports         what stores hold as files of other programs
    reports         from a store to text, figures and pages
    reprocessing    scheduled processing of new or changed files
    service         runs that live on a Dask scheduler, and their pages
    cli             the command line
    preload         the module for ``dask scheduler --preload djservice.preload``

The public names are imported on first use, so that ``djservice --help`` stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from djservice import errors as errors
    from djservice import shapes as shapes
    from djservice.analysis.calibration import Calibration as Calibration
    from djservice.analysis.calibration import calibrate as calibrate
    from djservice.analysis.expectation import Expectation as Expectation
    from djservice.analysis.expectation import expectation as expectation
    from djservice.analysis.processor import RadiusProcessor as RadiusProcessor
    from djservice.analysis.reweight import reweight as reweight
    from djservice.analysis.safety import IrcCheck as IrcCheck
    from djservice.analysis.safety import check_irc as check_irc
    from djservice.clustering.awkward_jets import cluster_jets as cluster_jets
    from djservice.clustering.cluster import cluster as cluster
    from djservice.clustering.cluster import replay as replay
    from djservice.clustering.lund import lund as lund
    from djservice.clustering.radius import VariableR as VariableR
    from djservice.clustering.trees import TreeSample as TreeSample
    from djservice.config.run import Run as Run
    from djservice.errors import DjserviceError as DjserviceError
    from djservice.estimators.alternative_path import AlternativePath as AlternativePath
    from djservice.estimators.finite_difference import FiniteDifference as FiniteDifference
    from djservice.estimators.gumbel_softmax import GumbelSoftmax as GumbelSoftmax
    from djservice.estimators.score_function import LeaveOneOut as LeaveOneOut
    from djservice.estimators.score_function import MeanBaseline as MeanBaseline
    from djservice.estimators.score_function import OptimalBaseline as OptimalBaseline
    from djservice.estimators.score_function import Score as Score
    from djservice.estimators.sigmoid_relaxation import SigmoidRelaxation as SigmoidRelaxation
    from djservice.estimators.state_baseline import StateBaseline as StateBaseline
    from djservice.evaluation.gradient import gradient as gradient
    from djservice.evaluation.input_gradient import InputGradient as InputGradient
    from djservice.evaluation.input_gradient import input_gradient as input_gradient
    from djservice.evaluation.taggers import TorchTagger as TorchTagger
    from djservice.events import augment as augment
    from djservice.events.as_events import as_events as as_events
    from djservice.events.batch import EventBatch as EventBatch
    from djservice.input import examples as examples
    from djservice.input import schemas as schemas
    from djservice.input.read import read as read
    from djservice.lund_planes.density import lund_density as lund_density
    from djservice.lund_planes.ratio import LundRatio as LundRatio
    from djservice.lund_planes.reweighter import LundReweighter as LundReweighter
    from djservice.objectives import cuts as cuts
    from djservice.objectives import observables as observables
    from djservice.objectives.information import MutualInformation as MutualInformation
    from djservice.objectives.losses import BoundedError as BoundedError
    from djservice.objectives.losses import SquaredError as SquaredError
    from djservice.objectives.losses import SquaredErrorOfMean as SquaredErrorOfMean
    from djservice.objectives.observable import observable as observable
    from djservice.objectives.robust import Robust as Robust
    from djservice.objectives.significance import Significance as Significance
    from djservice.objectives.widths import RobustWidth as RobustWidth
    from djservice.objectives.widths import Width as Width
    from djservice.radius_models.base import RadiusModel as RadiusModel
    from djservice.radius_models.features import feature as feature
    from djservice.radius_models.torch_model import TorchModel as TorchModel
    from djservice.reports.html import report as report
    from djservice.reports.plots import Store as Store
    from djservice.runs.grid import compare as compare
    from djservice.runs.grid import scan as scan
    from djservice.runs.run import run as run
    from djservice.runs.shapes import fit_shapes as fit_shapes
    from djservice.service.client import connect as connect
    from djservice.shapes.emd import emd as emd
    from djservice.shapes.spectral import spectral_emd as spectral_emd
    from djservice.weight_models.base import WeightModel as WeightModel
    from djservice.weight_models.features import particle_feature as particle_feature
    from djservice.weight_models.learned import LearnedWeights as LearnedWeights
    from djservice.weight_models.torch_model import TorchWeights as TorchWeights

_MODULES = {
    "augment": "events.augment",
    "schemas": "input.schemas",
    "examples": "input.examples",
    "observables": "objectives.observables",
    "cuts": "objectives.cuts",
    "errors": "errors",
    "shapes": "shapes",
}
_PUBLIC = {
    "read": "input.read",
    "EventBatch": "events.batch",
    "as_events": "events.as_events",
    "VariableR": "clustering.radius",
    "cluster": "clustering.cluster",
    "replay": "clustering.cluster",
    "TreeSample": "clustering.trees",
    "cluster_jets": "clustering.awkward_jets",
    "lund": "clustering.lund",
    "lund_density": "lund_planes.density",
    "LundRatio": "lund_planes.ratio",
    "LundReweighter": "lund_planes.reweighter",
    "emd": "shapes.emd",
    "spectral_emd": "shapes.spectral",
    "observable": "objectives.observable",
    "SquaredError": "objectives.losses",
    "BoundedError": "objectives.losses",
    "SquaredErrorOfMean": "objectives.losses",
    "Robust": "objectives.robust",
    "Width": "objectives.widths",
    "RobustWidth": "objectives.widths",
    "MutualInformation": "objectives.information",
    "Significance": "objectives.significance",
    "Score": "estimators.score_function",
    "LeaveOneOut": "estimators.score_function",
    "StateBaseline": "estimators.state_baseline",
    "MeanBaseline": "estimators.score_function",
    "SigmoidRelaxation": "estimators.sigmoid_relaxation",
    "GumbelSoftmax": "estimators.gumbel_softmax",
    "OptimalBaseline": "estimators.score_function",
    "AlternativePath": "estimators.alternative_path",
    "FiniteDifference": "estimators.finite_difference",
    "gradient": "evaluation.gradient",
    "input_gradient": "evaluation.input_gradient",
    "InputGradient": "evaluation.input_gradient",
    "expectation": "analysis.expectation",
    "Expectation": "analysis.expectation",
    "calibrate": "analysis.calibration",
    "Calibration": "analysis.calibration",
    "feature": "radius_models.features",
    "RadiusModel": "radius_models.base",
    "TorchModel": "radius_models.torch_model",
    "particle_feature": "weight_models.features",
    "WeightModel": "weight_models.base",
    "TorchWeights": "weight_models.torch_model",
    "LearnedWeights": "weight_models.learned",
    "reweight": "analysis.reweight",
    "check_irc": "analysis.safety",
    "IrcCheck": "analysis.safety",
    "TorchTagger": "evaluation.taggers",
    "Run": "config.run",
    "run": "runs.run",
    "fit_shapes": "runs.shapes",
    "connect": "service.client",
    "Store": "reports.plots",
    "report": "reports.html",
    "RadiusProcessor": "analysis.processor",
    "scan": "runs.grid",
    "compare": "runs.grid",
    "DjserviceError": "errors",
}
#: Packages that need an extra, so that ``from djservice import *`` leaves them out.
_WITH_EXTRAS = ("torch", "jax", "networks")
__all__ = [*_MODULES, *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _MODULES or name in _WITH_EXTRAS:
        module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
        module.__dir__ = lambda: module.__all__  # type: ignore[method-assign]
        return module
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_WITH_EXTRAS, "__version__"]
