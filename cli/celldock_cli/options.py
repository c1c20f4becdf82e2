"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FragmentsFile = Annotated[
    Path | None,
    typer.Option(
        "--fragments",
        metavar="FILE",
        help="The fragment file of an ATAC dataset; the one of the same name beside the file by default.",
    ),
]
PreAnalysis = Annotated[
    bool, typer.Option("--pre-analysis", help="The file is for a pre-analysis collection: no cell types yet.")
]
SchemaVersion = Annotated[
    str | None,
    typer.Option("--schema", metavar="VERSION", help="The version of the schema; the newest one by default."),
]
Validated = Annotated[
    bool, typer.Option("--validated", help="The file has been found valid already: do not check it again.")
]
