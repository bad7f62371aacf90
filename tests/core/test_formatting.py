"""Numbers with their errors as text, and the names of what a search ended at."""

from __future__ import annotations

import math
from typing import Any

import pytest

from djservice.core.formatting import end_name, radius_text, with_error
from djservice.core.html_table import plus_minus

NAN = math.nan


@pytest.mark.parametrize(
    ("result", "name"),
    [(None, "end"), ({}, "end"), ({"converged": False}, "end"), ({"converged": True}, "optimum")],
)
def test_only_an_optimum_is_called_so(result: Any, name: str) -> None:
    assert end_name(result) == name


def test_a_radius_that_is_no_optimum_says_so() -> None:
    result = {"radius": 0.7372, "radius_error": 0.0241}
    assert radius_text(result | {"converged": True}) == "0.737 +- 0.024"
    assert radius_text(result | {"converged": False}) == "0.737 +- 0.024 (no optimum)"
    assert radius_text(result | {"radius_error": NAN, "converged": True}).endswith("not determined")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.73724, 0.02413, "0.7372 ± 0.024"),
        (124.42, 1.1, "124.4 ± 1.1"),
        (0.0, 0.0, "0 ± 0"),
        (0.73724, NAN, "0.7372 (error not determined)"),
        (NAN, NAN, "nan (error not determined)"),
        (1e-7, 2e-8, "1e-07 ± 2e-08"),
    ],
)
def test_a_number_of_a_notebook_has_its_error(value: float, error: float, text: str) -> None:
    assert plus_minus(value, error) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (None, 1.0, "not determined"),
        (1.234, None, "1.2 +- not determined"),
        (1.2345, 0.0123, "1.234 +- 0.012"),
        (124.42, 1.13, "124.4 +- 1.1"),
    ],
)
def test_an_error_chooses_the_decimals(value: Any, error: Any, text: str) -> None:
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (124.42, 1.06, "124.4 +- 1.1"),
        (124.42, 0.64, "124.4 +- 0.6"),
        (0.53124, 0.0085, "0.5312 +- 0.0085"),  # of an observable that is a ratio
        (0.53124, 0.05, "0.531 +- 0.050"),
        (1.0, 0.0, "1.0 +- 0.0"),
        (1.0, None, "1.0 +- not determined"),
    ],
)
def test_a_number_has_the_digits_of_its_error(value: float, error: float | None, text: str) -> None:
    assert with_error(value, error) == text
