"""Networks on the constituents of jets, in PyTorch (extra ``torch``).

:class:`MomentEFN` is a tagger that is infrared and collinear safe, :func:`train` trains it and
:func:`export` writes it as ONNX.
"""

from __future__ import annotations

from djservice.errors import MissingPackageError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingPackageError(
        "djservice.networks needs PyTorch: pip install 'djservice[torch]'."
    ) from error

from djservice.networks.jets_efn import JetsEFN
from djservice.networks.moment_efn import MomentEFN
from djservice.networks.onnx_export import export
from djservice.networks.training import Training, probabilities, train

__all__ = ["JetsEFN", "MomentEFN", "Training", "export", "probabilities", "train"]
