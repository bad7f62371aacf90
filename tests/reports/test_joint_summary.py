"""What is said of a network trained together with R: why R has no error, and the curves of its scores."""

import numpy as np
import pytest

from djservice.reports.joint_summary import area, curve, rejection
from djservice.reports.joint_text import error_text


@pytest.mark.parametrize(
    ("curvature", "error", "text"),
    [
        (2.0, 0.012, "The error of R is 0.0110 from the finite number of events and 0.0050 from"),
        (2.0, None, "R has no error: it is at radius.minimum or radius.maximum."),
        (0.9, None, "R is not determined: the curvature of the loss of the best network of each R"),
        (None, None, "The error of R is not computed yet."),
    ],
)
def test_why_a_learned_r_has_no_error(
    curvature: float | None, error: float | None, text: str
) -> None:
    parts = {"events": 0.011, "trees": 0.005, "optimiser": 0.003}
    joint = {"curvature": curvature, "curvature_error": 0.5, "radius_error": error}
    assert error_text(
        joint | {f"radius_error_{name}": part for name, part in parts.items()}
    ).startswith(text)


def test_curves_of_known_scores() -> None:
    values = np.array([0.9, 0.8, 0.8, 0.3, 0.1])
    signal, weight = np.array([True, True, False, True, False]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    # Pairs: 0.9 above both, 0.8 equal to one of weight 2 and above the other, 0.3 above the other.
    expected = (1.0 + (1.0 + 1.0) / 3.0 + 1.0 / 3.0) / 3.0
    assert area(values, weight, signal)[0] == pytest.approx(expected, rel=1e-12)
    of_signal, of_background = curve(values, weight, signal)
    assert of_signal == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0, 1.0])
    assert of_background == pytest.approx([0.0, 0.0, 2 / 3, 2 / 3, 1.0])
    assert rejection(values, weight, signal, 0.5)[1] == pytest.approx(3.0)
    generator = np.random.default_rng(1)
    signal, ones = np.repeat([True, False], 200), np.ones(400)
    found = [area(generator.standard_normal(400) + signal, ones, signal) for _ in range(200)]
    value, error = np.array(found).T
    assert abs(value.mean() - 0.7602) < 4 * value.std() / 200**0.5
    assert error.mean() == pytest.approx(value.std(), rel=0.2)
