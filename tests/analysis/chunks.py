"""Chunks of the shipped example as coffea gives them to a processor, and the sums that the service makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.moments import Moments

PATH = dj.examples.path("ZHllbb_200")
MASS = dj.observables.dijet_mass
LOSS = dj.SquaredError(MASS, target=125.0, scale=125.0).where(
    dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9) & dj.cuts.mass_below(250.0)
)
SETTING: dict[str, Any] = {"radius": 0.7, "trees": 4, "pt_min": 2.0, "seed": 3}
SUMS = ("total", "outer", "tree_covariance", "weight")
NUMBERS = ("loss", "gradient", "mean", "sd")


class Schema(NanoAODSchema):
    """Without warnings of indices into collections that these files do not have."""

    warn_missing_crossrefs = False


def chunk(
    first: int = 0,
    last: int = 200,
    path: str = PATH,
    schema: type[NanoAODSchema] = Schema,
    **metadata: Any,
) -> Any:
    """A chunk of events as a Runner gives it to a processor."""
    place = {"dataset": "ZH", "filename": path, "entrystart": first, "entrystop": last}
    return NanoEventsFactory.from_root(
        {path: "Events"},
        entry_start=first,
        entry_stop=last,
        schemaclass=schema,
        metadata={**place, **metadata},
        mode="virtual",
    ).events()


def of_the_service(
    first: int = 0, last: int = 200, path: str = PATH, **schema: Any
) -> dj.EventBatch:
    """The same events as the service reads them."""
    return dj.read(
        path, schema=dj.schemas.nanoaod(pt_min=2.0, **schema), entries=(first, last), dataset="ZH"
    )


def evaluated(batch: dj.EventBatch, **given: Any) -> Moments:
    """The sums that the service makes of a batch."""
    setting = {"radius": 0.7, "trees": 4, **given}
    return evaluate(batch, LOSS, dj.StateBaseline(), Sampling(seed=3), **setting)[0]


def assert_close(one: Moments, other: Moments, rtol: float = 1e-12) -> None:
    """Sums and what follows from them, to ``rtol`` of the largest in an array."""
    for name in SUMS:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)
    for name in ("events", "events_without", "trees", "trees_accepted"):
        assert getattr(one, name) == getattr(other, name)
    for name in NUMBERS:
        a, b = getattr(one, name)(), getattr(other, name)()
        np.testing.assert_allclose(
            (a.value, a.error), (b.value, b.error), rtol=100 * rtol, err_msg=name
        )
