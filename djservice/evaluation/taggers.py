"""Networks on the constituents of leading jets.

Networks are in PyTorch (extra ``torch``), which is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from djservice.core.arguments import checked_arguments
from djservice.core.torch_vector import TorchNetwork, TorchVector
from djservice.core.typing import Floats
from djservice.evaluation.targets import Target

if TYPE_CHECKING:
    import torch


@checked_arguments
@dataclass(frozen=True)
class TorchTagger(TorchNetwork):
    """A PyTorch module that is trained together with R, in float64 and ``eval`` mode.

    Attributes
    ----------
    network
        Takes the number of outputs, which is that of the classes, or 1 for a regression, and
        returns the module. With several jets it also takes their number. The module takes the
        constituents of jets in falling pT, shape (jet, constituent, 4): px, py, pz and E in GeV,
        and their mask, shape (jet, constituent). With several jets these are (tree, jet,
        constituent, 4) and (tree, jet, constituent), and a jet that is absent is masked. It returns
        shape (jet, output), or (tree, output): a score for each class, whose softmax is the
        probability, or the distance of the truth from its mean in standard deviations. The outputs
        of a jet must not depend on the other rows.
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
    """A tagger that is a :class:`djservice.networks.MomentEFN` with these parameters.

    For several jets, or for a regression, whose result has a unit, it is a
    :class:`djservice.networks.JetsEFN`, which sees the momentum of a regression.
    """

    def network(outputs: int, jets: int = 1) -> torch.nn.Module:
        import torch

        from djservice.networks.jets_efn import JetsEFN
        from djservice.networks.moment_efn import MomentEFN

        settings: Any = {
            "outputs": outputs,
            "scale": scale,
            "particle_layers": particle_layers,
            "jet_layers": jet_layers,
            "seed": seed,
            "dtype": torch.float64,
        }
        if jets == 1 and outputs > 1:
            return MomentEFN(order, latent, **settings)
        return JetsEFN(jets, order, latent, in_gev=outputs == 1, **settings)

    return TorchTagger(network, seed, "moment_efn")


#: Taggers by the names that a configuration has for them.
TAGGERS: dict[str, Callable[..., TorchTagger]] = {"moment_efn": moment_efn}


def sizes(target: Target, jets: int) -> tuple[int, ...]:
    """What the function of a tagger gets: the number of outputs, and that of several jets."""
    return (target.outputs,) if jets == 1 else (target.outputs, jets)


@dataclass(frozen=True)
class Network:
    """A tagger at some values of its parameters, as it travels with a request.

    Attributes
    ----------
    tagger, target
        The network, and what it is trained for.
    constituents
        Number of constituents of a jet that it gets.
    theta
        Its parameters.
    jets
        Number of leading jets that it gets.
    """

    tagger: TorchTagger
    target: Target
    constituents: int
    theta: Floats
    jets: int = 1

    @property
    def vector(self) -> TorchVector:
        """The module whose parameters are :attr:`theta`."""
        return self.tagger.vector(*sizes(self.target, self.jets))
