"""A summary in sentences and rows."""

from __future__ import annotations

from typing import Any

from djservice.core.formatting import with_error

#: Events that a text names.
NAMED = 20


def per_event_rows(facts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a table of spectra that one radius per event adds, with their labels."""
    found = facts["per_event"]
    return (
        [("one per event", found["fresh"]), ("  on its own trees", found["same"])] if found else []
    )


def model_rows(found: dict[str, Any]) -> list[list[str]]:
    """The rows of a table of what a radius model does: sample, choice, median, response and width."""

    def cell(pair: list[float | None], digits: int, factor: float = 1.0) -> str:
        value, error = pair
        if value is None:
            return "not determined"
        if error is None:  # of fewer than a hundred events
            return f"{factor * value:.{digits}f} (no error)"
        return with_error(factor * value, factor * error, digits)

    rows = []
    for name, sample in found["samples"].items():
        relative = sample["response"] or sample
        for label, choice in (("fixed R", "fixed"), ("model", "model")):
            response = cell(relative[choice]["median"], 3) if sample["response"] else ""
            cells = [
                cell(sample[choice]["median"], 1),
                response,
                cell(relative[choice]["width"], 3),
            ]
            rows.append([name if choice == "fixed" else "", label, *cells])
        rows.append(["", "narrower by", "", "", f"{cell(relative['narrower'], 1, 100.0)} %"])
    return rows


def per_event_text(found: dict[str, Any]) -> str:
    """How the radii per event came about, in a sentence or two."""
    starts = ", ".join(f"{start:g}" for start in found["starts"])
    text = (
        "One R per event is an oracle: it is chosen with the truth, by the loss of each event alone. It is scored on fresh trees; "
        f"on the trees it was chosen on it looks better. PerEventSettings from R = {starts} agree to 10 % in {100 * found['agree']:.0f} % "
        f"of the events; {len(found['left'])} events had too few accepted trees and stay at the global R"
    )
    text += f": entries {', '.join(map(str, found['left'][:NAMED]))}" if found["left"] else ""
    text += (
        f" and {len(found['left']) - NAMED} more (per_event/left)."
        if len(found["left"]) > NAMED
        else "."
    )
    if found["radius"]:
        text += " R is {median:.2f} in the median, {low:.2f} to {high:.2f} in 68 % of the others.".format(
            **found["radius"]
        )
    return text


def model_text(found: dict[str, Any]) -> str:
    """How the numbers are to be read."""
    return (
        "A radius model sees features of the event and never the truth. It is trained on events of the input that are not held "
        f"back, and compared with the best fixed R, {found['global_radius']:.3f}, on the same events with the same random numbers. "
        "Response: the observable over the true mass, in the median. Width: half of the central 68 % over the median, of the response, or of "
        "the observable where there is no truth. A sample of another process whose median moves to the mass that was trained on "
        "is sculpted."
    )
