"""``vector`` without the import of SymPy, which is there for those who want it."""

import subprocess
import sys

import pytest

CLUSTER = """
import sys
import djservice as dj
events = dj.read(dj.examples.path("ZHllbb_200"), entries=(0, 2))
dj.observables.dijet_mass(dj.cluster(events, radius=0.7, rigidity=1.0, trees=2, seed=1).jets)
assert "vector" in sys.modules and "sympy" not in sys.modules
"""

SYMPY_FIRST = """
import sympy
from djservice.core.vector_library import vector
assert vector.sympy is sympy
"""

SYMBOLS = """
import sympy, vector
x, y = sympy.symbols("x y", real=True)
assert vector.VectorSympy2D(x=x, y=y).rho == sympy.sqrt(x**2 + y**2)
assert sympy.__spec__.name == "sympy"
"""


@pytest.mark.parametrize("program", [CLUSTER, SYMPY_FIRST], ids=["clustering", "sympy first"])
def test_sympy_waits_for_a_symbolic_vector(program: str) -> None:
    pytest.importorskip("sympy")
    subprocess.run([sys.executable, "-c", program + SYMBOLS], check=True)
