"""The package ``vector``, imported without SymPy.

``vector`` imports SymPy where it is installed, as it is with PyTorch. That takes a quarter of a
second, a tenth of the processor time of a worker's start. So ``vector`` gets a stand-in, which
imports SymPy when a symbolic vector first needs it. Other packages import the real one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import awkward  # noqa: F401  vector imports it too: while the stand-in is there, little is imported


class _StandIn(ModuleType):
    """A module that is imported when one of its attributes is used."""

    def __getattr__(self, attribute: str) -> Any:
        self.withdraw()
        return getattr(importlib.import_module(self.__name__), attribute)

    def withdraw(self) -> None:
        """Leave the name to the real module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _imported() -> Any:
    """``vector`` with a stand-in of SymPy, unless one of the two is there already."""
    if {"vector", "sympy"} & set(sys.modules) or importlib.util.find_spec("sympy") is None:
        return importlib.import_module("vector")
    stand_in = sys.modules["sympy"] = _StandIn("sympy")
    try:
        return importlib.import_module("vector")
    finally:
        stand_in.withdraw()


vector: Any = _imported()
