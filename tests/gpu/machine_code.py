"""What NVIDIA's assembler makes of PTX: the instructions that a GPU executes, and how often it does by the model of its warps.

Each statement of PTX gets a line number, which the assembler hands on to the instructions that come from it. Such an instruction
is executed as often as the model issues its statement (tests/gpu/warp_model.py). Where a loop ends, a few instructions are counted
as those of the loop.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tools
from numpy.typing import NDArray

#: Bytes of an instruction.
BYTES = 16
#: Kinds of instructions, by how their names begin; the others count with integers.
KINDS = {
    "moves": ("IMAD.MOV", "MOV", "UMOV", "R2UR", "S2R", "S2UR", "CS2R"),
    "floats": ("DFMA", "DADD", "DMUL", "DSETP", "FFMA"),
    "branches": (
        "BRA", "BSSY", "BSYNC", "WARPSYNC", "BREAK", "EXIT", "CALL", "RET", "NOP", "BMOV",
    ),
    "comparisons": ("ISETP", "UISETP", "PLOP3", "FSETP"),
    "selections": ("SEL", "FSEL", "USEL"),
    "spills": ("LDL", "STL"),
    "memory": ("LD", "ST", "ULDC"),
    "of the warp": ("SHFL", "VOTE", "REDUX"),
    "conversions": ("I2F", "F2I", "MUFU"),
}  # fmt: skip
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z0-9_.]+)(.*?);")
_LINE = re.compile(r"\t//## File .*, line (\d+)")
#: Lines that are a statement without a semicolon.
_WHOLE = (".version", ".target", ".address_size")
_LABEL = re.compile(r"(\.L_x_\d+):")


class MachineCode:
    """The instructions of a kernel.

    Attributes
    ----------
    instructions
        The number of the PTX statement and the name of each. The number is -1 for what is not executed but where threads of a warp
        have parted, and for functions that divide numbers beyond the usual.
    places
        Where in Python each statement comes from: a file and a line; or None.
    stack
        Bytes of registers, of a thread, for which there is a place in memory.
    """

    def __init__(self, ptx: str, folder: Path, registers: int) -> None:
        source, code = folder / "numbered.ptx", folder / "numbered.cubin"
        text, self.places = numbered(ptx)
        source.write_text(text)
        assembler, disassembler = tools.ptxas(), tools.nvdisasm()
        options = ["-arch=sm_90", "-lineinfo", "-v", f"-maxrregcount={registers}"]
        made = subprocess.run(
            [assembler, *options, source, "-o", code], check=True, capture_output=True, text=True
        )
        self.stack = max(map(int, re.findall(r"(\d+) bytes stack frame", made.stderr)))
        text = subprocess.run(
            [disassembler, "-g", "-c", code], check=True, capture_output=True, text=True
        ).stdout
        self.instructions = list(_instructions(text))

    @property
    def size(self) -> int:
        """Bytes of the code."""
        return BYTES * len(self.instructions)

    def counts(self, executed: NDArray[np.float64]) -> Counter[str]:
        """How many instructions of each kind are executed, if each statement is so often."""
        found: Counter[str] = Counter()
        for statement, name in self.instructions:
            found[kind_of(name)] += executed[statement] if statement >= 0 else 0.0
        return found

    def functions(self, executed: NDArray[np.float64]) -> Counter[str]:
        """How many instructions of each function of Python are executed, if each statement is so often."""
        found: Counter[str] = Counter()
        for statement, _ in self.instructions:
            place = self.places[statement] if statement >= 0 else None
            if place is not None:
                found[function_at(*place)] += executed[statement]
        return found

    def in_use(self, executed: NDArray[np.float64], least: float) -> int:
        """Bytes of the instructions that are executed so often at least."""
        return BYTES * sum(
            statement >= 0 and executed[statement] >= least for statement, _ in self.instructions
        )


@functools.cache
def function_at(file: str, line: int) -> str:
    """The function at a line of a file; an empty name if there is none."""
    nodes = ast.walk(ast.parse(Path(file).read_text()))
    found = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    around = [node for node in found if node.lineno <= line <= (node.end_lineno or line)]
    return f"{Path(file).stem}.{around[-1].name}" if around else ""


def kind_of(name: str) -> str:
    """The kind of an instruction."""
    return next((kind for kind, names in KINDS.items() if name.startswith(names)), "integers")


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Those of disassembled code, and the statements that they come from."""
    aside = set(re.findall(r"BRA\.DIV[^;]*`\((\.L_x_\d+)\)", text))  # where threads have parted
    statement, is_aside, goes_on, in_code = -1, False, True, False
    for line in text.splitlines():
        if label := _LABEL.match(line):
            is_aside = label[1] in aside or (is_aside and goes_on)
        elif line.lstrip().startswith(".section"):
            in_code, statement = ".text." in line, -1
        elif line.startswith("$__internal"):
            statement = -1
        elif place := _LINE.match(line):
            statement = int(place[1]) - 1
        elif in_code and (found := _INSTRUCTION.match(line)):
            guard, name, _ = found.groups()
            goes_on = (
                bool(guard) or name == "BRA.DIV" or not name.startswith(("BRA", "RET", "EXIT"))
            )
            yield -1 if is_aside else statement, name


def numbered(ptx: str) -> tuple[str, list[tuple[str, int] | None]]:
    """PTX in which each statement has its number as a line, from 1 on; and where in Python each comes from, if the PTX says it."""
    files = dict(re.findall(r'\.file\s+(\d+)\s+"(.*)"', ptx))
    lines: list[str] = []
    places: list[tuple[str, int] | None] = []
    place, begun, in_head = None, False, False
    for raw in ptx.partition("\t.section")[0].splitlines():
        line = raw.partition("//")[0].strip()
        if found := re.match(r"\.loc\s+(\d+)\s+(\d+)", line):
            place = files[found[1]], int(found[2])
        if not line or line.startswith((".loc", ".file")):
            continue
        in_head = in_head or line.startswith((".visible .entry", ".func"))
        if not in_head and not begun and line[0] not in ".{}" and line[-1] != ":":
            places.append(place)
            lines.append(f".loc 1 {len(places)} 0")
        lines.append(raw)
        begun = not in_head and line[-1] not in ";{}:" and not line.startswith(_WHOLE)
        in_head = in_head and line not in ("{", ";")
    text = without_debugging("\n".join(lines))
    return text.replace(".address_size 64", '.address_size 64\n.file 1 "ptx"', 1), places


def without_lines(ptx: str) -> str:
    """PTX that says nothing of the source it comes from."""
    text = ptx.partition("\t.section")[0]
    return without_debugging(re.sub(r"(?m)^\s*\.(loc|file)\s.*\n", "", text))


def without_debugging(ptx: str) -> str:
    """PTX whose target is not one for a debugger."""
    return ptx.replace(", debug\n", "\n", 1)
