"""The score of a tagger as a formula of its outputs, such as ``a / (a + b)``. Nothing is executed."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import InputError

#: Function from the outputs, shape (jet, column), to the score, shape (jet,).
Formula = Callable[[Floats], Floats]

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[-+*/()])")
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": operator.truediv}
#: Longest formula, in characters and in tokens.
_LONGEST, _MOST = 1_000, 200


def formula_of(output: Any, labels: Sequence[str], columns: int) -> Formula:
    """The formula for a label, the number of a column, or an expression of labels.

    Expressions have ``+ - * /`` and brackets.

    Raises
    ------
    InputError
        If it names what there is not, or is no such expression.
    """
    if isinstance(output, int) and not isinstance(output, bool):
        if not 0 <= output < columns:
            raise InputError(
                f"output is {output}, expected a column of the network, 0 to {columns - 1}."
            )
        return lambda values: values[:, output]
    if not isinstance(output, str) or len(output) > _LONGEST:
        raise InputError(
            f"output is {output!r}, expected a label, the number of a column, or a formula such as "
            "'a / (a + b)'."
        )
    return _Parser(output, labels).formula()


class _Parser:
    """Recursive descent: sums of products of labels and of sums in brackets."""

    def __init__(self, text: str, labels: Sequence[str]) -> None:
        self.text, self.labels, self.at = text, list(labels), 0
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != "".join(text.split()) or len(self.tokens) > _MOST:
            raise self.problem("expected labels, + - * / and brackets")

    def problem(self, expected: str) -> InputError:
        return InputError(f"output is {self.text!r}: {expected}, such as 'a / (a + b)'.")

    def formula(self) -> Formula:
        parsed = self.chain(_SUMS, lambda: self.chain(_PRODUCTS, self.factor))
        if self.at < len(self.tokens):
            raise self.problem(f"expected its end before {self.tokens[self.at]!r}")
        return parsed

    def chain(self, operators: dict[str, Any], part: Callable[[], Formula]) -> Formula:
        total = part()
        while self.at < len(self.tokens) and self.tokens[self.at] in operators:
            combine = operators[self.tokens[self.at]]
            self.at += 1
            total = _combined(combine, total, part())
        return total

    def factor(self) -> Formula:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        if token == "(":
            inner = self.chain(_SUMS, lambda: self.chain(_PRODUCTS, self.factor))
            if self.at >= len(self.tokens) or self.tokens[self.at] != ")":
                raise self.problem("expected a closing bracket")
            self.at += 1
            return inner
        if not token or not (token[0].isalpha() or token[0] == "_"):
            raise self.problem("expected a label")
        if token not in self.labels:
            raise InputError(
                f"output: the network has no label {token!r}{nearest(token, self.labels)}."
            )
        column = self.labels.index(token)
        return lambda values: values[:, column]


def _combined(combine: Callable[[Any, Any], Any], one: Formula, other: Formula) -> Formula:
    def combined(values: Floats) -> Floats:
        result: Floats = combine(one(values), other(values))
        return result

    return combined
