"""How every group of commands is set up."""

from __future__ import annotations

from typing import Any

import typer


def command_app(**settings: Any) -> typer.Typer:
    """An app whose help is plain text, as `typer.Typer(**settings)` otherwise."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, **settings)
