"""Scripts that would start themselves again in every worker process.

A worker process on this machine imports the script that started it. A call outside of
``if __name__ == "__main__":`` would then run again in each of them, and end in their tracebacks.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType

import dask


def need_guarded_script() -> None:
    """End a script whose call of djservice is not guarded, in one line and before any worker starts.

    Raises
    ------
    SystemExit
        If the running script has no ``if __name__ == "__main__":`` at or before the call.
    """
    if dask.config.get("distributed.worker.multiprocessing-method", "spawn") == "fork":
        return
    frame = _frame_of_script()
    source = getattr(sys.modules.get("__main__"), "__file__", None)
    if frame is None or source is None or _guarded(Path(source), frame.f_lineno):
        return
    raise SystemExit(
        f"djservice: {source}, line {frame.f_lineno}: every worker process imports this script and "
        'would start it again. Put the call under `if __name__ == "__main__":`.'
    )


def _frame_of_script() -> FrameType | None:
    """The frame of the script itself among the callers; None in a notebook or another thread."""
    names = getattr(sys.modules.get("__main__"), "__dict__", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame
        frame = frame.f_back
    return None


def _guarded(script: Path, line: int) -> bool:
    """Whether a condition on ``__name__`` begins at or before a line of a script."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):  # no script in Python, such as a zip file
        return True
    return any(
        isinstance(statement, ast.If)
        and statement.lineno <= line
        and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(statement.test))
        for statement in tree.body
    )
