"""What is wrong with a YAML text, without a line of it, which may hold a secret."""

from __future__ import annotations

from djservice.core.redact import message_of


def yaml_problem(error: Exception) -> str:
    """The problem with its line and column; the message of an error that has no place."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return message_of(error)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
