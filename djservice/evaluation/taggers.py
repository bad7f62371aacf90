"""Networks on the constituents of leading jets, and the classes that they tell apart.

Networks are in PyTorch (extra ``torch``), which is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.torch_vector import TorchNetwork, TorchVector
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch

if TYPE_CHECKING:
    import torch


@checked_arguments
@dataclass(frozen=True)
class TorchTagger(TorchNetwork):
    """A PyTorch module that is trained together with R, in float64 and ``eval`` mode.

    Attributes
    ----------
    network
        Takes the number of classes and returns the module. The module takes the constituents of
        jets in falling pT, shape (jet, constituent, 4): px, py, pz and E in GeV, and their mask,
        shape (jet, constituent). It returns a score for each class, shape (jet, class), whose
        softmax is the probability. The scores of a jet must not depend on the other jets.
    seed
        Seed of the initial parameters.

    Examples
    --------
    >>> def efn(classes):
    ...     return dj.networks.MomentEFN(order=1, latent=4, outputs=classes)
    >>> dj.Run.from_dict(settings | {"joint": {"network": dj.TorchTagger(efn)}})
    """

    label: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.label or super().name


def moment_efn(
    order: int = 2,
    latent: int = 2,
    scale: float = 1.0,
    particle_layers: Sequence[int] = (16,),
    jet_layers: Sequence[int] = (16,),
    seed: int = 0,
) -> TorchTagger:
    """A tagger that is a :class:`djservice.networks.MomentEFN` with these parameters."""

    def network(classes: int) -> torch.nn.Module:
        import torch

        from djservice.networks.moment_efn import MomentEFN

        return MomentEFN(
            order,
            latent,
            outputs=classes,
            scale=scale,
            particle_layers=particle_layers,
            jet_layers=jet_layers,
            seed=seed,
            dtype=torch.float64,
        )

    return TorchTagger(network, seed, "moment_efn")


#: Taggers by the names that a configuration has for them.
TAGGERS: dict[str, Callable[..., TorchTagger]] = {"moment_efn": moment_efn}


@dataclass(frozen=True)
class Classes:
    """Classes of events: datasets by name, or values of the truth.

    Attributes
    ----------
    names
        A class each. The first one is the signal.
    weights
        Factor of the weights of the events of each class.
    """

    names: tuple[str, ...] | tuple[float, ...]
    weights: tuple[float, ...]

    def of(self, events: EventBatch) -> NDArray[np.int64]:
        """Number of the class of each event, shape (event,).

        Raises
        ------
        InputError
            If an event is of none of them.
        """
        if isinstance(self.names[0], str):
            if events.dataset not in self.names:
                raise InputError(
                    f"joint.classes: events of dataset {events.dataset!r}, expected one of "
                    f"{', '.join(map(str, self.names))}. Name it there, or leave it out of the "
                    "fileset."
                )
            return np.full(len(events), self.names.index(events.dataset))
        same = events.truth[:, np.newaxis] == np.array(self.names, np.float64)
        strange = np.flatnonzero(~same.any(axis=1))
        if len(strange):
            raise InputError(
                f"joint.classes: {len(strange)} events have a truth that is none of the classes "
                f"{', '.join(map(str, self.names))}: {events.name(int(strange[0]))} has "
                f"{events.truth[strange[0]]:g}. Give their truth as a class, or select the events."
            )
        number: NDArray[np.int64] = same.argmax(axis=1)
        return number


@dataclass(frozen=True)
class Network:
    """A tagger at some values of its parameters, as it travels with a request.

    Attributes
    ----------
    tagger, classes
        The network, and what it tells apart.
    constituents
        Number of constituents of a jet that it gets.
    theta
        Its parameters.
    """

    tagger: TorchTagger
    classes: Classes
    constituents: int
    theta: Floats

    @property
    def vector(self) -> TorchVector:
        """The module whose parameters are :attr:`theta`."""
        return self.tagger.vector(len(self.classes.names))
