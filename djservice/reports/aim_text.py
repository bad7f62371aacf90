"""What a run minimises or maximises, and which trees count, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Kinds of terms; {f} is the observable, {away} its target.
_KINDS = {
    "squared_error": "the squared distance of {f} from {away}",
    "bounded_error": "the squared distance of {f} from {away}, bounded by {bound:g}",
    "squared_error_of_mean": "the squared distance of the mean over trees of {f} from {away}",
    "width": "the variance of {f} over the square of its mean",
    "robust_width": "the width of the central 68 % of {f} over its median",
    "mutual_information": "the mutual information of {f} and the true mass",
    "significance": "the significance of {signal} over {background} in a histogram of {f}",
}


def aim_text(run: Mapping[str, Any]) -> str:
    """The loss or the objective of a run and its cuts, from its configuration as plain data."""
    objective = run.get("objective")
    terms = [objective] if objective else run["loss"]
    verb = "Maximised" if objective else "Minimised"
    cuts = dict.fromkeys(_named(cut) for term in terms for cut in term["cuts"])
    passed = f" Trees count that pass {' and '.join(cuts)}." if cuts else " All trees count."
    return f"{verb}: {', plus '.join(map(_term, terms))}{_versions(run)}.{passed}"


def _versions(run: Mapping[str, Any]) -> str:
    """Over which versions of the events a loss is taken; empty for the events as they are."""
    section = run.get("robust") or {"augmentations": ()}
    if not section["augmentations"]:
        return ""
    names = ", ".join(map(_named, section["augmentations"]))
    text = f"; the mean of that over the events as they are and after {names}"
    weight = section["weight"]
    return f"{text}, plus {weight:g} standard deviations" if weight else text


def _term(term: Mapping[str, Any]) -> str:
    away = "the truth of the event" if term.get("target") is None else f"{term['target']:g}"
    datasets = {key: " and ".join(term.get(key) or ()) for key in ("signal", "background")}
    text = _KINDS[term["kind"]].format(
        f=_named(term["observable"]), away=away, bound=term.get("bound", 0.0), **datasets
    )
    factor, scale = term.get("coefficient", 1.0), term.get("scale", 1.0)
    if term["kind"] in ("squared_error", "bounded_error", "squared_error_of_mean") and scale != 1.0:
        text += f", in units of {away if scale is None else f'{scale:g}'}"
    return text if factor == 1.0 else f"{factor:g} times {text}"


def _named(part: Any) -> str:
    """An observable or a cut: its name with its parameters."""
    if not isinstance(part, Mapping):
        return str(part)
    if "python" in part:  # a function, of which its title is kept
        return str(part["title"])
    parameters = ", ".join(f"{key} {value}" for key, value in part.items() if key != "name")
    return f"{part['name']} ({parameters})" if parameters else str(part["name"])
