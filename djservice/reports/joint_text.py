"""Sentences and rows of tables of a joint training."""

from __future__ import annotations

from typing import Any

from djservice.core.formatting import with_error
from djservice.reports.joint_summary import EFFICIENCIES


def joint_rows(joint: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of a joint training: R, loss, area, and rejection at each efficiency."""
    names = ("R of the start", "learned R") if joint["learned"] else ("R that was kept",)
    return [
        [
            name,
            f"{choice['radius']:.3f}",
            with_error(*choice["loss"]),
            with_error(*choice["auc"]),
            *(
                "-" if value is None else f"{value:.3g}" if error is None
                else with_error(value, error)
                for _, value, error in choice["rejection"]
            ),
        ]
        for name, choice in zip(names, joint["choices"], strict=False)
    ]  # fmt: skip


#: Titles of the columns of these rows.
JOINT_TITLES = (
    *("", "R", "loss", "ROC area"),
    *(f"1/B at S = {efficiency:g}" for efficiency in EFFICIENCIES),
)


def joint_text(joint: dict[str, Any]) -> str:
    """Explanation of the numbers of a joint training."""
    signal, *others = map(str, joint["classes"])
    gradient, error = joint["choices"][-1]["gradient"]
    slope = with_error(gradient, error, 4)
    start = (
        " Both rows have the same network, which was trained on the way to the learned R. For one "
        "that is trained at another R, see learn_radius: false."
        if joint["learned"]
        else ""
    )
    return (
        f"A network of {joint['parameters']} parameters on the constituents of the leading jet was "
        f"trained{' together with R' if joint['learned'] else ''} to tell {signal} from "
        f"{', '.join(others)}. All numbers are those of events that are held back, with the mean "
        "probability over the trees of each. Loss: cross-entropy in nats. ROC area: 0.5 tells "
        "nothing apart, and 1 all. 1/B: inverse "
        f"efficiency of the background at that of the signal, S. dL/dR there: {slope}.{start}"
    )
