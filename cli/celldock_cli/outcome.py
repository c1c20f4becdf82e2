"""How a command ends: exit codes and the one exception that carries them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    OUR_FAULT = 1
    USAGE = 2
    INVALID_DATA = 3


class CommandFailed(Exception):
    """Ends the command with a message on stderr and an exit code; `hint` says what to do about it."""

    def __init__(self, message: str, exit_code: Exit = Exit.OUR_FAULT, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint
