"""How PTX would run on a multiprocessor: a model of what its warps issue and of the memory that they touch; no times.

The threads of a warp execute a block of instructions together. Where a branch parts them, they go on one way after the other and
together again where all ways meet (the immediate post-dominator; NVIDIA does not say what its assembler does). Warps take turns.
What the threads that are together read with one instruction is one request; each line of 128 bytes in it takes the cache a cycle.
Caches keep the lines that were used last, by sectors of 32 bytes: the first level of one multiprocessor, and its share of the second.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compilers import compile_c
from ptx_as_c import Translation, address, flat, name_of
from warps_in_c import MEETINGS, THREADS

#: Threads in a warp; bytes of the caches: of an H100, what its multiprocessors have at most, and 50 MB shared by 132.
LANES, FIRST_LEVEL, SECOND_LEVEL = 32, 200 * 1024, 380 * 1024

HEAD = r"""
static void at_block(int); static void touched(u64, int);
"""
MODEL = r"""
#define LANES 32
typedef struct { int block; u32 n; u64 at[512]; u8 is_store[512]; } lane;
typedef struct { int block, meets; u32 mask; } part;   /* threads that are together, and where they meet the others */
typedef struct { lane *lanes; part parts[512]; int n; } warp;
typedef struct { u64 tag, used; u8 valid, dirty; } line;
typedef struct { u32 sets, ways; line *lines; } cache;
typedef struct { u64 issued, used, requests, lines, moved, from_memory, to_memory; } tally;
enum { END = -1, RETURN = -2 };
tally counts;
static lane *all;
static u64 clock_;
static cache first_level, second_level;

static void in_step(void) {}
static void let_others_run(void) { abort(); }
static void at_block(int block) { all[running].block = block; leave(); }
static void touched(u64 at, int is_store) {
    lane *l = &all[running];
    if (l->n == 512) abort();
    l->at[l->n] = at; l->is_store[l->n++] = is_store;
}
static int ended(const lane *l) { return threads[l - all].ended; }

static line *look(cache *c, u64 tag, int takes, line *gone) {
    line *set = c->lines + (tag * 0x9E3779B97F4A7C15ull >> 40) % c->sets * c->ways, *oldest = set;
    for (u32 k = 0; k < c->ways; k++) {
        if (set[k].valid && set[k].tag == tag) { set[k].used = ++clock_; return set + k; }
        if (set[k].used < oldest->used) oldest = set + k;
    }
    if (!takes) return 0;
    if (gone) *gone = *oldest;
    *oldest = (line){tag, ++clock_, 0, 0};
    return oldest;
}
static void beyond_first_level(u64 tag, u8 sectors, int is_store) {
    line gone = {0}, *found = look(&second_level, tag, 1, &gone);
    counts.moved += 32 * __builtin_popcount(sectors);
    counts.to_memory += 32 * __builtin_popcount(gone.dirty);
    if (is_store) found->dirty |= sectors; else counts.from_memory += 32 * __builtin_popcount(sectors & ~found->valid);
    found->valid |= sectors;
}
static void request(const u64 *at, u32 n, int is_store) {
    u64 tags[LANES]; u8 sectors[LANES]; u32 m = 0;
    for (u32 k = 0; k < n; k++) {
        u32 j = 0;
        while (j < m && tags[j] != at[k] >> 7) j++;
        if (j == m) { tags[m] = at[k] >> 7; sectors[m++] = 0; }
        sectors[j] |= 1 << (at[k] >> 5 & 3);
    }
    counts.requests++; counts.lines += m;
    for (u32 j = 0; j < m; j++) {
        line *found = look(&first_level, tags[j], !is_store, 0);
        u8 lacking = is_store ? sectors[j] : sectors[j] & ~found->valid;
        if (!is_store) found->valid |= sectors[j];
        if (lacking) beyond_first_level(tags[j], lacking, is_store);
    }
}
static int step(warp *w) {
    while (w->n) {
        part *top = &w->parts[w->n - 1];
        u32 mask = 0; int block = -9;
        for (int k = 0; k < LANES; k++) if (top->mask >> k & 1 && !ended(w->lanes + k)) { mask |= 1u << k; block = w->lanes[k].block; }
        if (mask && top->block < 0) top->block = block;   /* all that parted are back */
        int back = mask && (top->block == top->meets || (top->meets == RETURN && is_main[top->block]));
        if (mask && !back) {
            u32 n = 0, most = 0, own[LANES]; u64 at[LANES];
            for (int k = 0; k < LANES; k++) if (mask >> k & 1) own[n++] = k;
            block = top->block;
            for (u32 i = 0; i < n; i++) {
                lane *l = &w->lanes[own[i]];
                if (l->block != block) abort();
                l->n = 0; run(l - all);
                if (l->n > most) most = l->n;
            }
            executed[block]++; counts.issued += instructions[block]; counts.used += (u64)instructions[block] * n;
            for (u32 p = 0; p < most; p++) {
                u32 m = 0; int is_store = 0;
                for (u32 i = 0; i < n; i++) { lane *l = &w->lanes[own[i]]; if (p < l->n) { at[m++] = l->at[p]; is_store = l->is_store[p]; } }
                request(at, m, is_store);
            }
            int ways[LANES]; u32 masks[LANES], t = 0;
            for (u32 i = 0; i < n; i++) {
                lane *l = &w->lanes[own[i]]; u32 j = 0;
                if (ended(l)) continue;
                while (j < t && ways[j] != l->block) j++;
                if (j == t) { ways[t] = l->block; masks[t++] = 0; }
                masks[j] |= 1u << own[i];
            }
            if (t == 1) top->block = ways[0];
            if (t > 1) {
                int meets = post[block];
                if (meets == END && !is_main[block]) meets = RETURN;
                top->block = meets;
                for (u32 j = 0; j < t; j++) if (ways[j] != meets) {
                    if (w->n == 512) abort();
                    w->parts[w->n++] = (part){ways[j], meets, masks[j]};
                }
            }
            return 1;
        }
        w->n--;
    }
    return 0;
}
void run_multiprocessor(const u64 *given, u32 warps, u32 first_bytes, u32 second_bytes) {
    warp *of = calloc(warps, sizeof *of);
    cache *caches[] = {&first_level, &second_level};
    for (int k = 0; k < 2; k++) {
        caches[k]->ways = 16; caches[k]->sets = (k ? second_bytes : first_bytes) / 128 / 16;
        caches[k]->lines = calloc(caches[k]->sets * 16, sizeof(line));
    }
    r_nctaid_x = 1; r_ctaid_x = 0; r_ntid_x = warps * LANES;
    make_threads(warps * LANES, given);
    all = calloc(warps * LANES, sizeof *all);
    for (u32 k = 0; k < warps * LANES; k++) run(k);
    for (u32 k = 0; k < warps; k++) {
        of[k].lanes = all + k * LANES; of[k].n = 1; of[k].parts[0] = (part){of[k].lanes[0].block, END, ~0u};
    }
    for (int any = 1; any;) { any = 0; for (u32 k = 0; k < warps; k++) any |= step(of + k); }
    free_threads(warps * LANES);
    free(all); free(of); free(first_level.lines); free(second_level.lines);
}
"""


@dataclass(frozen=True)
class Counts:
    """Of a tree, on average.

    Attributes
    ----------
    issued
        Instructions of PTX that a warp issues, divided by its trees.
    used
        Share of the threads of a warp for which an instruction is issued.
    requests, lines
        Requests to the first cache; lines of 128 bytes in these.
    moved, from_memory, to_memory
        Bytes between the caches, from memory, and to it.
    """

    issued: float
    used: float
    requests: float
    lines: float
    moved: float
    from_memory: float
    to_memory: float


class Warps(Translation):
    """C that stops at each block of instructions, and says which memory it touches."""

    prelude = Translation.prelude + HEAD

    def __init__(self, ptx: str) -> None:
        self.sizes: list[int] = []  # instructions of each block
        self.blocks: list[int] = []  # of each instruction
        self.in_main: list[bool] = []
        self.labels: dict[str, int] = {}
        self.ways: list[tuple[int, str | int]] = []
        self.last: int | None = None  # the block whose end is the next line
        self.main = True
        super().__init__(ptx)

    def wait(self, mask: str, place: int) -> None:
        """A block ends where threads wait for others, which are with them."""
        self._new_block()
        self.lines.append(f"wait_for({mask}, {place});")

    def end(self) -> str:
        """The model, with tables of the blocks."""
        columns = {
            "u32 instructions": self.sizes,
            "u8 is_main": list(map(int, self.in_main)),
            "int post": self._meetings(),
        }
        tables = [
            f"static const {name}[] = {{{', '.join(map(str, values))}}};"
            for name, values in columns.items()
        ]
        tables.append(f"u64 executed[{len(self.sizes)}];")
        return "\n".join(tables) + MEETINGS + THREADS + MODEL

    def _meetings(self) -> list[int]:
        """The first block after each that all ways from it come by; -1 if there is none."""
        after: list[set[int]] = [set() for _ in self.sizes]
        for block, way in self.ways:
            after[block].add(self.labels[way] if isinstance(way, str) else way)
        whole = (1 << len(after)) - 1
        by = [
            whole if ways else 1 << block for block, ways in enumerate(after)
        ]  # sets of blocks as bits
        changed = True
        while changed:
            changed = False
            for block in reversed(range(len(after))):
                common = whole
                for way in after[block]:
                    common &= by[way]
                found = 1 << block | (common if after[block] else 0)
                changed, by[block] = changed or found != by[block], found
        meetings = []
        for block, blocks in enumerate(by):
            others = [other for other in range(len(by)) if blocks >> other & 1 and other != block]
            meetings.append(max(others, key=lambda other: by[other].bit_count(), default=-1))
        return meetings

    def _new_block(self) -> None:
        block = len(self.sizes)
        if self.last is not None:
            self.ways.append((self.last, block))
        self.last = block
        self.in_main.append(self.main)
        self.sizes.append(0)
        self.lines.append(f"at_block({block});")

    def _statement(self, text: str) -> None:
        if text.startswith((".visible .entry", ".func")):
            self.main, self.last = text.startswith(".visible"), None
        super()._statement(text)
        if text.endswith(":"):
            self._new_block()
            assert self.last is not None
            self.labels[name_of(text[:-1])] = self.last

    def _instruction(self, text: str) -> None:
        if self.last is None:
            self._new_block()
        guard, operation, rest = self.parts_of(text)
        words = operation.split(".")
        assert self.last is not None
        self.blocks.append(self.last)
        self.sizes[self.last] += 1
        if words[0] in ("ld", "st") and words[1] not in ("param", "shared"):
            place = rest[rest.index("[") : rest.index("]") + 1]
            line = f"touched((u64)({address(place)}), {int(words[0] == 'st')});"
            self.lines.append(f"if ({name_of(guard)}) {{ {line} }}" if guard else line)
        super()._instruction(text)
        if words[0] == "bra":
            self.ways.append((self.last, name_of(rest.strip())))
        if words[0] in ("bra", "ret") and not guard:
            self.last = None
        elif words[0] in ("bra", "call"):
            self._new_block()


class WarpModel:
    """A kernel in PTX, called like numba's, its grid being one multiprocessor.

    ``counts`` are those of the last call, and ``executed`` says how often a warp issued each instruction, divided by its trees.

    Parameters
    ----------
    folder, name
        Where its C and what is made of it are put, and what they are called.
    warps
        On the multiprocessor.
    """

    def __init__(self, ptx: str, folder: Path, name: str, warps: int) -> None:
        translated = Warps(ptx)
        source, library = folder / f"{name}_of_warps.c", folder / f"{name}_of_warps.so"
        source.write_text("\n".join(translated.lines))
        compile_c(source, library)
        self.parameters, self.library, self.warps = (
            translated.parameters,
            ctypes.CDLL(str(library)),
            warps,
        )
        self.blocks, self.number = np.array(translated.blocks), len(translated.sizes)
        self.counts: Counts | None = None
        self.executed = np.zeros(len(self.blocks))

    def __getitem__(self, shape: tuple[int, ...]) -> Callable[..., None]:
        def launch(turn: Any, *given: Any) -> None:
            words = np.array([*flat((turn, *given))], np.uint64)
            assert len(words) == self.parameters and math.prod(shape) == self.warps * LANES
            tally = (ctypes.c_uint64 * 7).in_dll(self.library, "counts")
            blocks = (ctypes.c_uint64 * self.number).in_dll(self.library, "executed")
            before, blocks_before = np.array(tally), np.array(blocks)
            self.library.run_multiprocessor(
                ctypes.c_void_p(words.ctypes.data), self.warps, FIRST_LEVEL, SECOND_LEVEL
            )
            each = (np.array(tally) - before) / len(turn.items)
            self.executed = (np.array(blocks) - blocks_before)[self.blocks] / len(turn.items)
            each[1] /= LANES * each[0]
            self.counts = Counts(*each.tolist())

        return launch
