"""`celldock validate FILE`: the service's checks on this machine, without AWS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celldock_cli.apps import command_app
from celldock_cli.files import begin, opened, schema_of, validated
from celldock_cli.fragments import FRAGMENTS_HELP, find_fragments
from celldock_cli.outcome import Exit
from celldock_cli.terminal import print_json

if TYPE_CHECKING:
    from celldock.report import Report

app = command_app()


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The .h5ad file.")],
    *,
    fragments: Annotated[
        Path | None,
        typer.Option("--fragments", metavar="FILE", help=FRAGMENTS_HELP),
    ] = None,
    pre_analysis: Annotated[
        bool, typer.Option("--pre-analysis", help="The file is for a pre-analysis collection: no cell types yet.")
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="VERSION", help="The version of the schema; the newest one by default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Check a file on this machine, as the service would; exit 3 if it is invalid."""
    report = _validated(file, schema, fragments, pre_analysis=pre_analysis)
    if as_json:
        print_json(report.to_json())
    else:
        from celldock.report import render_text

        print(render_text(report), end="")
    raise typer.Exit(Exit.DONE if report.valid else Exit.INVALID_DATA)


def _validated(file: Path, version: str | None, fragments: Path | None, *, pre_analysis: bool) -> Report:
    begin()
    source, schema = opened(file), schema_of(version)
    beside = find_fragments(file, fragments)
    with tempfile.TemporaryDirectory(prefix="celldock-") as scratch:
        return validated(source, schema, beside, Path(scratch), pre_analysis=pre_analysis)
