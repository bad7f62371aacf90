"""A user's own function that fails: its name, the line, the exception, and what it was called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import numpy as np
import pytest

import djservice as dj
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.radius_models.base import Bounded
from djservice.radius_models.features import feature, features_of
from djservice.weight_models.builtin import Logistic
from djservice.weight_models.features import particle_feature
from djservice.weight_models.weighting import Weighting, Weights

MASS = dj.observables.dijet_mass


def failing(*_arguments: Any) -> Any:
    return {}["what it looks for"]  # the line that is named


LINE = failing.__code__.co_firstlineno + 1
#: What each message says after the name of the function.
FAILURE = rf", line {LINE} of test_user_functions\.py: KeyError: 'what it looks for'\. "


class OwnLoss(dj.SquaredError):
    def _quantities(self, value: Any, target: Any) -> Any:
        return failing()


class OwnAugmentation(dj.augment.Augmentation):
    name = "own"

    def __repr__(self) -> str:
        return "own"

    def transform(self, events: Any, keys: Any) -> Any:
        return failing()


class OwnModel(dj.RadiusModel):
    name = "own"

    def names(self, features: Any) -> Any:
        return failing()

    def start(self, features: int, seed: int) -> Any:
        return failing()

    def height(self, features: Any, theta: Any) -> Any:
        return failing()


@dataclass(frozen=True)
class OwnWeights(Logistic):
    @property
    def name(self) -> str:
        return "own"

    def height(self, features: Any, theta: Any, offsets: Any) -> Any:
        return failing()


@pytest.fixture(scope="module")
def events() -> Any:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=5.0), entries=(0, 3))


def gradient(events: Any, objective: Any) -> Any:
    return dj.gradient(events, objective, radius=0.7, trees=4)


def weighted(events: Any) -> Any:
    features = (particle_feature()(lambda events, primary: events.pt),)
    weighting = Weighting(OwnWeights(), features, None, None)
    return Weights(weighting, np.zeros(2)).of(weighting.prepare(events))


def own(name: str, make: Callable[..., Any] = dj.observable, **keywords: Any) -> Any:
    """The failing function, as a user would declare it, under a name."""
    made = make(**keywords)(failing) if keywords else make(failing)
    return replace(made, name=name)


SLOPES = dj.observable(slopes=failing)(MASS.function)
CUT = dj.cuts.Cut(failing, "own")
KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "gradient": ("observable 'f'", lambda events: gradient(events, own("f"))),
    "product": ("observable 'f'", lambda events: gradient(events, MASS * own("f"))),
    "expectation": (
        "observable 'f'",
        lambda events: dj.expectation(events, own("f"), radius=0.7, trees=4),
    ),
    "constituents": (
        "observable 'f'",
        lambda events: gradient(events, own("f", constituents=4, jet=0)),
    ),
    "slopes": (
        "slopes of observable ",
        lambda events: dj.input_gradient(events, SLOPES, radius=0.7, trees=4),
    ),
    "cut": (
        "cut 'own'",
        lambda events: gradient(events, dj.SquaredError(MASS, 125.0).where(~CUT & CUT)),
    ),
    "cut of an observable": (
        "observable 'f'",
        lambda events: gradient(
            events, dj.SquaredError(MASS, 125.0).where(dj.cuts.above(own("f"), 1.0))
        ),
    ),
    "loss": ("loss OwnLoss", lambda events: gradient(events, OwnLoss(MASS, 125.0))),
    "augmentation": ("augmentation own", lambda events: OwnAugmentation()(events)),
    "feature": (
        "feature 'f'",
        lambda events: features_of(events, [own("f", feature)], 0.7, -1.0),
    ),
    "feature of particles": (
        "feature 'f'",
        lambda events: own("f", particle_feature, unit=2.0)(events, np.ones(3)),
    ),
    "radius model, start": (
        "radius model own",
        lambda events: Bounded(OwnModel(), 0.1, 2.0).begin(1, 0.7, 1),
    ),
    "radius model": (
        "radius model own",
        lambda events: Bounded(OwnModel(), 0.1, 2.0).radius(np.ones((3, 1)), np.ones(2)),
    ),
    "weight model": ("weight model own", weighted),
}


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize(("what", "use"), KINDS.values(), ids=KINDS)
def test_each_kind_names_the_function_the_line_and_the_exception(
    events: Any, what: str, use: Callable[[Any], Any]
) -> None:
    with pytest.raises(InputError, match=rf"^{what}.*{FAILURE}It was called with ") as caught:
        use(events)
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_it_was_called_with_has_shapes_and_lengths(events: Any) -> None:
    with pytest.raises(InputError, match=r"called with \w+ of shape \(3, 4, 2\)\. Correct the"):
        gradient(events, own("f"))
    with pytest.raises(InputError, match=r"with ndarray of shape \(2,\), EventBatch of length 3\."):
        called("f", failing, np.ones(2), events)


def test_on_a_worker_the_file_keeps_its_name() -> None:
    """Functions of a script travel by value, and lose the name of their file there."""
    scope: dict[str, Any] = {"__name__": "__main__", "__file__": "folder/script.py"}
    exec(compile("def f(jets):\n    return 1 / 0\n", "folder/script.py", "exec"), scope)
    sent = cloudpickle.loads(cloudpickle.dumps(scope["f"]))
    for function in (scope["f"], sent):
        with pytest.raises(InputError, match=r"^f, line 2 of script\.py: ZeroDivisionError: "):
            called("f", function, np.ones(2))


def test_calls_that_do_not_fit_and_exits_are_errors_too() -> None:
    with pytest.raises(InputError, match=r"^f: TypeError: .*0 positional arguments but 1 was"):
        called("f", lambda: 1, np.ones(2))
    with pytest.raises(InputError, match=r"^f: SystemExit: 3\. "):
        called("f", exit, 3)
    with pytest.raises(MemoryError):
        called("f", bytearray, 1 << 60)


def test_errors_of_djservice_pass_as_they_are() -> None:
    def refuse(_jets: Any) -> Any:
        raise InputError("as it is")

    with pytest.raises(InputError, match=r"^as it is$"):
        called("f", refuse, np.ones(2))


def test_what_is_no_array_is_said(events: Any) -> None:
    ragged = dj.observable(lambda jets: [[1.0], [1.0, 2.0]])
    with pytest.raises(InputError, match=r"returned a list that is no array of numbers: .*Return"):
        gradient(events, ragged)
