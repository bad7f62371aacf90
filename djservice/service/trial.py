"""Trial of an observable with files, in a process with limits on its memory and time.

The scheduler evaluates the network of a submission to check it. A network can have loops and take
any memory, and the scheduler cannot stop a thread of its own.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from djservice.errors import ConfigError

#: Memory in bytes beside the libraries, and seconds of a processor.
MEMORY, SECONDS = 2_000_000_000, 20
#: Seconds that a trial may last on a busy machine.
PATIENCE = 600
#: Exit code of a trial that exceeds the memory.
TOO_LARGE = 99


def check_trial(observable: Mapping[str, Any], where: str) -> None:
    """Build an observable elsewhere. Its errors are left to who builds it here.

    Raises
    ------
    ConfigError
        If that exceeds a limit.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(SECONDS)],
            input=json.dumps(observable),
            text=True,
            capture_output=True,
            timeout=PATIENCE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -signal.SIGXCPU
    if code == -signal.SIGXCPU:
        problem = f"takes more than {SECONDS} s"
    elif code == TOO_LARGE or code < 0:
        problem = f"takes more than {MEMORY:,} bytes of memory, or ends the process"
    else:
        return
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
    used, seconds = math.ceil(time.process_time()), int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))
    try:
        build_named(json.load(sys.stdin), Observable, named_observables(), "observable")
    except DjserviceError as error:
        # onnxruntime says so of what exceeds the limit.
        if any(text in str(error) for text in ("bad_alloc", "allocate memory")):
            sys.exit(TOO_LARGE)
    except MemoryError:
        sys.exit(TOO_LARGE)


if __name__ == "__main__":
    _build()
