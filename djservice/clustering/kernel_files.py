"""Where compiled kernels are kept on disk."""

from __future__ import annotations


def kernel_folder() -> str:
    """Folder of the compiled kernels; empty if every process compiles them."""
    from djservice.clustering.kernels.cpu import cluster_items

    cache = getattr(cluster_items, "_cache", None)
    return getattr(cache, "cache_path", None) or ""
