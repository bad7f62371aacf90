"""A line when the kernels are compiled, so that nobody waits for the first trees without a word.

That for GPUs is in :mod:`djservice.clustering.kernels.cuda_compilation`.
"""

from __future__ import annotations

import sys
from typing import Any

from numba.core import event

from djservice.clustering.kernels.code_cache import WAITING
from djservice.clustering.kernels.cpu import cluster_items


class _Announcement(event.Listener):
    """Listener that says once that the loop over trees is compiled, here or by another process.

    Kernels that come from the cache are not compiled.
    """

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"] is cluster_items:
            self.said = True
            text = "djservice: compiling the kernels, once on this machine: half a minute or so"
            print(text, file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing."""


_ANNOUNCEMENT = _Announcement()


def announce() -> None:
    """Say from now on when the kernels are compiled."""
    for kind in ("numba:compile", WAITING):
        event.register(kind, _ANNOUNCEMENT)


def leave_unsaid() -> None:
    """Say nothing in this process: a run says it for its workers."""
    _ANNOUNCEMENT.said = True
