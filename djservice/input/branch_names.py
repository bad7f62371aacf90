"""The branches of an input that a schema names, by their names in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from djservice.config.schema_fields import DEFAULT_WEIGHT
from djservice.errors import SchemaError
from djservice.input.momentum_forms import COMPONENTS, forms_with
from djservice.input.schemas import Schema
from djservice.input.truth import GENERATED, QUARK_FIELDS

#: What the names of further columns begin with among the fields of a collection.
COLUMN = "column:"


@dataclass(frozen=True)
class Branches:
    """The branches of an input that are read.

    Attributes
    ----------
    particles
        For each collection, the branch of each field. The field ``weight`` is the particle weight.
        Further columns that the collection has are there by their names after ``column:``.
    identity
        Run, luminosity block and event number. Empty if one of the branches is missing.
    weight
        Branch of the event weight; None for a weight of 1.
    truth
        ``truth``, or the fields of the generated particles. Empty if the truth is a number or
        unknown.
    quarks
        The fields of the generated particles for quarks; empty if they are not read.
    """

    particles: tuple[dict[str, str], ...]
    identity: tuple[str, ...]
    weight: str | None
    truth: dict[str, str]
    quarks: dict[str, str]

    def __iter__(self) -> Iterator[str]:
        """All branch names, each once."""
        names = [name for fields in self.particles for name in fields.values()]
        return iter(
            dict.fromkeys(
                [
                    *self.identity,
                    *([self.weight] if self.weight else []),
                    *names,
                    *self.truth.values(),
                    *self.quarks.values(),
                ]
            )
        )


def find_branches(
    schema: Schema,
    has: Callable[[str], bool],
    missing: Callable[[str], SchemaError],
    identity: tuple[str, ...] | None = None,
) -> Branches:
    """The branches that a schema needs, and the optional ones that the input has.

    Parameters
    ----------
    schema
        Collections, weights and truth to look for.
    has
        Returns whether the input has a branch.
    missing
        Makes the error for a branch that is missing.
    identity
        Branches of the event identity, in place of the layout's.
    """
    layout = schema.layout

    def needed(*names: str) -> str:
        for name in names:
            if has(name):
                return name
        raise missing(names[-1] if names[-1] in schema.columns.values() else names[0])

    particles: list[dict[str, str]] = []
    for collection in schema.particles:
        branches = {name: needed(*names) for name, names in _momentum(schema, collection, has)}
        _refuse_twice(branches, particles, schema)
        if schema.particle_weight is not None:
            branches["weight"] = needed(*schema.names(collection, schema.particle_weight))
        for column in schema.further:
            present = [name for name in schema.names(collection, column) if has(name)]
            if present:
                branches[COLUMN + column] = present[0]
        particles.append(branches)
    weight = schema.weight
    if weight == DEFAULT_WEIGHT:
        weight = layout.weight if has(layout.weight) else None  # data have none
    truth = {}
    if schema.truth in GENERATED:
        truth = {name: needed(layout.generated[name]) for name in GENERATED[str(schema.truth)]}
    elif isinstance(schema.truth, str):
        truth = {"truth": needed(schema.truth)}
    of_quarks = QUARK_FIELDS if schema.quarks else ()
    quarks = {name: needed(layout.generated[name]) for name in of_quarks}
    identity_branches = layout.identity if identity is None else identity
    if schema.identity is not None and identity is None:
        identity_branches = tuple(map(needed, schema.identity))
    return Branches(
        tuple(particles),
        identity_branches if all(has(name) for name in identity_branches) else (),
        None if weight is None else needed(weight),
        truth,
        quarks,
    )


def _momentum(
    schema: Schema, collection: str, has: Callable[[str], bool]
) -> list[tuple[str, tuple[str, ...]]]:
    """The fields of a collection's momenta with their possible branches.

    They are those of the first form that the input has, or of the one that it has most of.
    """

    def present(name: str) -> bool:
        return any(map(has, schema.names(collection, name)))

    forms = [
        [name for name in form if name != "mass" or schema.mass is None or present(name)]
        for form in forms_with([name for name in schema.columns if name in COMPONENTS])
    ]
    lacks = [sum(not present(name) for name in form) for form in forms]
    return [(name, schema.names(collection, name)) for name in forms[lacks.index(min(lacks))]]


def _refuse_twice(branches: dict[str, str], others: list[dict[str, str]], schema: Schema) -> None:
    """Refuse momenta whose branches are those of another collection: columns name all of them."""
    if any(branches.items() <= other.items() for other in others):
        raise SchemaError(
            f"columns name the branches {', '.join(branches.values())}, which are those of each of "
            f"the collections {', '.join(schema.particles)}: name fields, or one collection."
        )


def absent_branches(schema: Schema, has: Callable[[str], bool]) -> tuple[str, ...]:
    """The branches that a schema reads where there are any, and the input lacks.

    They are those of the identity, the usual weight, masses that may be 0, and further columns.
    """
    layout = schema.layout
    optional: list[tuple[str, ...]] = [(name,) for name in schema.identity or layout.identity]
    if schema.weight == DEFAULT_WEIGHT:
        optional.append((layout.weight,))
    if layout.massless and schema.mass is not None:
        optional += [schema.names(collection, "mass") for collection in schema.particles]
    optional += [
        tuple(name for collection in schema.particles for name in schema.names(collection, column))
        for column in schema.further
    ]
    return tuple(names[0] for names in optional if names and not any(map(has, names)))
