"""The one error hierarchy.

A class's name is the `errorType` that Lambda reports and the error name that the state machine's Retry and Catch
match on: renaming a class changes the workflow.
"""

from __future__ import annotations


class CelldockError(Exception):
    """Something that celldock can name.

    `code` is stable and machine-readable (`file.truncated`), `where` is a path inside the file or the name of a
    resource, `hint` tells the reader how to mend it.
    """

    def __init__(self, message: str, *, code: str, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint


class InvalidSubmission(CelldockError):
    """The submitter's data are at fault; the outcome is a report and INVALID, never a retry."""


class HostileFile(InvalidSubmission):
    """The file was refused before anything of it was read as data."""


class CannotAppend(CelldockError):
    """Nothing can be added to this file where it lies; it has to be written anew. The file itself may be sound."""


class NotFeasible(CelldockError):
    """A derivative format cannot hold these data: its artifact is SKIPPED, and what requires it cannot be done."""


class Conflict(CelldockError):
    """Another run, version or state owns the item now; this writer is late and must stop."""


class ObjectGone(CelldockError):
    """The pinned object version does not exist (any more)."""


class TransientError(CelldockError):
    """AWS could not answer this time (5xx, broken connection); worth a retry with backoff."""


class Throttled(TransientError):
    """AWS asks for fewer requests (429, SlowDown); worth a long, jittered retry."""


class ServiceFault(CelldockError):
    """Our own fault: missing rights, a missing resource, an answer that breaks our contract."""
