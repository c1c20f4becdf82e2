"""`celldock ops …`: what operators do."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celldock_cli.api import Api
from celldock_cli.apps import command_app
from celldock_cli.profiles import resolve

app = command_app(name="ops", no_args_is_help=True, help="For operators.")
out = Console(highlight=False)

Profile = Annotated[
    str | None, typer.Option("--profile", help="Which celldock: `local` (default) or a name from profiles.toml.")
]
Data = Annotated[Path | None, typer.Option("--data", help="The local stack's folder, if not the default one.")]


class PublishPolicy(StrEnum):
    """What an upload that asks for `publish: auto` gets."""

    hold = "hold"
    auto = "auto"


@app.command()
def redrive(
    dataset: Annotated[str, typer.Argument(metavar="ID", help="<collection>/<name>")],
    version: Annotated[str | None, typer.Option("--version", help="The version id; default: the latest.")] = None,
    profile: Profile = None,
    data: Data = None,
) -> None:
    """Run a FAILED version again; it resumes where the work stopped."""
    answer = Api(resolve(profile, data)).redrive(dataset, version)
    out.print(f"run {answer['run']} started: {answer['execution']}", markup=False, soft_wrap=True)


@app.command()
def collection(
    name: Annotated[str, typer.Argument(help="The collection.")],
    *,
    publish: Annotated[
        PublishPolicy | None, typer.Option("--publish", help="hold: only when asked; auto: uploads may ask for it.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Its title.")] = None,
    schema: Annotated[
        list[str] | None,
        typer.Option("--schema", help="A version of the schema that its files may be in; the first is the default."),
    ] = None,
    pre_analysis: Annotated[
        bool | None,
        typer.Option(
            "--pre-analysis/--analysed",
            help="Whether its files come without cell types and embeddings.",
        ),
    ] = None,
    profile: Profile = None,
    data: Data = None,
) -> None:
    """Create a collection or change its settings."""
    settings = {
        "publish_policy": publish.value if publish else None,
        "title": title,
        "schema_versions": schema,
        "pre_analysis": pre_analysis,
    }
    answer = Api(resolve(profile, data)).put_collection(name, **{k: v for k, v in settings.items() if v is not None})
    schemas = ", ".join(answer["schema_versions"])
    kind = ", pre-analysis" if answer["pre_analysis"] else ""
    out.print(f"{name}: publish {answer['publish_policy']}, schema {schemas}{kind}", markup=False, soft_wrap=True)
