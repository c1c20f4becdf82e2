"""`celldock submit`, `status`, `report` and `publish`: what submitters ask of a running celldock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from celldock.catalog.keys import CURATION, FRAGMENTS, Rejection, parse_upload_key
from celldock.report.text import printable
from celldock_cli.api import Api
from celldock_cli.apps import command_app
from celldock_cli.beside import find_beside
from celldock_cli.options import FragmentsFile
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.profiles import resolve
from celldock_cli.render import print_report, print_status
from celldock_cli.terminal import print_json
from celldock_cli.transfer import upload
from celldock_cli.watch import follow, verdict_exit

app = command_app()

Profile = Annotated[
    str | None, typer.Option("--profile", help="Which celldock: `local` (default) or a name from profiles.toml.")
]
Data = Annotated[Path | None, typer.Option("--data", help="The local stack's folder, if not the default one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Dataset = Annotated[str, typer.Argument(metavar="ID", help="<collection>/<name>, or <collection>/<name>@<version id>")]

progress = Console(stderr=True, highlight=False)
out = Console(highlight=False)


@app.command()
def submit(  # noqa: PLR0913 - one for each option
    file: Annotated[Path, typer.Argument(help="The .h5ad file.")],
    *,
    collection: Annotated[str, typer.Option("--collection", help="The collection that it belongs to.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The dataset's name; default: the file's name without .h5ad.")
    ] = None,
    fragments: FragmentsFile = None,
    curation: Annotated[
        Path | None,
        typer.Option(
            "--curation",
            metavar="FILE",
            help="What is done to it first; the <name>.curation.yaml beside the file by default.",
        ),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish by itself once ready, where the collection allows it.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow it to its end; exit 3 if the data are invalid.")
    ] = False,
    profile: Profile = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Upload a file into the inbox, and before it the fragment file and the curation that belong to it."""
    if not file.is_file():
        raise CommandFailed(f"no such file: {file}", Exit.USAGE)
    key = f"{collection}/{name or file.name.removesuffix('.h5ad')}.h5ad"
    parsed = parse_upload_key(key)
    if isinstance(parsed, Rejection):
        raise CommandFailed(parsed.message, Exit.USAGE, parsed.hint)
    companions = [find_beside(FRAGMENTS, file, fragments), find_beside(CURATION, file, curation)]
    target = resolve(profile, data)
    for beside in companions:
        if beside is not None:
            # First, so that the run that the .h5ad file starts finds it.
            upload(target, beside.file, key.removesuffix(".h5ad") + beside.suffix, publish=False, console=progress)
    stored = upload(target, file, key, publish=publish, console=progress)
    dataset = key.removesuffix(".h5ad")
    if watch:
        answer = follow(Api(target), dataset, stored.version_id, progress)
        _show(answer, as_json, print_status)
        raise typer.Exit(verdict_exit(answer))
    document = {"dataset": dataset, "version_id": stored.version_id, "bucket": stored.bucket, "key": stored.key}
    _show(
        document,
        as_json,
        lambda _, console: console.print(f"{printable(dataset)}@{stored.version_id}", markup=False, soft_wrap=True),
    )


@app.command()
def status(
    dataset: Dataset,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow it to its end; exit 3 if the data are invalid.")
    ] = False,
    profile: Profile = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Where a dataset stands: its state, artifacts and whether it is published."""
    api = Api(resolve(profile, data))
    name, version = _split(dataset)
    answer = follow(api, name, version, progress) if watch else api.dataset(name, version)
    _show(answer, as_json, print_status)
    if watch:
        raise typer.Exit(verdict_exit(answer))


@app.command()
def report(dataset: Dataset, profile: Profile = None, data: Data = None, as_json: Json = False) -> None:
    """What was found in the file; exit 3 if it is invalid."""
    answer = Api(resolve(profile, data)).report(*_split(dataset))
    document = answer["report"]
    _show(document, as_json, print_report)
    raise typer.Exit(Exit.DONE if document["valid"] else Exit.INVALID_DATA)


@app.command()
def publish(dataset: Dataset, profile: Profile = None, data: Data = None, as_json: Json = False) -> None:
    """Make a READY version public."""
    answer = Api(resolve(profile, data)).publish(*_split(dataset))
    _show(
        answer,
        as_json,
        lambda a, console: console.print(
            f"published {printable(a['dataset'])} as {a['publication_id']}", markup=False, soft_wrap=True
        ),
    )


def _split(dataset: str) -> tuple[str, str | None]:
    """`c/n@v` → (`c/n`, `v`). A name may itself hold an `@`: version ids never hold a `/` or a dot."""
    name, at, version_id = dataset.rpartition("@")
    if at and version_id and "/" not in version_id and "/" in name:
        return name, version_id
    return dataset, None


def _show(document: dict[str, Any], as_json: bool, render: Callable[[dict[str, Any], Console], None]) -> None:
    if as_json:
        print_json(document)
    else:
        render(document, out)
