"""The fixtures of processes.py."""

from processes import cluster, disturbable_run, make_cluster, reach, service, undisturbed

__all__ = ["cluster", "disturbable_run", "make_cluster", "reach", "service", "undisturbed"]
