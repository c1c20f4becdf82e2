"""`celldock validate FILE`: the service's checks on this machine, without AWS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celldock.catalog.keys import CURATION, FRAGMENTS
from celldock_cli.apps import command_app
from celldock_cli.beside import find_beside
from celldock_cli.files import begin, opened, schema_of, show, validated
from celldock_cli.options import FragmentsFile, PreAnalysis, SchemaVersion
from celldock_cli.outcome import Exit
from celldock_cli.terminal import complain

if TYPE_CHECKING:
    from celldock.report import Report

app = command_app()


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The .h5ad file.")],
    *,
    fragments: FragmentsFile = None,
    pre_analysis: PreAnalysis = False,
    schema: SchemaVersion = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Check a file on this machine, as the service would; exit 3 if it is invalid."""
    report = _validated(file, schema, fragments, pre_analysis=pre_analysis)
    show(report, as_json=as_json)
    raise typer.Exit(Exit.DONE if report.valid else Exit.INVALID_DATA)


def _validated(file: Path, version: str | None, fragments: Path | None, *, pre_analysis: bool) -> Report:
    begin()
    source, schema = opened(file), schema_of(version)
    beside = find_beside(FRAGMENTS, file, fragments)
    config = find_beside(CURATION, file)
    if config is not None:
        complain(
            f"{config.file.name} beside it is not looked at: this is about the file as it is", "see celldock curate"
        )
    with tempfile.TemporaryDirectory(prefix="celldock-") as scratch:
        return validated(source, schema, beside, Path(scratch), pre_analysis=pre_analysis)
