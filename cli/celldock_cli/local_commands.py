"""`celldock local …`: the whole stack on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celldock.report.text import printable
from celldock_cli.apps import command_app
from celldock_cli.outcome import CommandFailed, Exit
from celldock_local import daemon
from celldock_local.aws import ACCESS_KEY, SECRET_KEY
from celldock_local.checkout import BUILD, DEFAULT_DATA, RUNTIME, require_built
from celldock_local.data_folder import DataFolderError

app = command_app(name="local", no_args_is_help=True, help="The whole stack on this machine, from the same template.")
out = Console(highlight=False)
progress = Console(stderr=True, highlight=False)

Data = Annotated[Path, typer.Option("--data", help="Where its data live.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of template.yaml, such as Formats=cells."),
]


@app.command()
def up(
    data: Data = DEFAULT_DATA,
    port: Annotated[int, typer.Option("--port", help="Where it listens; 0 takes a free port.")] = 0,
    parameters: Parameters = None,
    as_json: Json = False,
) -> None:
    """Start the stack, or find the one that runs, and say how to reach it."""
    given = _parameters(parameters or [])
    if given and daemon.status(data):
        raise CommandFailed("the stack runs already: parameters are for one that starts (`down` stops it)", Exit.USAGE)
    if progress.is_terminal:
        progress.print("starting the local stack ...")
    try:
        require_built()
        info = daemon.up(data, BUILD, port, runtime=RUNTIME, parameters=given)
    except daemon.StackFailed as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print(json.dumps(asdict(info), indent=2))
        return
    for note in info.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    out.print(_how_to_reach(info), markup=False, soft_wrap=True)


@app.command()
def status(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Whether the stack runs, and how to reach it."""
    info = daemon.status(data)
    if as_json:
        print(json.dumps({"running": info is not None, **(asdict(info) if info else {})}, indent=2))
    elif info is None:
        out.print(f"not running (data: {data})", markup=False, soft_wrap=True)
    else:
        out.print(_how_to_reach(info), markup=False, soft_wrap=True)


@app.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop the stack; its data stay for the next `up`."""
    try:
        stopped = daemon.down(data)
    except daemon.StackFailed as error:
        raise CommandFailed(str(error)) from error
    out.print("stopped" if stopped else "was not running")


@app.command()
def reset(data: Data = DEFAULT_DATA) -> None:
    """Stop the stack and delete its data."""
    try:
        daemon.reset(data)
    except DataFolderError as error:
        raise CommandFailed(str(error), Exit.USAGE) from error
    out.print(f"deleted {data}", markup=False, soft_wrap=True)


def _parameters(given: list[str]) -> dict[str, str]:
    wrong = next((each for each in given if "=" not in each), None)
    if wrong is not None:
        raise CommandFailed(f"--parameter takes NAME=VALUE, not {printable(wrong)}", Exit.USAGE)
    return {name: value for name, _, value in (each.partition("=") for each in given)}


def _how_to_reach(info: daemon.StackInfo) -> str:
    endpoint, region, outputs = info.endpoint, info.region, info.outputs
    inbox = outputs["InboxBucket"]
    file, key = "examples/pbmc68k.h5ad", "demo/pbmc68k.h5ad"
    environment = f"AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_DEFAULT_REGION={region}"
    keys = f"access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY}"
    remote = f":s3,provider=Other,force_path_style=true,{keys},endpoint='{endpoint}'"
    client = f"boto3.client('s3', endpoint_url='{endpoint}')"
    return f"""\
endpoint   {endpoint}
api        {outputs["ApiUrl"]}
inbox      {inbox}
artifacts  {outputs["ArtifactsBucket"]}
public     {outputs["PublicBucket"]}
table      {outputs["Table"]}
queues     {outputs["UploadQueue"]} (uploads), {outputs["UploadDlq"]} (dead letters)
           {outputs["PortalQueue"]} (the portal's events)

Drop a file with any S3 client:
  celldock submit {file} --collection demo --watch
  {environment} aws --endpoint-url {endpoint} s3 cp {file} s3://{inbox}/{key}
  rclone copyto {file} "{remote}:{inbox}/{key}"
  {environment} python -c "import boto3; {client}.upload_file('{file}', '{inbox}', '{key}')"
"""
