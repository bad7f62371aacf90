"""PTX as C, so that what a GPU is given runs on a processor: an instruction is a line, and the threads of a block take turns.

PTX says what its instructions do to the bit (NVIDIA, "Parallel Thread Execution ISA"), except ``rcp.approx``, from which NVIDIA's
own functions start to iterate and which is as exact here as its format allows. What the assembler makes of PTX is not seen: it may
fuse a multiplication with an addition where PTX leaves that open. An instruction that is not known here is an error.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

PRELUDE = r"""
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
typedef uint8_t pred; typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int32_t s32; typedef int64_t s64; typedef float f32; typedef double f64;
static inline f64 f64_of(u64 x) { f64 y; memcpy(&y, &x, 8); return y; }
static inline u64 bits64(f64 x) { u64 y; memcpy(&y, &x, 8); return y; }
static inline f32 f32_of(u32 x) { f32 y; memcpy(&y, &x, 4); return y; }
static inline u32 bits32(f32 x) { u32 y; memcpy(&y, &x, 4); return y; }
static inline f64 rcp_approx(f64 x) { return f64_of(bits64(1.0 / f64_of(bits64(x) >> 32 << 32)) >> 32 << 32); }
static inline s64 whole(f64 x) { return x != x ? INT64_MIN : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (s64)x; }
static inline u32 inserted(u32 a, u32 b, u32 at, u32 width) {
    u32 mask = (width >= 32 ? ~0u : (1u << width) - 1) << at; return (b & ~mask) | (a << at & mask);
}
static inline u32 permuted(u32 a, u32 b, u32 how) {
    u64 both = (u64)b << 32 | a; u32 found = 0;
    for (int k = 0; k < 4; k++) {
        u32 byte = both >> 8 * (how >> 4 * k & 7) & 255;
        found |= (how >> 4 * k & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * k;
    }
    return found;
}
static u32 r_nctaid_x, r_ctaid_x, r_ntid_x, r_dynamic_smem_size;
static _Alignas(8) u8 shared_memory[48 * 1024];
static void wait_for_others(void);
"""
#: A thread runs until the others are to come as far as it is. What nobody wrote into shared memory has no meaning.
BLOCK = r"""
static const u64 *arguments;
static ucontext_t here, *threads;
static u8 *ended;
static u32 running;
static void wait_for_others(void) { swapcontext(&threads[running], &here); }
static void run_thread(void) { u32 own = running; kernel(arguments, own); ended[own] = 1; }
int run_block(const u64 *given, u32 blocks, u32 block, u32 size, u32 bytes, int backwards) {
    const size_t stack = 1 << 20;
    u8 *stacks = malloc(size * stack);
    arguments = given; threads = calloc(size, sizeof *threads); ended = calloc(size, 1);
    r_nctaid_x = blocks; r_ctaid_x = block; r_ntid_x = size; r_dynamic_smem_size = bytes;
    memset(shared_memory, 0xaa, sizeof shared_memory);
    for (u32 k = 0; k < size; k++) {
        getcontext(&threads[k]);
        threads[k].uc_stack.ss_sp = stacks + k * stack; threads[k].uc_stack.ss_size = stack; threads[k].uc_link = &here;
        makecontext(&threads[k], run_thread, 0);
    }
    u32 left = size, stuck = 0;
    while (left && !stuck) {
        for (u32 k = 0; k < size; k++) { running = backwards ? size - 1 - k : k; swapcontext(&here, &threads[running]); }
        left = 0;
        for (u32 k = 0; k < size; k++) left += !ended[k];
        stuck = left && left < size;
    }
    free(stacks); free(threads); free(ended);
    return stuck;
}
"""
CLASSES = {"pred": "pred", "b8": "u8", "b16": "u16", "b32": "u32", "b64": "u64", "f32": "f32", "f64": "f64"}
TYPES = CLASSES | {name: name for name in ("u8", "u16", "u32", "u64", "s32", "s64")} | {"s16": "int16_t"}
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
#: Of numbers, or where one of them is none: the opposite does not hold.
UNORDERED = {"equ": "!(a < b || a > b)", "neu": "a != b"} | {
    f"{name}u": f"!(a {opposite} b)" for name, opposite in (("lt", ">="), ("le", ">"), ("gt", "<="), ("ge", "<"))
}
ARITHMETIC = {"add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "rem": "a % b"}
LOGIC = {"and": "a & b", "or": "a | b", "xor": "a ^ b"}


def printed(python: Path, *arguments: str | Path) -> str:
    """What an interpreter prints, for which numba is as it is by itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([python, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-5000:])
    return done.stdout


def kernels_in_ptx(python: Path) -> dict[str, str]:
    """PTX of each kernel, from an interpreter that has numba-cuda."""
    _, *modules = re.split(r"(?=\.version)", printed(python, Path(__file__).with_name("to_ptx.py")))
    return dict(zip(("prepare_events", "grow_trees", "grow_in_blocks"), modules, strict=True))


class Translation:
    """C of the kernel and the functions of a module in PTX; ``parameters`` is the number of the kernel's."""

    prelude = PRELUDE

    def __init__(self, ptx: str) -> None:
        self.classes: dict[str, str] = {}
        self.lines: list[str] = [self.prelude]
        self.parameters, self.result = 0, ""
        for statement in statements(ptx):
            self._statement(statement)
        self.lines.append(self.end())

    def end(self) -> str:
        """C of how threads run."""
        return BLOCK

    def _statement(self, text: str) -> None:
        if text in ("{", "}"):
            self.lines.append(text)
        elif text.endswith(":"):
            self.lines.append(f"{name_of(text[:-1])}: ;")
        elif text.startswith((".visible .entry", ".func")):
            self._head(text)
        elif text.startswith((".version", ".target", ".address_size", ".common", ".pragma")):
            pass
        elif text.startswith(".param"):
            self.lines.append(f"u64 {text.split()[-1]} = 0;")
        elif text.startswith(".extern .shared"):
            self.lines.append(f"#define {text.split()[-1].partition('[')[0]} shared_memory[0]")
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
        line = self._line(operation.split("."), [part.strip() for part in re.split(r",(?![^{(]*[})])", rest)])
        self.lines.append(f"if ({name_of(guard)}) {{ {line} }}" if guard else line)

    @staticmethod
    def parts_of(text: str) -> Any:
        """Of an instruction: the register that it is executed on condition of, its name, and its operands."""
        return re.fullmatch(r"(?:@(!?%\w+)\s+)?([\w.]+)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]

    def _line(self, words: list[str], parts: list[str]) -> str:
        name, kind = words[0], words[-1]
        if name == "bra":
            return f"goto {name_of(parts[0])};"
        if name == "bar":
            return "wait_for_others();"
        if name == "ret":
            return f"return {self.result};"
        if name == "call":
            into, function, arguments = parts
            return f"{into.strip('()')} = {function}{arguments};"
        if name == "ld":
            return self._set(parts[0], kind, f"*({TYPES[kind]} *)({address(parts[1])})")
        if name == "st":
            return f"*({TYPES[kind]} *)({address(parts[0])}) = {self._get(parts[1], kind)};"
        if name == "mov" and "{" in "".join(parts):
            return self._halves(parts)
        if name == "setp":
            a, b = (self._get(part, kind) for part in parts[1:])
            how = words[1]
            formula = UNORDERED[how] if how in UNORDERED else f"a {COMPARED[how]} b"
            return f"{{ {TYPES[kind]} a = {a}, b = {b}; {name_of(parts[0])} = {formula}; }}"
        if name == "selp":
            chosen = f"{name_of(parts[3])} ? {self._get(parts[1], kind)} : {self._get(parts[2], kind)}"
            return self._set(parts[0], kind, chosen)
        if name == "cvt":
            return self._set(parts[0], words[-2], converted(words[1:], self._get(parts[1], kind)))
        values = [self._get(part, kind) for part in parts[1:]]
        given = "".join(f"{TYPES[kind]} {letter} = {value}; " for letter, value in zip("abcd", values, strict=False))
        result, formula = ("b32" if name in ("popc", "clz") else kind), self._formula(name, words[1:-1], kind)
        if name == "mul" and "wide" in words:
            result = f"{kind[0]}{2 * int(kind[1:])}"
            formula = f"({TYPES[result]})a * b"
        return f"{{ {given}{self._set(parts[0], result, formula)} }}"

    def _formula(self, name: str, how: list[str], kind: str) -> str:
        real, bits = kind.startswith("f"), int(kind[1:]) if kind[1:].isdigit() else 1
        known = {
            "mov": "a", "cvta": "a", "abs": "fabs(a)", "neg": "-a", "sqrt": "sqrt(a)", "rcp": "1.0 / a",
            "popc": "__builtin_popcountll(a)", "clz": "a ? __builtin_clzll(a) : 64", "not": "!a" if bits == 1 else "~a",
            "fma": "fma(a, b, c)", "bfi": "inserted(a, b, c, d)", "prmt": "permuted(a, b, c)",
            "shl": f"b >= {bits} ? 0 : a << b", "shr": f"a >> (b >= {bits} ? {bits - 1} : b)",
            "min": "fmin(a, b)" if real else "a < b ? a : b", "max": "fmax(a, b)" if real else "a > b ? a : b",
        } | ARITHMETIC | LOGIC  # fmt: skip
        if how == ["approx", "ftz"] and name == "rcp":
            return "rcp_approx(a)"
        if set(how) - {"rn", "lo", "to", "global", "shared", "local", "wide"} or name not in known:
            raise ValueError(f"not known: {name} {how} {kind}")
        if name == "shr" and kind[0] == "u":
            return f"b >= {bits} ? 0 : a >> b"
        return known[name]

    def _halves(self, parts: list[str]) -> str:
        """Two registers of 32 bits to one of 64, or back."""
        low, high = ([part.strip("{} ") for part in whole.split(",")] for whole in parts if "{" in whole).__next__()
        if "{" in parts[0]:
            value = self._get(parts[1], "b64")
            return f"{{ u64 a = {value}; {self._set(low, 'b32', 'a')} {self._set(high, 'b32', 'a >> 32')} }}"
        return self._set(parts[0], "b64", f"(u64){self._get(high, 'b32')} << 32 | {self._get(low, 'b32')}")

    def _get(self, text: str, kind: str) -> str:
        """An operand, seen as a type."""
        if text.startswith(("0d", "0f")):
            return f"{'f64' if text[1] == 'd' else 'f32'}_of(0x{text[2:]}u)"
        if not text.startswith("%"):
            return f"(u64)&{text}" if text[0] == "_" else f"({TYPES[kind]}){text}{'u' if text[0] != '-' else ''}"
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
            not head and not text and (line.endswith(":") or line.startswith((".version", ".target", ".address")))
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
        yield from (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
    elif isinstance(value, float):
        yield int(np.float64(value).view(np.uint64))
    else:
        yield int(value) % 2**64


#: As a GPU does it: nothing is fused, integers wrap around, any bits may be seen as another type.
OPTIONS = ("-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv", "-w", "-shared", "-fPIC")


class PtxKernel:
    """A kernel in PTX, called like numba's: ``kernel[blocks, threads](...)``.

    Parameters
    ----------
    folder, name
        Where its C and what is made of it are put, and what they are called.
    """

    def __init__(self, ptx: str, folder: Path, name: str) -> None:
        translated = Translation(ptx)
        source, library = folder / f"{name}.c", folder / f"{name}.so"
        source.write_text("\n".join(translated.lines))
        subprocess.run(["gcc", *OPTIONS, source, "-o", library, "-lm"], check=True)
        self.parameters, self.block = translated.parameters, ctypes.CDLL(str(library)).run_block
        self.calls, self.backwards = 0, False

    def __getitem__(self, shape: tuple[int, ...]) -> Callable[..., None]:
        blocks, threads, _, shared = (*shape, 0, 0)[:4]

        def launch(*given: Any) -> None:
            words = np.array([*flat(given)], np.uint64)
            assert len(words) == self.parameters
            for block in range(blocks):
                at = ctypes.c_void_p(words.ctypes.data)
                stuck = self.block(at, blocks, block, threads, shared, self.backwards)
                assert not stuck, "some threads of a block ended while others waited for them"
            self.calls += 1

        return launch
