"""The errors of djservice. Each one says where, what was expected, what was found and what to do.

Every class also derives from the builtin that a caller would expect. It has a single argument, the
message, so that it survives the pickling between a Dask worker and the client.
"""


class DjserviceError(Exception):
    """Base class of all errors that djservice raises on purpose."""


class InputError(DjserviceError, ValueError):
    """Particles, events, weights or arguments that have no meaning."""


class InputFileError(DjserviceError, OSError):
    """A file that cannot be read in the format it should have."""


class MissingFileError(InputFileError, FileNotFoundError):
    """A file or a glob pattern that matches nothing."""


class ChangedFileError(InputFileError):
    """A file that is not the one that was inspected when the run began."""


class SchemaError(InputError, KeyError):
    """A tree or branch that the schema needs and the file does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class ClusteringError(DjserviceError, ArithmeticError):
    """An event that cannot be clustered with the given settings."""


class DeviceError(DjserviceError, RuntimeError):
    """A requested GPU that is missing, or whose memory is too small."""


class ConfigError(DjserviceError, ValueError):
    """A run configuration that is not valid."""


class StoreError(DjserviceError, RuntimeError):
    """A store that cannot be created, read, written or continued."""


class RunError(DjserviceError, RuntimeError):
    """A run that had to stop."""


class NothingAcceptedError(RunError):
    """A selection that no tree passes, or accepted weights that do not sum to more than 0."""


class TasksLostError(RunError):
    """The scheduler stopped or dropped the tasks of a run, which can be submitted again."""


class ServiceError(DjserviceError, RuntimeError):
    """A scheduler that cannot be reached, does not accept runs, or does not know a run."""


class UnreachableError(ServiceError):
    """No scheduler at an address, or one that stopped."""
