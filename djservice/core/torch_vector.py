"""A PyTorch module whose parameters travel as one vector of float64.

Learned parameters are a vector wherever they go: the optimiser steps in it, requests carry it to the
workers, and stores keep it. Workers answer with sums over their events of derivatives in the same
vector, which are added up in the order of the bundles
(:class:`djservice.evaluation.vector_moments.VectorMoments`). So a module is never pickled with its
state, and any module that runs on workers can be learned this way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from djservice.core.bounds import require
from djservice.core.fingerprints import need_named
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


@dataclass(frozen=True)
class TorchVector:
    """A module in float64 and ``eval`` mode, built with the same parameters in every process.

    Attributes
    ----------
    build
        Returns the module.
    seed
        Seed of its initial parameters.
    name
        Name in messages.
    """

    build: Callable[[], torch.nn.Module]
    seed: int
    name: str

    def module(self) -> torch.nn.Module:
        """The module with its initial parameters.

        Raises
        ------
        InputError
            If PyTorch is missing.
        """
        torch = self._torch()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.build().double().eval()

    def size(self) -> int:
        """Number of entries of the vector. The parameters take no memory meanwhile.

        Raises
        ------
        InputError
            If PyTorch is missing.
        """
        with self._torch().device("meta"):
            return sum(values.numel() for values in self.build().parameters())

    def _torch(self) -> Any:
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"{self.name} needs PyTorch: pip install 'djservice[torch]', on the workers too."
            ) from error
        return torch

    def names(self) -> tuple[str, ...]:
        """Names of the entries of the vector."""
        parameters = self.module().named_parameters()
        return tuple(f"{name}[{i}]" for name, values in parameters for i in range(values.numel()))

    def start(self) -> Floats:
        """The initial parameters as a vector."""
        parameters = [values.detach().numpy().ravel() for values in self.module().parameters()]
        return np.concatenate(parameters) if parameters else np.empty(0)


@dataclass(frozen=True)
class TorchNetwork:
    """A function that builds a module of any size, as users give it; see the classes made of it.

    Raises
    ------
    InputError
        If the network is no function, or the seed out of its bounds.
    """

    network: Callable[..., torch.nn.Module]
    seed: int = 0

    def __post_init__(self) -> None:
        need_named(self.network, "network")
        require("seed", self.seed)

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return f"{type(self).__name__}({self.network.__qualname__}, seed={self.seed})"

    @property
    def function(self) -> Callable[..., object]:
        """The function whose source is fingerprinted."""
        return self.network

    def vector(self, *sizes: int) -> TorchVector:
        """The module of some sizes, whose parameters are one vector."""
        return TorchVector(lambda: called(self.name, self.network, *sizes), self.seed, self.name)


def unpacked(module: torch.nn.Module, vector: Floats) -> dict[str, torch.Tensor]:
    """The parameters of a module from a vector, for ``torch.func.functional_call``."""
    import torch

    shapes = {name: values.shape for name, values in module.named_parameters()}
    parts = torch.tensor(vector).split([shape.numel() for shape in shapes.values()])
    return {
        name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def packed(values: dict[str, Any]) -> Floats:
    """Tensors by the names of parameters, such as derivatives, as one vector."""
    return np.concatenate([value.detach().numpy().ravel() for value in values.values()])


_alone, _inside = threading.Lock(), [0, 1]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread, so that sums have one order, until the last caller leaves."""
    import torch

    with _alone:
        if _inside[0] == 0:
            _inside[1] = torch.get_num_threads()
        _inside[0] += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _alone:
            _inside[0] -= 1
            if _inside[0] == 0:
                torch.set_num_threads(_inside[1])
