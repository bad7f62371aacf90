"""What a user's Python file consists of: its text, and the modules of its folder that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def source_digest(path: Path) -> str:
    """SHA-256 of a Python file and of the modules in its folder that it imports, also indirectly.

    Imports count wherever they stand, also within functions. Of a file without such imports it is
    the hash of its bytes.

    Raises
    ------
    OSError
        If a file cannot be read.
    SyntaxError, ValueError
        If a file is not Python.
    """
    folder, texts, left = path.parent, {path: path.read_bytes()}, [path]
    while left:
        file = left.pop()
        for name in _imported(texts[file], file, folder):
            for module in (folder / f"{name}.py", folder / name / "__init__.py"):
                if module not in texts and module.is_file():
                    texts[module] = module.read_bytes()
                    left.append(module)
    digest = hashlib.sha256(texts.pop(path))
    for module in sorted(texts):
        size = len(texts[module])
        digest.update(f"\0{module.relative_to(folder)}\0{size}\0".encode() + texts[module])
    return digest.hexdigest()


def _imported(text: bytes, file: Path, folder: Path) -> Iterator[str]:
    """Names of modules that a text imports, as paths below the folder, and of their packages."""
    package = file.parent.relative_to(folder).parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for parts in names:
            yield from ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
