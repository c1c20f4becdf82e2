"""One file curated whole, in this process: what a config says is done to it, before it is validated.

What changes matrices or genes is written anew; all else is added to what is there, as labels are. On AWS the step
Curate calls the same function: see `celldock.cloud.steps.curation`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from celldock.curation import Curation, Ledger
from celldock.curation.columns import curate_columns, stated_organism
from celldock.curation.matrices import MatrixPlan, plan_matrices
from celldock.curation.starter import starter_config
from celldock.curation.streaming import Original
from celldock.errors import CannotAppend, InvalidSubmission
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.additions import Additions
from celldock.h5ad.additivity import Additivity, prove_additivity
from celldock.h5ad.appended import AppendedFile
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.repacking import LIMITS as REPACKING
from celldock.h5ad.repacking import Repacking, prove_repacked, repack
from celldock.h5ad.rewriting import limits_of, room_for
from celldock.h5ad.rewritten import Rewriting, prove_rewritten
from celldock.h5ad.scrubbing import scrubbed
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool, SpooledFile
from celldock.plan import Progress, make_plan, scan_file
from celldock.schema import Schema
from celldock.schema.reference import Reference, open_reference

_STARTER_BYTES = 4_000_000_000
"""The largest file whose values are looked at for a starter config."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, in bytes, of which all values are read, and of which anything is written anew."""

    scanned_bytes: int
    rewritten_bytes: int


class CuratedFile(Protocol):
    """The new file, as a source and as what `celldock.cloud.composing` takes."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    @property
    def new_ranges(self) -> Sequence[tuple[int, int]]:
        """Where it is not the original, which it was added to; all of it where it was written anew."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""
        ...

    def write_to(self, target: BinaryIO) -> None:
        """Writes the whole file."""
        ...


@dataclass(frozen=True, slots=True)
class Curated:
    """A curated file, as long as its context lasts, and what was done to it.

    `file` is None where nothing was to be written. `additivity` is the proof that what was added left all else as it
    was; where matrices or genes changed, `rewriting` is the proof that the rest was taken over as it was stored. What
    the config drops leaves no trace in the file: some have to be written anew for that, as `repacking` says.
    """

    schema_version: str
    ledger: Ledger
    file: CuratedFile | None = None
    additivity: Additivity | None = None
    rewriting: Rewriting | None = None
    repacking: Repacking | None = None

    @property
    def is_of_original(self) -> bool:
        """Whether what the new file did not change are the original's own bytes, in their places."""
        return self.rewriting is None and self.repacking is None

    def to_json(self) -> dict[str, Any]:
        """The record of the curation, a document for `json.dumps`."""
        return {
            "schema_version": self.schema_version,
            "size": self.file.size if self.file else None,
            "changes": [change.to_json() for change in self.ledger.changes],
            "findings": [finding.model_dump(mode="json") for finding in self.ledger.findings],
            "additivity": self.additivity.to_json() if self.additivity else None,
            "rewriting": self.rewriting.to_json() if self.rewriting else None,
            "repacking": self.repacking.to_json() if self.repacking else None,
        }


@contextmanager
def curate_file(
    source: ByteSource,
    curation: Curation,
    schema: Schema,
    *,
    scratch: Path,
    progress: Progress | None = None,
    limits: Limits | None = None,
    dry_run: bool = False,
) -> Generator[Curated]:
    """A file as its config wants it for `schema`; the original stays as it is. Nothing is written for a `dry_run`.

    `scratch` is a local folder, which takes the whole file where matrices or genes change. `progress` is told how many
    stored elements of the matrices have been looked at. Memory: that of the plan, of a scanned partition, 96 MiB for
    the rows of a new matrix, and the ids of all genes.

    Raises:
        CurationRefused: config and file do not fit together; all that is wrong is told at once.
        InvalidSubmission: a file that is refused, damaged or beyond the limits.
        ServiceFault: a proof failed.
    """
    planned = make_plan(source, [], formats=[])
    reference = open_reference(schema.version)
    ledger = Ledger()
    with ExitStack() as stack:
        file = stack.enter_context(open_h5ad(source, limits=limits_of(source)))
        scan = None
        if curation.config.tidy or curation.config.matrices:
            _check_size(source, limits.scanned_bytes if limits else None, "looked through", curation)
            scan = scan_file(source, planned, scratch=scratch, progress=progress)
        original = Original(source, file, planned.plan.header, planned.layout, scan, scratch)
        organism = stated_organism(file, original.header, curation, schema, reference) or ""
        plan = plan_matrices(original, curation, schema, reference, ledger, organism=organism)
        making = _Making(curation, schema, reference, plan)
        additions = making.additions(original.file, ledger)
        ledger.check()
        curated = Curated(schema.version, ledger)
        if dry_run:
            yield curated
            return
        base, base_file = source, file
        if plan.rewrite is not None:
            _check_size(source, limits.rewritten_bytes if limits else None, "written anew", curation)
            base, rewriting = stack.enter_context(_rewritten(original, plan, scratch))
            base_file = stack.enter_context(open_h5ad(base))
            # Of a file with other genes the columns are others, and so are the frames that they go into.
            additions = making.additions(base_file, Ledger())
            curated = replace(curated, rewriting=rewriting)
        yield _added(stack, base, base_file, additions, curated, scratch)


def starter(source: ByteSource, schema: Schema, *, scratch: Path, progress: Progress | None = None) -> str:
    """A commented config to begin with, made for a file; see `starter_config`.

    The values of matrices are looked at in files of up to 4 GB. Raises InvalidSubmission for a file that is refused.
    """
    planned = make_plan(source, [], formats=[])
    small = source.size <= _STARTER_BYTES
    scan = scan_file(source, planned, scratch=scratch, progress=progress) if small else None
    with open_h5ad(source) as file:
        return starter_config(file, planned.plan.header, scan, schema, open_reference(schema.version))


@dataclass(frozen=True, slots=True)
class _Making:
    """Makes what is added to one file."""

    curation: Curation
    schema: Schema
    reference: Reference
    plan: MatrixPlan

    def additions(self, file: H5adFile, ledger: Ledger) -> Additions:
        """What is added to `file`: the original, or what was written anew of it."""
        made = curate_columns(
            file,
            file.header(),
            self.curation,
            self.schema,
            self.reference,
            ledger,
            genes=self.plan.genes,
            ids=self.plan.ids,
        )
        return replace(made, columns=(*made.columns, *self.plan.columns), indexes=self.plan.indexes)


def _check_size(source: ByteSource, limit: int | None, what: str, curation: Curation) -> None:
    if limit is not None and source.size > limit:
        raise InvalidSubmission(
            f"The file takes {source.size:,} bytes, and can be {what} here up to {limit:,}.",
            code="curation.too_large",
            where=curation.where("tidy"),
            hint="Run celldock curate on your own machine, and upload what it writes without a config; or write "
            "tidy: false, if only obs and uns are to be changed.",
        )


@contextmanager
def _rewritten(original: Original, plan: MatrixPlan, scratch: Path) -> Generator[tuple[SpooledFile, Rewriting]]:
    assert plan.rewrite is not None
    with Spool.opened(0, scratch, room=room_for(original.source)) as spool:
        try:
            file = original.file.rewrite(plan.rewrite, spool)
        except CannotAppend as error:
            raise _too_old(error) from error
        with open_h5ad(file) as new:
            rewriting = prove_rewritten(original.file, original.source, new, file, plan.rewrite)
        yield file, rewriting


def _added(
    stack: ExitStack, base: ByteSource, file: H5adFile, additions: Additions, curated: Curated, scratch: Path
) -> Curated:
    spool = stack.enter_context(Spool.opened(base.size, scratch))
    try:
        added = file.append(additions, spool)
    except CannotAppend as error:
        raise _too_old(error) from error
    if additions.renamed_columns or additions.renamed_elements or additions.indexes or _removes(additions):
        added = scrubbed(added)
    with open_h5ad(added) as new:
        additivity = prove_additivity(file, new, added, additions)
    curated = replace(curated, file=added, additivity=additivity)
    has_traces = _removes(additions) and not account(added).clean
    return _without_traces(stack, added, curated, scratch) if has_traces else curated


def _removes(additions: Additions) -> bool:
    return bool(additions.removed_columns or additions.removed_elements)


def _without_traces(stack: ExitStack, added: AppendedFile, curated: Curated, scratch: Path) -> Curated:
    """The same file written anew, where what was dropped is still among its bytes."""
    spool = stack.enter_context(Spool.opened(0, scratch, room=room_for(added)))
    with open_h5ad(added, limits=REPACKING) as full:
        file = repack(full, added, spool)
        with open_h5ad(file) as new:
            repacking = prove_repacked(full, added, new, file, "something was dropped")
    return replace(curated, file=file, repacking=repacking)


def _too_old(error: CannotAppend) -> InvalidSubmission:
    return InvalidSubmission(
        error.message,
        code=error.code,
        where=error.where,
        hint="Load the file with anndata.read_h5ad, write it anew with write_h5ad, and curate that.",
    )
