"""Sentences and rows of tables of a summary."""

from __future__ import annotations

from typing import Any

from djservice.core.formatting import counted, with_error
from djservice.core.shown import shown_of

#: Largest number of events that a text lists.
NAMED = 20
#: Largest number of parameters that a text lists.
_SHOWN = 12


def loss_title(facts: dict[str, Any]) -> str:
    """Heading of the column of the loss, or of what is maximised."""
    return shown_of(facts["run"]).name


def loss_text(facts: dict[str, Any], row: dict[str, Any]) -> str:
    """The loss of a row with its error, or what is maximised."""
    loss, sign = row["loss"], shown_of(facts["run"]).sign
    return with_error(loss if loss is None else sign * loss, row["loss_error"], 4)


def minus_text(facts: dict[str, Any]) -> str:
    """What L is where something is maximised; empty for a loss."""
    shown = shown_of(facts["run"])
    return f", where L is minus the {shown.words}" if shown.sign < 0.0 else ""


def bootstrap_text(facts: dict[str, Any]) -> str:
    """The error of the objective at the optimum by a bootstrap; empty for a loss."""
    if facts["bootstrap_error"] is None:
        return ""
    return (
        f"error of the {shown_of(facts['run']).words} at the {facts['end']} by a bootstrap over events: "
        f"{facts['bootstrap_error']:.4f}"
    )


#: Titles of the table of :func:`robust_rows`.
ROBUST_TITLES = ("augmentation", "R", "shift of R", "mean")


def robust_rows(facts: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of augmentations: R of each, its shift, and the mean at the common R."""

    def cell(row: dict[str, Any], name: str, digits: int) -> str:
        value, error = row[name], row[f"{name}_error"]
        return "not determined" if value is None else with_error(value, error, digits)

    rows = []
    for number, row in enumerate(facts["robust"]):
        shift = cell(row, "shift", 3) if number else ""
        rows.append([row["name"], cell(row, "radius", 3), shift, cell(row, "mean", 1)])
    return rows


def robust_text(facts: dict[str, Any]) -> str:
    """Explanation of the table of augmentations in a few sentences."""
    weight = facts["run"]["robust"]["weight"]
    spread = f" plus {weight:g} standard deviations of them" if weight else ""
    shifts = [row for row in facts["robust"] if row["shift"] is not None]
    text = (
        f"The loss is the mean of those of the events as they are (none) and after each "
        f"augmentation{spread}. R is best for one of them alone, and its shift is that from none, a "
        "systematic error of R. The mean of the observable is that at the common R."
    )
    if shifts:
        largest = max(shifts, key=lambda row: abs(row["shift"]))
        text += (
            f" Largest shift: {with_error(largest['shift'], largest['shift_error'], 3)} by "
            f"{largest['name']}."
        )
    notes: dict[str, list[str]] = {}
    for row in facts["robust"]:
        notes.setdefault(row["note"], []).append(row["name"])
    for note, names in notes.items():
        text += f" {', '.join(names)}: {note}." if note else ""
    return text


def error_parts(result: dict[str, Any]) -> str:
    """The parts of the error of R."""
    parts = {"events": "the events", "trees": "their trees", "optimiser": "the last step"}
    return ", ".join(
        f"{result[f'radius_error_{part}']:.3f} from {words}" for part, words in parts.items()
    )


def without_accepted_text(facts: dict[str, Any]) -> str:
    """How many events have no accepted tree at the optimum, if there are any."""
    number = facts["events_without_accepted"]
    have, do = ("has", "does") if number == 1 else ("have", "do")
    return (
        f"{counted(number, 'event')} {have} no accepted tree at the {facts['end']} and {do} not "
        "contribute"
    )


def held_back_text(facts: dict[str, Any]) -> str:
    """The objective at the optimum on the events that did not choose it; empty without these."""
    score = facts["held_back"]
    if not score:
        return ""
    return (
        f"{shown_of(facts['run']).name} at the {facts['end']}, on the {counted(score['events'], 'event')} that were held back: "
        f"{loss_text(facts, score)}"
    )


def per_event_rows(facts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Labels and rows that one radius per event adds to the table of spectra."""
    per_event = facts["per_event"]
    return (
        [("one per event", per_event["fresh"]), ("  on its own trees", per_event["same"])]
        if per_event
        else []
    )


def model_rows(model: dict[str, Any]) -> list[list[str]]:
    """Rows of the table of a model: sample, choice, median, response and width."""

    def cell(pair: list[float | None], digits: int, factor: float = 1.0) -> str:
        value, error = pair
        if value is None:
            return "not determined"
        if error is None:  # fewer than a hundred events
            return f"{factor * value:.{digits}f} (no error)"
        return with_error(factor * value, factor * error, digits)

    rows = []
    for name, sample in model["samples"].items():
        relative = sample["response"] or sample
        labels = ("no weights", "weights") if "estimate" in model else ("fixed R", "model")
        for label, choice in zip(labels, ("fixed", "model"), strict=True):
            response = cell(relative[choice]["median"], 3) if sample["response"] else ""
            cells = [
                cell(sample[choice]["median"], 1),
                response,
                cell(relative[choice]["width"], 3),
            ]
            rows.append([name if choice == "fixed" else "", label, *cells])
        rows.append(["", "narrower by", "", "", f"{cell(relative['narrower'], 1, 100.0)} %"])
    return rows


def per_event_text(per_event: dict[str, Any]) -> str:
    """Explanation of the radii per event in a few sentences."""
    starts = ", ".join(f"{start:g}" for start in per_event["starts"])
    text = (
        "One R per event is an oracle: the loss of each event, which knows the truth, chooses it. "
        "It is scored on fresh trees; on the trees that chose it, it looks better. Descents from "
        f"R = {starts} agree to 10 % in {100 * per_event['agree']:.0f} % of the fitted events. "
        f"{counted(len(per_event['left']), 'event')} had too few accepted trees and stayed at the global R"
    )
    text += (
        f": entries {', '.join(map(str, per_event['left'][:NAMED]))}" if per_event["left"] else ""
    )
    text += (
        f" and {len(per_event['left']) - NAMED} more (per_event/left)."
        if len(per_event["left"]) > NAMED
        else "."
    )
    if per_event["radius"]:
        text += (
            " The median R of the fitted events is {median:.2f}; the central 68 % are between "
            "{low:.2f} and {high:.2f}."
        ).format(**per_event["radius"])
    return text


#: What each estimate of the gradient in the weights is.
_ESTIMATES = {
    "full": "the full gradient, which is unbiased",
    "pathwise": "the pathwise part of the gradient alone, which is biased by the score part",
}


def weights_text(model: dict[str, Any]) -> str:
    """Explanation of the numbers of learned weights of particles."""
    return (
        f"Weights of particles were learned with {_ESTIMATES[model['estimate']]}, on the events of "
        f"the input that are not held back. They are used with R = {model['radius']:.3f}, and "
        f"compared with no weights and the best fixed R, {model['global_radius']:.3f}, on the "
        "events that are held back. Response: median of the observable over the true mass. Width: "
        "half of the central 68 % over the median, of each event's mean over trees."
    )


def parameters_text(model: dict[str, Any]) -> str:
    """The parameters of a model, or their number if they are many."""
    theta = model["theta"]
    if len(theta) > _SHOWN:
        return f"{len(theta)} (particle_weights, theta)"
    return ", ".join(f"{name} {value:.3f}" for name, value in theta.items())


def model_text(model: dict[str, Any]) -> str:
    """Explanation of the numbers of a radius model."""
    return (
        "A radius model sees features of the event and never the truth. It is trained on the "
        "events of the input that are not held back, and compared with the best fixed R, "
        f"{model['global_radius']:.3f}, on the same events with the same random numbers. Response: "
        "median of the observable over the true mass. Width: half of the central 68 % over the "
        "median, of the response, or of the observable if there is no truth. A sample of another "
        "process is sculpted if its median moves to the mass of the training."
    )
