"""The errors that selfstudy raises on purpose, and the exit code of the command line for each.

::

    SelfstudyError           1  a bug of ours, if raised itself
    ├── UsageError           2  wrong name, wrong value, wrong combination
    ├── DataError            3  the input data cannot be used
    ├── TrainingError        4  training diverged or collapsed
    ├── EnvironmentFault     5  disk, permission, memory, dead worker, missing extra
    ├── RunFolderError       6  run folder in use, or would be overwritten
    ├── FileRefusedError     7  a file was refused: corrupt, incompatible or unsafe
    └── Interrupted        130  Ctrl-C (143 for SIGTERM); a checkpoint was written

A message says what was given, what is allowed, and what to do now.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SelfstudyError(Exception):
    """The base of all deliberate errors; ``exit_code`` is the exit code of the process."""

    exit_code = 1


class UsageError(SelfstudyError):
    """A name, value or combination of settings that cannot be used."""

    exit_code = 2


class DataError(SelfstudyError):
    """Input data that cannot be used."""

    exit_code = 3


class TrainingError(SelfstudyError):
    """Training that diverged (non-finite loss or weights) or collapsed."""

    exit_code = 4


class EnvironmentFault(SelfstudyError):
    """The machine refused: disk full, permission denied, worker killed, package missing."""

    exit_code = 5


class RunFolderError(SelfstudyError):
    """A run folder that is in use by another process, or that would be overwritten."""

    exit_code = 6


class FileRefusedError(SelfstudyError):
    """A checkpoint, encoder or configuration file that is corrupt, incompatible or unsafe."""

    exit_code = 7


class Interrupted(SelfstudyError):
    """Training stopped by a signal after its checkpoint was written."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if it has none.

    >>> first_line(ValueError("so")), first_line(ValueError())
    ('so', 'ValueError')
    """
    return next(iter(str(error).splitlines()), type(error).__name__)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'simclr'?"`` for the nearest choice, or ``""`` if no choice is near.

    >>> did_you_mean("simcrl", ["simclr", "moco"])
    "; did you mean 'simclr'?"
    """
    near = get_close_matches(name, list(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
