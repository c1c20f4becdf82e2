"""`celldock curate`: a file made fit to be submitted, as a config says; and a config to begin with."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celldock.catalog.keys import COMPANION_SUFFIXES, CURATION, SUFFIX
from celldock_cli.apps import command_app
from celldock_cli.files import begin, check_output, opened, refused, schema_of, written
from celldock_cli.options import SchemaVersion
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.progress import progress_bar
from celldock_cli.terminal import print_json

if TYPE_CHECKING:
    from celldock.curating import Curated
    from celldock.curation import Curation, CurationRefused

app = command_app()


@app.command()
def curate(
    file: Annotated[Path, typer.Argument(help="The .h5ad file; it stays as it is.")],
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="YAML", help="What is to be done; see --init.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Write a config to begin with, made for this file, to OUT or beside it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be changed; nothing is written.")
    ] = False,
    schema: SchemaVersion = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done as one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Add what the schema asks for and mend what it forbids, as a config says; exit 3 if that cannot be done."""
    if init:
        _init(file, out or _beside(file), schema)
        return
    if config is None:
        hint = f"begin with: celldock curate --init {file}"
        raise CommandFailed("a config is needed: --config YAML", Exit.USAGE, hint)
    if out is None and not dry_run:
        raise CommandFailed("name the file to write: --output OUT", Exit.USAGE, "or look first: --dry-run")
    begin()
    source = opened(file)
    with refused(), told_at_once(as_json=as_json):
        curation = _read(config)
        chosen = schema_of(schema or curation.config.schema_version)
        from celldock.curating import curate_file

        if out is not None:
            check_output(out, file)
        with (
            tempfile.TemporaryDirectory(prefix="celldock-", dir=out.parent if out else None) as scratch,
            progress_bar(source.name) as progress,
            curate_file(source, curation, chosen, scratch=Path(scratch), progress=progress, dry_run=dry_run) as curated,
        ):
            if out is not None and curated.file is not None:
                with written(out) as target:
                    curated.file.write_to(target)
            _tell(curated, out, as_json=as_json)


def _tell(curated: Curated, out: Path | None, *, as_json: bool) -> None:
    made = out if curated.file is not None else None
    if as_json:
        print_json({"file": str(made) if made else None, **curated.to_json()})
        return
    from celldock.curation.text import render_curation

    print(render_curation(curated.ledger), end="")
    print()
    if made is None or curated.file is None:
        print("Nothing was written (--dry-run).")
    else:
        print(f"{made} was written: {curated.file.size:,} bytes. Check it next: celldock validate {made}")


@contextmanager
def told_at_once(*, as_json: bool) -> Generator[None]:
    """Prints all that is wrong with a config and a file, and ends the command with exit code 3."""
    from celldock.curation import CurationRefused

    try:
        yield
    except CurationRefused as error:
        _show_problems(error, as_json=as_json)
        raise typer.Exit(Exit.INVALID_DATA) from error


def _show_problems(error: CurationRefused, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": None, "findings": [finding.model_dump(mode="json") for finding in error.findings]})
        return
    from celldock.report.text import render_findings

    print(render_findings(error.findings), end="")
    print("\nNothing was written.")


def _read(config: Path) -> Curation:
    from celldock.curation import MAX_CONFIG_BYTES, read_curation

    try:
        with config.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"{config} cannot be read: {error.strerror}", Exit.USAGE) from error
    return read_curation(data, config.name)


def _beside(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(SUFFIX) + COMPANION_SUFFIXES[CURATION][0])


def _init(file: Path, out: Path, version: str | None) -> None:
    """Writes a starter config, and beside it the JSON Schema by which editors complete it."""
    begin()
    source, chosen = opened(file), schema_of(version)
    check_output(out, file)
    if out.exists():
        raise CommandFailed(f"{out} is there already", Exit.USAGE, "name another one with -o, or delete it")
    from celldock.curating import starter
    from celldock.curation.json_schema import schema_text
    from celldock.curation.starter import SCHEMA_FILE

    with (
        tempfile.TemporaryDirectory(prefix="celldock-") as scratch,
        progress_bar(source.name) as progress,
        refused(),
    ):
        text = starter(source, chosen, scratch=Path(scratch), progress=progress)
    with written(out) as target:
        target.write(text.encode())
    with written(out.with_name(SCHEMA_FILE)) as target:
        target.write(schema_text().encode())
    print(f"{out} was written. Fill it in, then look at what it does:")
    print(f"  celldock curate {file} --config {out} --dry-run")
