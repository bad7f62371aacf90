"""Name of the user of this process."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """The name of the user, or the number of one without a name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the former before Python 3.13
        return f"user {os.getuid()}"
