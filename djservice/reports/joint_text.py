"""Sentences and rows of tables of a joint training."""

from __future__ import annotations

from typing import Any

from djservice.core.formatting import with_error
from djservice.reports.joint_summary import EFFICIENCIES

#: Names of the losses.
LOSSES = {
    "cross_entropy": "cross-entropy in nats",
    "squared_error": "mean squared error, in units of the variance of the truth",
    "absolute_error": "mean absolute error, in units of the standard deviation of the truth",
}


def joint_rows(joint: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of a joint training: R, loss, and what :func:`joint_titles` names."""
    names = ("start", "learned") if joint["learned"] else ("kept",)
    last = len(names) - 1
    return [
        [
            name,
            with_error(choice["radius"], joint["radius_error"], 3)
            if row == last and joint["learned"]
            else f"{choice['radius']:.3f}",
            with_error(*choice["loss"]),
            *(_of_classes(choice) if joint["classes"] else _of_regression(choice)),
        ]
        for row, (name, choice) in enumerate(zip(names, joint["choices"], strict=False))
    ]


def _of_classes(choice: dict[str, Any]) -> list[str]:
    return [
        with_error(*choice["auc"]),
        *(
            "-" if value is None else f"{value:.3g}" if error is None else with_error(value, error)
            for _, value, error in choice["rejection"]
        ),
    ]


def _of_regression(choice: dict[str, Any]) -> list[str]:
    return [with_error(*choice["rms"]), with_error(*choice["bias"])]


def joint_titles(joint: dict[str, Any]) -> list[str]:
    """Titles of the columns of these rows."""
    of_classes = ["ROC area", *(f"1/B at S = {efficiency:g}" for efficiency in EFFICIENCIES)]
    return ["", "R", "loss", *(of_classes if joint["classes"] else ["RMS [GeV]", "bias [GeV]"])]


def joint_text(joint: dict[str, Any]) -> str:
    """Explanation of the numbers of a joint training."""
    signal, *others = map(str, joint["classes"] or [""])
    aim = f"tell {signal} from {', '.join(others)}" if joint["classes"] else "predict the truth"
    mean = "mean probability" if joint["classes"] else "mean prediction"
    jets = "leading jet" if joint["jets"] == 1 else f"{joint['jets']} leading jets"
    gradient, error = joint["choices"][-1]["gradient"]
    slope = with_error(gradient, error, 4)
    columns = (
        "ROC area: 0.5 tells nothing apart, and 1 all. 1/B: inverse efficiency of the background at "
        "that of the signal, S."
        if joint["classes"]
        else "RMS and bias are those of prediction minus truth."
    )
    start = (
        " Both rows have the same network, which was trained on the way to the learned R. For one "
        f"that is trained at another R, see learn_radius: false. {error_text(joint)}"
        if joint["learned"]
        else ""
    )
    return (
        f"A network of {joint['parameters']} parameters on the constituents of the {jets} was "
        f"trained{' together with R' if joint['learned'] else ''} to {aim}. All numbers are those "
        f"of events that are held back, with the {mean} over the trees of each. Loss: "
        f"{LOSSES[joint['loss']]}. {columns} dL/dR there: {slope}.{start}"
    )


def error_text(joint: dict[str, Any]) -> str:
    """Where the error of a learned R comes from, or why there is none."""
    if joint["curvature"] is None:
        return "The error of R is not computed yet."
    curvature = with_error(joint["curvature"], joint["curvature_error"], 3)
    if joint["radius_error"] is None:
        if joint["curvature"] > 2.0 * joint["curvature_error"]:
            return "R has no error: it is at radius.minimum or radius.maximum."
        return (
            "R is not determined: the curvature of the loss of the best network of each R is "
            f"{curvature}, which is not above 0 by two standard errors."
        )
    return (
        f"The error of R is {joint['radius_error_events']:.4f} from the finite number of events and "
        f"{joint['radius_error_trees']:.4f} from that of trees, but not less than the "
        f"{joint['radius_error_optimiser']:.4f} by which the steps have not ended. The curvature of "
        f"the loss of the best network of each R is {curvature}."
    )
