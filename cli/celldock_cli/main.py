"""The `celldock` command."""

from __future__ import annotations

import importlib
import os
import sys
from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from celldock import __version__
from celldock.errors import CelldockError
from celldock_cli.apps import command_app
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.terminal import complain

TRACEBACK = "CELLDOCK_TRACEBACK"
"""The environment variable that has a fault of our own shown with its traceback."""

# Each command, and the module whose `app` is that command or has it.
_MODULES = MappingProxyType(
    {
        "curate": "curate_command",
        "validate": "validate_command",
        "label": "label_command",
        "convert": "convert_command",
        "submit": "service_commands",
        "status": "service_commands",
        "report": "service_commands",
        "publish": "service_commands",
        "local": "local_commands",
        "ops": "ops_commands",
    }
)


class Commands(TyperGroup):
    """Commands that are imported when they are asked for: one that needs no AWS shall not wait for boto3."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_MODULES, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        found: Any = get_command(importlib.import_module(f"celldock_cli.{_MODULES[cmd_name]}").app)
        return found if found.name == cmd_name else found.get_command(ctx, cmd_name)


app = command_app(
    cls=Commands,
    no_args_is_help=True,
    help="Dock single-cell data: curate, validate, label, convert, submit, publish.",
)


@app.callback()
def celldock() -> None:
    """Makes a group of what has only one command of its own."""


@app.command()
def version() -> None:
    """celldock's version."""
    print(__version__)


def main() -> None:
    """Runs the command; every failure ends in one line on stderr, perhaps a hint, and its exit code."""
    try:
        app()
    except CommandFailed as failure:
        complain(failure.message, failure.hint)
        sys.exit(failure.exit_code)
    except CelldockError as error:
        complain(error.message, error.hint)
        sys.exit(Exit.OUR_FAULT)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        complain(f"{type(error).__name__}: {error}", f"{TRACEBACK}=1 in the environment shows where it came from")
        sys.exit(Exit.OUR_FAULT)


if __name__ == "__main__":
    main()
