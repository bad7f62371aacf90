"""The compilers of PTX and of C. What they make is kept, for it takes a minute: of the same sources it is the same.

Of each name the last one is kept, beside the tools.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import tools

from djservice.clustering.kernels import code_cache
from djservice.clustering.kernels.lanes import team

#: As a GPU does it: nothing is fused, integers wrap around, any bits may be seen as another type.
OPTIONS = (
    "-O1",
    "-march=native",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-U_FORTIFY_SOURCE",
    "-w",
    f"-DTEAM={team.TEAM}",
)
VERSIONS = (
    "from importlib.metadata import version; print(*map(version, ('numba-cuda', 'llvmlite')))"
)


def printed(python: Path, *arguments: str | Path) -> str:
    """What an interpreter prints, see :func:`said`."""
    return said(python, *arguments)[0]


def said(python: Path, *arguments: str | Path) -> tuple[str, str]:
    """What an interpreter prints, and what it says beside; numba is for it as it is by itself."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")
    }
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([python, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-5000:])
    return done.stdout, done.stderr


#: Kernels that tests execute.
KERNELS = (
    "prepare_events",
    "grow_trees",
    "grow_slopes",
    "grow_trees_large",
    "grow_slopes_large",
    "grow_usual",
    "grow_plain",
    "summarise_jets",
    "list_constituents",
    "list_members",
    "smallest",
    "smallest_before_ampere",
)


def kernels_in_ptx(
    python: Path, names: tuple[str, ...] = KERNELS, threads: int = team.TEAM, lines: bool = False
) -> dict[str, str]:
    """PTX of kernels, from an interpreter that has numba-cuda; with so many threads to a team.

    With ``lines`` it says of which line of Python each instruction is.
    """
    program = Path(__file__).with_name("to_ptx.py")
    asked = [str(threads), *["--lines"] * lines, *names]
    text = kept(
        f"{'-'.join(asked)}.ptx",
        (code_cache._SOURCES, program.read_bytes(), printed(python, "-c", VERSIONS).encode()),
        lambda: printed(python, program, *asked).encode(),
    ).decode()
    _, *modules = re.split(r"(?=\.version)", text)
    return dict(zip(names, modules, strict=True))


def compile_c(source: Path, library: Path) -> None:
    """What ctypes can load."""
    gcc = ["gcc", *OPTIONS]

    def made() -> bytes:
        subprocess.run([*gcc, "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
        return library.read_bytes()

    asked = ([*gcc, "-Q", "--help=target"], ["gcc", "--version"])
    answers = (subprocess.run(words, check=True, capture_output=True).stdout for words in asked)
    facts = (source.read_bytes(), " ".join(OPTIONS).encode(), *answers)
    library.write_bytes(kept(library.name, facts, made))


def kept(name: str, facts: tuple[bytes, ...], make: Callable[[], bytes]) -> bytes:
    """What is kept under a name if it was made of these facts, else what is made now."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(fact).digest() for fact in facts)).digest()
    path = tools.KEPT / "compiled" / name
    if path.exists():
        content = path.read_bytes()
        if content[:64] == digest + hashlib.sha256(content[64:]).digest():
            return content[64:]
    content = make()
    tools._keep(path, digest + hashlib.sha256(content).digest() + content)
    return content
