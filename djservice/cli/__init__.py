"""The command line: ``djservice`` and ``dask djservice``."""

from djservice.cli.app import main as main
