"""The errors a user can meet: each says where, what was expected, what was found and what to do.

Every class also derives from the builtin that a caller would think of, and carries one message only, so that it
survives the pickling between a Dask worker and the client.
"""


class DjserviceError(Exception):
    """Base of all errors that djservice raises on purpose."""


class InputError(DjserviceError, ValueError):
    """Particles, events, weights or arguments that have no meaning."""


class InputFileError(DjserviceError, OSError):
    """A file that cannot be read as what it was said to be."""


class MissingFileError(InputFileError, FileNotFoundError):
    """A file or a glob pattern that matches nothing."""


class SchemaError(InputError, KeyError):
    """A tree or a branch that the schema needs and the file does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class ClusteringError(DjserviceError, ArithmeticError):
    """An event that cannot be clustered with the setting asked for."""


class DeviceError(DjserviceError, RuntimeError):
    """A GPU that is asked for and is not there, or whose memory is too small."""


class ConfigError(DjserviceError, ValueError):
    """A run configuration that is not valid."""


class StoreError(DjserviceError, RuntimeError):
    """A store that cannot be created, read, written or continued."""


class RunError(DjserviceError, RuntimeError):
    """A run that had to stop."""


class NothingAcceptedError(RunError):
    """A selection that no tree passes, or accepted weights that do not sum to more than 0."""


class TasksLostError(RunError):
    """The scheduler went away or dropped a run's tasks: what was asked for can be asked for again."""


class ServiceError(DjserviceError, RuntimeError):
    """A scheduler that cannot be reached, has no runs to offer, or does not know the run asked for."""


class UnreachableError(ServiceError):
    """There is no scheduler at an address, or it went away."""
