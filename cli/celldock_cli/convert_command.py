"""`celldock convert FILE --to FORMAT -o OUT`: one of the service's artifacts, made on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from celldock.catalog.keys import FRAGMENTS
from celldock_cli.apps import command_app
from celldock_cli.beside import find_beside
from celldock_cli.files import begin, opened, refuse_invalid, refused, schema_of, validated
from celldock_cli.options import FragmentsFile, PreAnalysis, SchemaVersion, Validated
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.progress import progress_bar
from celldock_cli.terminal import print_json

app = command_app()


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="The .h5ad file; it stays as it is.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format: cells, cxg, zarr, rds.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The folder to make.")],
    trusted: Validated = False,
    fragments: FragmentsFile = None,
    pre_analysis: PreAnalysis = False,
    schema: SchemaVersion = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest as one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Make one of the formats that clients read of a valid file; exit 3 if it is invalid, or cannot be held by it."""
    begin()
    source, chosen = opened(file), schema_of(schema)
    from celldock.converting import convert_file, local_formats
    from celldock.errors import NotFeasible
    from celldock.schema import Setting

    if to not in local_formats():
        raise CommandFailed(f"no format {to}; there is {', '.join(local_formats())}", Exit.USAGE)
    if out.exists() or not out.absolute().parent.is_dir():
        reason = "it is there already" if out.exists() else "no such folder"
        raise CommandFailed(f"{out} cannot be made: {reason}", Exit.USAGE, "name a folder that is to be made with -o")
    with tempfile.TemporaryDirectory(prefix="celldock-", dir=out.absolute().parent) as folder:
        scratch, made = Path(folder) / "scratch", Path(folder) / "made"
        scratch.mkdir()
        if not trusted:
            beside = find_beside(FRAGMENTS, file, fragments)
            refuse_invalid(validated(source, chosen, beside, scratch, pre_analysis=pre_analysis), as_json=as_json)
        with refused(), progress_bar(source.name) as progress:
            try:
                manifest = convert_file(
                    source,
                    to,
                    chosen,
                    made,
                    scratch=scratch,
                    setting=Setting(pre_analysis=pre_analysis),
                    progress=progress,
                )
            except NotFeasible as error:
                raise CommandFailed(error.message, Exit.INVALID_DATA, error.hint) from error
        made.replace(out)
    if as_json:
        print_json({"folder": str(out), "format": to, "bytes": manifest.bytes, "sha256": manifest.sha256})
    else:
        print(f"{out} holds {len(manifest.files)} files of the format {to}, {manifest.bytes:,} bytes.")
        for omitted in manifest.omitted:
            from celldock.report.text import printable

            print(f"left out: {printable(omitted.where)}: {printable(omitted.reason)}")
