"""PTX as C, so that what a GPU is given runs on a processor: an instruction is a line, and the threads of a block take turns.

A thread runs until it has to wait for others of its warp; which of those that can run is the next is asked for, for on a GPU nobody
knows. As nothing but ``bar.warp.sync`` puts what threads do with memory in an order, it is also seen whether between two of these a
thread reads what another may have changed, or two leave different numbers in a place.

PTX says what its instructions do to the bit (NVIDIA, "Parallel Thread Execution ISA"), except ``rcp.approx``, from which NVIDIA's
own functions start to iterate and which is as exact here as its format allows. What the assembler makes of PTX is not seen: it may
fuse a multiplication with an addition where PTX leaves that open. An instruction that is not known here is an error.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from compilers import compile_c
from warps_in_c import BLOCK, MEETINGS, ORDER, PRELUDE, THREADS

#: Which thread that can run does so next.
FORWARDS, BACKWARDS, ANY = range(3)
CLASSES = {
    "pred": "pred",
    "b8": "u8",
    "b16": "u16",
    "b32": "u32",
    "b64": "u64",
    "f32": "f32",
    "f64": "f64",
}
TYPES = (
    CLASSES
    | {name: name for name in ("u8", "u16", "u32", "u64", "s32", "s64")}
    | {"s16": "int16_t"}
)
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
#: Of numbers, or where one of them is none: the opposite does not hold.
UNORDERED = {"equ": "!(a < b || a > b)", "neu": "a != b"} | {
    f"{name}u": f"!(a {opposite} b)"
    for name, opposite in (("lt", ">="), ("le", ">"), ("gt", "<="), ("ge", "<"))
}
ARITHMETIC = {"add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "rem": "a % b"}
LOGIC = {"and": "a & b", "or": "a | b", "xor": "a ^ b"}


class Translation:
    """C of the kernel and the functions of a module in PTX; ``parameters`` is the number of the kernel's.

    If ``watched``, it looks at the order of what threads do with memory.
    """

    prelude = PRELUDE

    def __init__(self, ptx: str, watched: bool = False) -> None:
        self.classes: dict[str, str] = {}
        self.tables: set[str] = set()
        self.watched = watched
        self.lines: list[str] = [self.prelude]
        self.parameters, self.result = 0, ""
        for statement in statements(ptx):
            self._statement(statement)
        self.lines.append(self.end())

    def end(self) -> str:
        """C of how threads run."""
        return (
            MEETINGS + THREADS + (ORDER if self.watched else "static void in_step(void) {}") + BLOCK
        )

    def _statement(self, text: str) -> None:
        if text in ("{", "}"):
            self.lines.append(text)
        elif text.endswith(":"):
            self.lines.append(f"{name_of(text[:-1])}: ;")
        elif text.startswith((".visible .entry", ".func")):
            self._head(text)
        elif text.startswith((".version", ".target", ".address_size", ".common", ".pragma")):
            pass
        elif text.startswith(".global"):
            name, table = re.fullmatch(
                r"\.global \.align 8 \.b8 (\w+)(\[\d+\] = .*)", text
            ).groups()  # type: ignore[union-attr]
            self.tables.add(name)
            self.lines.append(f"static const _Alignas(8) u8 {name}{table};")
        elif text.startswith(".param"):
            self.lines.append(f"u64 {text.split()[-1]} = 0;")
        elif text.startswith(".local"):  # what was not written has no meaning
            name, size = re.fullmatch(r"\.local \.align 8 \.b8 (\w+)\[(\d+)\]", text).groups()  # type: ignore[union-attr]
            self.lines.append(f"_Alignas(8) u8 {name}[{size}]; memset({name}, 0xaa, {size});")
        elif text.startswith(".reg"):
            kind, names = re.fullmatch(r"\.reg \.(\w+) (.*)", text).groups()  # type: ignore[union-attr]
            for name in names.split(","):
                self._declare(kind, name.strip())
        else:
            self._instruction(text)

    def _head(self, text: str) -> None:
        given = re.findall(r"\.param (?:\.align \d+ )?\.\w+ (\w+)", text)
        if text.startswith(".visible"):
            self.parameters, self.result = len(given), ""
            self.lines += [f"#define {name} given[{number}]" for number, name in enumerate(given)]
            self.lines.append("static void kernel(const u64 *given, u32 r_tid_x) {")
        else:
            result, name = re.match(r"\.func \(\.param \.\w+ (\w+)\) (\w+)", text).groups()  # type: ignore[union-attr]
            arguments = ", ".join(f"u64 {argument}" for argument in given[1:])
            body = ";" if text.endswith(";") else f" {{ u64 {result} = 0;"
            self.lines.append(f"static u64 {name}({arguments}){body}")
            self.result = result

    def _declare(self, kind: str, name: str) -> None:
        several = re.fullmatch(r"(%\w+)<(\d+)>", name)
        names = [f"{several[1]}{k}" for k in range(int(several[2]))] if several else [name]
        self.classes |= dict.fromkeys(names, kind)
        self.lines.append(f"{CLASSES[kind]} {', '.join(map(name_of, names))};")

    def _instruction(self, text: str) -> None:
        guard, operation, rest = self.parts_of(text)
        line = self._line(
            operation.split("."), [part.strip() for part in re.split(r",(?![^{(]*[})])", rest)]
        )
        self.lines.append(f"if ({name_of(guard)}) {{ {line} }}" if guard else line)

    @staticmethod
    def parts_of(text: str) -> Any:
        """Of an instruction: the register that it is executed on condition of, its name, and its operands."""
        return re.fullmatch(r"(?:@(!?%\w+)\s+)?([\w.]+)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]

    def _line(self, words: list[str], parts: list[str]) -> str:
        name, kind = words[0], words[-1]
        if name == "bra":
            return f"goto {name_of(parts[0])};"
        if name in ("bar", "shfl", "vote", "redux"):
            return self._together(name, words, parts)
        if name == "ret":
            return f"return {self.result};"
        if name == "call":
            into, function, arguments = parts
            return f"{into.strip('()')} = {function}{arguments};"
        if name in ("ld", "st"):
            return self._memory(name, words, parts)
        if name == "mov" and "{" in "".join(parts):
            return self._halves(parts)
        if name == "setp":
            a, b = (self._get(part, kind) for part in parts[1:])
            how = words[1]
            formula = UNORDERED[how] if how in UNORDERED else f"a {COMPARED[how]} b"
            return f"{{ {TYPES[kind]} a = {a}, b = {b}; {name_of(parts[0])} = {formula}; }}"
        if name == "selp":
            chosen = (
                f"{name_of(parts[3])} ? {self._get(parts[1], kind)} : {self._get(parts[2], kind)}"
            )
            return self._set(parts[0], kind, chosen)
        if name == "cvt":
            return self._set(parts[0], words[-2], converted(words[1:], self._get(parts[1], kind)))
        values = [self._get(part, kind) for part in parts[1:]]
        given = "".join(
            f"{TYPES[kind]} {letter} = {value}; "
            for letter, value in zip("abcd", values, strict=False)
        )
        result, formula = (
            ("b32" if name in ("popc", "clz") else kind),
            self._formula(name, words[1:-1], kind),
        )
        if name == "mul" and "wide" in words:
            result = f"{kind[0]}{2 * int(kind[1:])}"
            formula = f"({TYPES[result]})a * b"
        return f"{{ {given}{self._set(parts[0], result, formula)} }}"

    def _together(self, name: str, words: list[str], parts: list[str]) -> str:
        """What threads of a warp do together: they arrive, wait, and see what the others brought."""
        into, given = (
            ("", parts) if name == "bar" else (name_of(parts[0].partition("|")[0]), parts[1:])
        )
        mask, place = self._get(given[-1], "b32"), len(self.lines)
        brought = "0" if name == "bar" else self._get(given[0], "pred" if name == "vote" else "b32")
        self.lines.append(f"arrive({mask}, {brought}, {place}, {int(name == 'bar')});")
        self.wait(mask, place)
        if name == "bar":
            return ""
        if name == "vote":
            return f"{into} = votes({mask});"
        if name == "redux" and words[1:] == ["sync", "min", "u32"]:
            return f"{into} = least_of({mask});"
        of = {"bfly": "of_partner", "idx": "of_thread"}[words[2]]
        return f"{into} = {of}({self._get(given[1], 'b32')});"

    def wait(self, mask: str, place: int) -> None:
        """C that waits for the threads."""
        self.lines.append(f"wait_for({mask}, {place});")

    def _memory(self, name: str, words: list[str], parts: list[str]) -> str:
        kind, place = words[-1], parts[name == "ld"]
        if "v2" in words:
            lower, upper = parts[name != "ld"].strip("{}").split(",")
            whole = int(kind[1:]) // 8
            both = ((lower, place), (upper, further(place, whole)))
            one = [word for word in words if word != "v2"]
            return " ".join(
                self._memory(name, one, [at, each.strip()] if name == "st" else [each.strip(), at])
                for each, at in both
            )
        if name == "ld":
            line = self._set(parts[0], kind, f"*({TYPES[kind]} *)({address(place)})")
        else:
            line = f"*({TYPES[kind]} *)({address(place)}) = {self._get(parts[1], kind)};"
        if not self.watched or words[1] == "param":
            return line
        bits = f"*(u{kind[1:]} *)at"
        if name == "ld":
            return f"{{ char *at = {address(place)}; {line} read_at((u64)at, __LINE__); }}"
        return f"{{ char *at = {address(place)}; u64 before = {bits}; {line} written_at((u64)at, before, {bits}, __LINE__); }}"

    def _formula(self, name: str, how: list[str], kind: str) -> str:
        real, bits = kind.startswith("f"), int(kind[1:]) if kind[1:].isdigit() else 1
        known = {
            "mov": "a", "cvta": "a", "abs": "fabs(a)", "neg": "-a", "copysign": "copysign(b, a)", "sqrt": "sqrt(a)", "rcp": "1.0 / a",
            "popc": "__builtin_popcountll(a)", "clz": "a ? __builtin_clzll(a) : 64", "not": "!a" if bits == 1 else "~a",
            "fma": "fma(a, b, c)", "bfi": "inserted(a, b, c, d)", "prmt": "permuted(a, b, c)",
            "shl": f"b >= {bits} ? 0 : a << b", "shr": f"a >> (b >= {bits} ? {bits - 1} : b)",
            "min": "fmin(a, b)" if real else "a < b ? a : b", "max": "fmax(a, b)" if real else "a > b ? a : b",
        } | ARITHMETIC | LOGIC  # fmt: skip
        if how == ["approx", "ftz"] and name == "rcp":
            return "rcp_approx(a)"
        if set(how) - {"rn", "lo", "to", "global", "local", "wide"} or name not in known:
            raise ValueError(f"not known: {name} {how} {kind}")
        if name == "shr" and kind[0] == "u":
            return f"b >= {bits} ? 0 : a >> b"
        return known[name]

    def _halves(self, parts: list[str]) -> str:
        """Two registers of 32 bits to one of 64, or back."""
        low, high = (
            [part.strip("{} ") for part in whole.split(",")] for whole in parts if "{" in whole
        ).__next__()
        if "{" in parts[0]:
            value = self._get(parts[1], "b64")
            return f"{{ u64 a = {value}; {self._set(low, 'b32', 'a')} {self._set(high, 'b32', 'a >> 32')} }}"
        return self._set(
            parts[0], "b64", f"(u64){self._get(high, 'b32')} << 32 | {self._get(low, 'b32')}"
        )

    def _get(self, text: str, kind: str) -> str:
        """An operand, seen as a type."""
        if text.startswith(("0d", "0f")):
            return f"{'f64' if text[1] == 'd' else 'f32'}_of(0x{text[2:]}u)"
        if not text.startswith("%"):
            return (
                f"(u64)&{text}"
                if text[0] == "_" or text in self.tables
                else f"({TYPES[kind]}){text}{'u' if text[0] != '-' else ''}"
            )
        own = self.classes.get(text, "b32")
        if own[0] == "f" and kind[0] != "f":
            return f"bits{own[1:]}({name_of(text)})"
        if own[0] != "f" and kind[0] == "f":
            return f"{kind}_of({name_of(text)})"
        return f"({TYPES[kind]}){name_of(text)}"

    def _set(self, register: str, kind: str, value: str) -> str:
        own = self.classes[register]
        if own[0] == "f" and kind[0] != "f":
            value = f"{own}_of({value})"
        elif own[0] != "f" and kind[0] == "f":
            value = f"bits{kind[1:]}({value})"
        elif kind[0] != "f" and own != "pred":
            value = f"({TYPES[kind]})({value})"
        return f"{name_of(register)} = {value};"


def statements(ptx: str) -> Iterator[str]:
    """Statements without their semicolons, braces of blocks, labels with their colons, and heads of functions."""
    text, head = "", False
    for raw in ptx.splitlines():
        line = raw.partition("//")[0].strip()
        head = head or line.startswith((".visible .entry", ".func"))
        if not line:
            continue
        if head and line in ("{", ";"):
            yield " ".join((text + line.strip("{")).split())
            text, head = "", False
        elif (not head and line in ("{", "}")) or (
            not head
            and not text
            and (line.endswith(":") or line.startswith((".version", ".target", ".address")))
        ):
            yield line
        else:
            text = f"{text} {line}".strip()
            if not head and text.endswith(";"):
                yield " ".join(text[:-1].split())
                text = ""


def name_of(text: str) -> str:
    """In C."""
    return text.replace("%", "r_").replace("$", "").replace(".", "_")


def address(text: str) -> str:
    """Of ``[register+offset]`` or ``[parameter+offset]``."""
    base, offset = re.fullmatch(r"\[([%\w]+)(?:\+(-?\d+))?\]", text).groups()  # type: ignore[union-attr]
    return f"(char *){'' if base[0] == '%' else '&'}{name_of(base)} + {offset or 0}"


def further(place: str, distance: int) -> str:
    """The address ``distance`` bytes beyond another."""
    base, offset = re.fullmatch(r"\[([%\w]+)(?:\+(-?\d+))?\]", place).groups()  # type: ignore[union-attr]
    return f"[{base}+{int(offset or 0) + distance}]"


def converted(words: list[str], value: str) -> str:
    """``cvt`` of a value from the last type to the one before."""
    *how, into, kind = words
    if into == "s64" and kind == "f64" and how == ["rzi"]:
        return f"whole({value})"
    if into == kind == "f64" and how == ["rzi"]:
        return f"trunc({value})"
    if (into[0] == "f" and how == ["rn"]) or (into[0] != "f" and kind[0] != "f" and not how):
        return f"({TYPES[into]}){value}"
    raise ValueError(f"not known: cvt {words}")


def flat(value: Any) -> Iterator[int]:
    """An argument as numba gives it to a kernel, in words of 64 bits."""
    if isinstance(value, tuple):
        for member in value:
            yield from flat(member)
    elif isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        yield from (
            0,
            0,
            value.size,
            value.itemsize,
            value.ctypes.data,
            *value.shape,
            *value.strides,
        )
    elif isinstance(value, float):
        yield int(np.float64(value).view(np.uint64))
    else:
        yield int(value) % 2**64


class PtxKernel:
    """A kernel in PTX, called like numba's: ``kernel[blocks, threads](...)``.

    Parameters
    ----------
    folder, name
        Where its C and what is made of it are put, and what they are called.
    watched
        Whether to count the places in memory where it would matter which of a team's threads comes first.
    """

    def __init__(self, ptx: str, folder: Path, name: str, watched: bool = False) -> None:
        translated = Translation(ptx, watched)
        name += "_watched" if watched else ""
        source, library = folder / f"{name}.c", folder / f"{name}.so"
        source.write_text("\n".join(translated.lines))
        compile_c(source, library)
        self.parameters, self.library = translated.parameters, ctypes.CDLL(str(library))
        self.calls, self.order = 0, FORWARDS

    @property
    def disorder(self) -> list[int]:
        """Places, and the lines of C of the last read and the last write of the first of them."""
        return list((ctypes.c_uint64 * 3).in_dll(self.library, "disorder"))

    def __getitem__(self, shape: tuple[int, ...]) -> Callable[..., None]:
        blocks, threads = shape

        def launch(*given: Any) -> None:
            words = np.array([*flat(given)], np.uint64)
            assert len(words) == self.parameters
            for block in range(blocks):
                at = ctypes.c_void_p(words.ctypes.data)
                stuck = self.library.run_block(at, blocks, block, threads, self.order)
                assert not stuck, "some threads wait for others, which ended or wait for them"
            self.calls += 1

        return launch
