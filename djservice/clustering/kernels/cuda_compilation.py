"""A line when kernels are compiled for a GPU, so that nobody waits for the first trees without a word.

Imported for this effect. The line for processors is in :mod:`djservice.clustering.compilation`.
"""

from __future__ import annotations

import sys
from typing import Any

from numba.cuda.core import event


class _Announcement(event.Listener):
    """Listener that says once in a process that kernels are compiled, not read from their files."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and str(event.data["module"]).startswith("djservice."):
            self.said = True
            text = "djservice: compiling kernels for the GPU, once on this machine: a minute or so"
            print(text, file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing."""


event.register("numba-cuda:run_pass", _Announcement())
