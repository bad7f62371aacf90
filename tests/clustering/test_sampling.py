"""The keywords of sampling: every public function takes them from one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import djservice as dj
from djservice.clustering.sampling import GrowthKeywords, Sampling, SamplingKeywords
from djservice.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
DEFAULTS = {field.name: field.default for field in fields(Sampling) if field.name != "rigidity"}
FUNCTIONS = [
    getattr(dj, name)
    for name in (
        "cluster",
        "replay",
        "cluster_jets",
        "gradient",
        "input_gradient",
        "expectation",
        "reweight",
        "check_irc",
        "RadiusProcessor",
    )
]


def call(function: Callable[..., Any], **keywords: Any) -> Any:
    """The function, of one event where it takes events."""
    event = dj.EventBatch.from_arrays(
        pt=[3.0, 2.0], rapidity=[0.0, 1.0], phi=[0.0, 1.0], mass=[0.0, 0.0], offsets=[0, 2]
    )
    history = dj.cluster(event, radius=0.4, rigidity=1.0, history=True).history
    first: dict[str, tuple[Any, ...]] = {
        "replay": (event, history),
        "RadiusProcessor": (dj.observables.dijet_mass,),
        "gradient": (event, dj.observables.dijet_mass),
        "input_gradient": (event, dj.observables.dijet_mass),
        "expectation": (event, dj.observables.dijet_mass),
        "reweight": (event, dj.observables.dijet_mass),
        "check_irc": (event, dj.observables.dijet_mass),
    }
    more: dict[str, Any] = {"radii": [0.4]} if function.__name__ == "reweight" else {}
    return function(
        *first.get(function.__name__, (event,)), radius=0.4, rigidity=1.0, **more, **keywords
    )


def test_the_keywords_are_the_fields() -> None:
    assert set(SamplingKeywords.__annotations__) == set(DEFAULTS)
    assert set(GrowthKeywords.__annotations__) == set(DEFAULTS) - {"seed"}


def test_these_are_all_functions_that_take_a_rigidity() -> None:
    public = [
        getattr(dj, name)
        for name in dj.__all__
        if name not in ("DjserviceError", "TreeSample", "IrcCheck")
    ]
    assert [
        f for f in public if callable(f) and "rigidity" in inspect.signature(f).parameters
    ] == FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_shows_each_keyword_and_types_none(function: Any) -> None:
    shown = inspect.signature(function).parameters
    expected = dict(DEFAULTS)
    if function is dj.replay:
        del expected["seed"]
    if function is dj.RadiusProcessor:
        expected["threads"] = 1
    assert {name: shown[name].default for name in expected} == expected
    call = function.__init__ if inspect.isclass(function) else function
    code = inspect.unwrap(call).__code__
    typed = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    assert not set(typed) & set(DEFAULTS)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_is_given_arrives(function: Any) -> None:
    for keyword, wrong in {"power": float("nan"), "scale": "other"}.items():
        with pytest.raises(InputError, match=f"{keyword} is "):
            call(function, **{keyword: wrong})
    with pytest.raises(TypeError, match="rigidty"):
        call(function, rigidty=1.0)
