"""`celldock label FILE -o OUT`: the portal's labels added to a copy of a file, or taken off it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celldock.catalog.keys import FRAGMENTS
from celldock_cli.apps import command_app
from celldock_cli.beside import find_beside
from celldock_cli.files import (
    begin,
    check_output,
    guard,
    opened,
    refuse_invalid,
    refused,
    schema_of,
    validated,
    written,
)
from celldock_cli.options import FragmentsFile, PreAnalysis, SchemaVersion, Validated
from celldock_cli.terminal import print_json

if TYPE_CHECKING:
    from celldock.h5ad.source import LocalSource
    from celldock.schema import Schema

app = command_app()


@app.command()
def label(
    file: Annotated[Path, typer.Argument(help="The .h5ad file; it stays as it is.")],
    *,
    out: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the labels off, so that it can be submitted.")] = False,
    trusted: Validated = False,
    fragments: FragmentsFile = None,
    pre_analysis: PreAnalysis = False,
    schema: SchemaVersion = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done as one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Add what the portal adds to a valid file, without changing what is in it; exit 3 if it is invalid."""
    begin()
    source, chosen = opened(file), schema_of(schema)
    check_output(out, file)
    with tempfile.TemporaryDirectory(prefix="celldock-", dir=out.parent) as folder:
        scratch = Path(folder)
        if remove:
            record = _unlabelled(source, chosen, scratch, out)
        else:
            if not trusted:
                beside = find_beside(FRAGMENTS, file, fragments)
                refuse_invalid(validated(source, chosen, beside, scratch, pre_analysis=pre_analysis), as_json=as_json)
            record = _labelled(source, chosen, scratch, out, pre_analysis=pre_analysis)
    if as_json:
        print_json(record)
    else:
        print(_told(record))


def _labelled(source: LocalSource, schema: Schema, scratch: Path, out: Path, *, pre_analysis: bool) -> dict[str, Any]:
    from celldock.labelling import label_file
    from celldock.schema import Setting

    setting = Setting(pre_analysis=pre_analysis)
    with refused():
        guard(source)
        with label_file(source, schema, scratch=scratch, setting=setting) as labelled, written(out) as target:
            labelled.file.write_to(target)
            return {**_about(out, schema, labelled.file.size, removed=False), **labelled.to_json()}


def _unlabelled(source: LocalSource, schema: Schema, scratch: Path, out: Path) -> dict[str, Any]:
    from celldock.labelling import unlabel_file

    with refused():
        guard(source)
        with unlabel_file(source, schema, scratch=scratch) as found, written(out) as target:
            found.write_to(target)
            return _about(out, schema, found.size, removed=True)


def _about(out: Path, schema: Schema, size: int, *, removed: bool) -> dict[str, Any]:
    return {"file": str(out), "schema_version": schema.version, "size": size, "removed": removed}


def _told(record: dict[str, Any]) -> str:
    from celldock.report.text import printable

    name, version = printable(Path(record["file"]).name), record["schema_version"]
    if record["removed"]:
        return f"{name} has no labels of schema {version} any more: {record['size']:,} bytes, all else as it was."
    proof = record["additivity"]
    lines = [
        f"{name} is labelled by schema {version}.",
        f"{len(proof['added'])} datasets were added in {proof['appended_bytes']:,} bytes behind the end; "
        f"all {proof['kept_datasets']} of the original have the same {proof['kept_bytes']:,} bytes stored.",
    ]
    if record["repacking"]:
        lines.append(f"It was written anew first: {record['repacking']['reason']}")
    return "\n".join(lines)
