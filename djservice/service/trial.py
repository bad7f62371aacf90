"""Trial of an observable with files, in a process with limits on its memory and time.

The scheduler evaluates the network of a submission to check it. A network can have loops and take
any memory, and the scheduler cannot stop a thread of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from djservice.errors import ConfigError

#: Memory in bytes beside the libraries, and seconds.
MEMORY, SECONDS = 2_000_000_000, 20


def check_trial(observable: Mapping[str, Any], where: str) -> None:
    """Build an observable elsewhere. Its errors are left to who builds it here.

    Raises
    ------
    ConfigError
        If that exceeds a limit.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(observable),
            text=True,
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        problem = f"takes more than {SECONDS} s"
    else:
        if done.returncode == 0:
            return
        problem = f"takes more than {MEMORY:,} bytes of memory, or ends the process"
    raise ConfigError(
        f"{where}: a trial of the network {problem}. Give a network without loops, of usual size."
    )


def _build() -> None:
    """Build the observable that standard input describes."""
    from djservice.core.named import build_named
    from djservice.errors import DjserviceError
    from djservice.objectives.observables import Observable, named_observables

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        build_named(json.load(sys.stdin), Observable, named_observables(), "observable")
    except DjserviceError as error:
        # onnxruntime says so of what exceeds the limit.
        if any(text in str(error) for text in ("bad_alloc", "allocate memory")):
            raise MemoryError from None


if __name__ == "__main__":
    _build()
