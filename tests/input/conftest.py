"""A fixture of processes.py."""

from processes import make_cluster

__all__ = ["make_cluster"]
