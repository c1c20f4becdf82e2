"""Files that are worked on here: opened, validated, written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from celldock.errors import InvalidSubmission, ObjectGone
from celldock_cli.beside import Beside
from celldock_cli.libraries import settle
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.progress import progress_bar
from celldock_cli.terminal import print_json

if TYPE_CHECKING:
    from celldock.h5ad.source import LocalSource
    from celldock.report import Report
    from celldock.schema import Schema


def begin() -> None:
    """To be called first: the process that reads HDF5 starts up while this one imports what it needs itself."""
    settle()
    from celldock.h5ad.sandbox.parent import SANDBOX

    SANDBOX.warm()


def opened(file: Path) -> LocalSource:
    """The bytes of a file. Raises CommandFailed (USAGE) for what is none, or cannot be read."""
    if not file.exists():
        raise CommandFailed(f"no such file: {file}", Exit.USAGE)
    if not file.is_file():
        raise CommandFailed(f"not a file: {file}", Exit.USAGE)
    from celldock.h5ad.source import LocalSource

    try:
        return LocalSource(file)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", Exit.USAGE) from error


def schema_of(version: str | None) -> Schema:
    """The schema of a version, the newest one by default. Raises CommandFailed (USAGE) if there is none."""
    from celldock.schema import load_schema, schema_versions

    chosen = version or schema_versions()[-1]
    if chosen not in schema_versions():
        raise CommandFailed(f"no schema {chosen}; there is {', '.join(schema_versions())}", Exit.USAGE)
    return load_schema(chosen)


def validated(
    source: LocalSource, schema: Schema, fragments: Beside | None, scratch: Path, *, pre_analysis: bool
) -> Report:
    """The report on a file, with a progress bar on the terminal. Raises CommandFailed for one that is being written."""
    from celldock.validating import Companion, Companions, validate_file

    beside = Companion(opened(fragments.file), fragments.passed_over) if fragments else None
    with unchanged(), progress_bar(source.name) as progress:
        return validate_file(
            source,
            schema,
            scratch=scratch,
            progress=progress,
            companions=Companions(fragments=beside),
            pre_analysis=pre_analysis,
        )


def show(report: Report, *, as_json: bool) -> None:
    """Prints a report on stdout, as text or as one JSON document."""
    if as_json:
        print_json(report.to_json())
    else:
        from celldock.report import render_text

        print(render_text(report), end="")


def refuse_invalid(report: Report, *, as_json: bool) -> None:
    """Shows the report on an invalid file, and ends the command with exit code 3."""
    if not report.valid:
        show(report, as_json=as_json)
        raise typer.Exit(Exit.INVALID_DATA)


def guard(source: LocalSource) -> None:
    """Raises InvalidSubmission for a file that nothing may be done with."""
    from celldock.h5ad.file import open_h5ad

    with open_h5ad(source) as file:
        file.guard()


@contextmanager
def refused() -> Generator[None]:
    """Ends the command with what is wrong with a file."""
    try:
        with unchanged():
            yield
    except InvalidSubmission as error:
        raise CommandFailed(error.message, Exit.INVALID_DATA, error.hint) from error


@contextmanager
def unchanged() -> Generator[None]:
    """Says what to do where a file changes while it is read."""
    try:
        yield
    except ObjectGone as error:
        raise CommandFailed(error.message, Exit.USAGE, "run the command again once the file is complete") from error


def check_output(out: Path, source: Path) -> None:
    """Raises CommandFailed (USAGE) where nothing can be written, or where that would be over the `source` itself."""
    if out.exists() and out.samefile(source):
        raise CommandFailed(f"{out} is the file itself, which stays as it is", Exit.USAGE, "name another one with -o")
    if out.is_dir():
        raise CommandFailed(f"a folder, not a file: {out}", Exit.USAGE)
    if not out.parent.is_dir():
        raise CommandFailed(f"{out} cannot be written: no such folder", Exit.USAGE)


@contextmanager
def written(out: Path) -> Generator[BinaryIO]:
    """A new file that is at `out` once it is complete, and not at all if anything fails."""
    try:
        descriptor, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name[:100]}-")
    except OSError as error:
        raise CommandFailed(f"{out} cannot be written: {error.strerror}", Exit.USAGE) from error
    made = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            yield file
        # As any new file has them, not as a temporary one.
        made.chmod(0o666 & ~_umask())
        made.replace(out)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
