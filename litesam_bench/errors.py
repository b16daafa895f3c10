"""Errors a user can meet. Every one names the thing that is wrong and the command that mends it.

`assert` is for invariants of this package; a mistake of the user, of a file or of the machine
raises one of these. The command line prints `message` and `fix` and exits with `exit_code`,
without a traceback.
"""

from __future__ import annotations


class BenchError(Exception):
    """A failure with a remedy.

    Args:
        message: what is wrong, naming the file, image, key or option concerned.
        fix: the command or action that mends it; printed on its own line.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}" if self.fix else self.message


class UsageError(BenchError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class DataError(BenchError):
    """A dataset, image, annotation or detector file is missing, corrupt or inconsistent."""


class WeightsError(BenchError):
    """A checkpoint is missing, has the wrong hash, or does not fit the model."""


class CapabilityError(BenchError):
    """A system was asked for something that its SPEC says it cannot do (renders as n/a)."""


class ModelOutputError(BenchError):
    """A model returned NaN, infinities or shapes that do not fit its contract."""


class StorageError(BenchError):
    """A record or journal could not be written: full disk, missing permission."""
