"""The errors of djservice. Each one says where, what was expected, what was found and what to do.

Every class also derives from the builtin that a caller would expect. It has a single argument, the
message, so that it survives the pickling between a Dask worker and the client. A message quotes what
a user wrote, which may be megabytes, so the middle of a long one is left out.
"""

__all__ = [
    "ArgumentError",
    "ChangedFileError",
    "ClusteringError",
    "ConfigError",
    "DamagedStoreError",
    "DeviceError",
    "DjserviceError",
    "InputError",
    "InputFileError",
    "InputWarning",
    "JumpWarning",
    "MissingFileError",
    "MissingPackageError",
    "NothingAcceptedError",
    "OutOfRangeError",
    "RunError",
    "SchemaError",
    "ServiceError",
    "StoreError",
    "TasksLostError",
    "UnreachableError",
]


def __dir__() -> list[str]:
    return __all__


#: Longest message, in characters, and how many of them are of its end, which says what to do.
LONGEST, END = 4_000, 1_000


def shortened(text: str) -> str:
    """A message without its middle, if it is longer than ``LONGEST``."""
    if len(text) <= LONGEST:
        return text
    left_out = f" ... ({len(text):,} characters in all) ... "
    return text[: LONGEST - END - len(left_out)] + left_out + text[-END:]


class DjserviceError(Exception):
    """Base class of all errors that djservice raises on purpose."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class InputError(DjserviceError, ValueError):
    """Particles, events, weights or arguments that have no meaning."""


class ArgumentError(InputError, TypeError):
    """Arguments that a function does not take, or lacks."""


class OutOfRangeError(InputError, IndexError):
    """A position where there is nothing."""


class InputWarning(UserWarning):
    """Values that can be used but look like a mistake, such as degrees or MeV."""


class JumpWarning(InputWarning):
    """An objective that jumps where its derivative in particles is taken."""


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


class MissingPackageError(DjserviceError, ImportError):
    """A package that is not installed; the message names the extra."""


class ConfigError(DjserviceError, ValueError):
    """A run configuration that is not valid."""


class StoreError(DjserviceError, RuntimeError):
    """A store that cannot be created, read, written or continued."""


class DamagedStoreError(StoreError):
    """A store with a file that is not as it was written."""


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
