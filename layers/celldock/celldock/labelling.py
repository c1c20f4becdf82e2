"""One file labelled whole, in this process: what the portal adds, and the proof that nothing else has changed.

On AWS the step Label calls the same function: see `celldock.cloud.steps.labelling`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from celldock.errors import CannotAppend
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.additions import Additions
from celldock.h5ad.additivity import Additivity, prove_additivity
from celldock.h5ad.appended import AppendedFile
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.headers import Header
from celldock.h5ad.repacking import LIMITS, Repacking, prove_repacked, repack
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool, SpooledFile
from celldock.labels import Citation, make_labels, removals
from celldock.schema import Schema, Setting

type _Make = Callable[[H5adFile, Header], Additions]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file with its labels on, as long as its context lasts.

    `additivity` is the proof that nothing of the submitted file was lost. Where that had to be written anew first,
    `repacking` says why, and proves that the stored data are the same; the new file then has nothing by reference.
    """

    file: AppendedFile
    additivity: Additivity
    repacking: Repacking | None

    @property
    def is_of_original(self) -> bool:
        """Whether what the new file did not change are the submitted file's own bytes, in their places."""
        return self.repacking is None

    def to_json(self) -> dict[str, Any]:
        """The record that goes with the file, a document for `json.dumps`."""
        repacking = self.repacking.to_json() if self.repacking else None
        return {"additivity": self.additivity.to_json(), "repacking": repacking}


@contextmanager
def label_file(
    source: ByteSource,
    schema: Schema,
    *,
    scratch: Path,
    setting: Setting | None = None,
    citation: Citation | None = None,
) -> Generator[Labelled]:
    """A file that `schema` has found valid, with the portal's labels appended.

    It is written anew first, into `scratch`, where it cannot be appended to, and where it holds bytes that none of its
    objects reaches: what somebody has deleted is not to be published. Memory: some MiB, and a stored chunk where the
    file is written anew. Raises InvalidSubmission for a damaged file, ServiceFault if a proof fails, and what the
    source raises.
    """
    make = partial(make_labels, schema=schema, setting=setting, citation=citation)
    with ExitStack() as stack:
        labelled, reason = None, account(source).reason
        if not reason:
            try:
                labelled = stack.enter_context(_changed(source, make, scratch))
            except CannotAppend as error:
                reason = error.message
        if labelled is None:
            base, repacking = stack.enter_context(_repacked(source, reason, scratch))
            appended = stack.enter_context(_changed(base, make, scratch))
            labelled = Labelled(appended.file, appended.additivity, repacking)
        yield labelled


@contextmanager
def unlabel_file(source: ByteSource, schema: Schema, *, scratch: Path) -> Generator[SpooledFile]:
    """A file without what has the names of the labels of `schema`, written anew into `scratch`.

    The guard must have passed it. Raises as `label_file` does, and CannotAppend for encodings that no label was ever
    added to.
    """
    with (
        _changed(source, partial(removals, schema=schema), scratch) as removed,
        _repacked(removed.file, "labels were taken off", scratch) as (file, _),
    ):
        yield file


@contextmanager
def _changed(source: ByteSource, make: _Make, scratch: Path) -> Generator[Labelled]:
    with Spool.opened(source.size, scratch) as spool, open_h5ad(source) as original:
        additions = make(original, original.header())
        file = original.append(additions, spool)
        with open_h5ad(file) as new:
            additivity = prove_additivity(original, new, file, additions)
        yield Labelled(file, additivity, None)


@contextmanager
def _repacked(source: ByteSource, reason: str, scratch: Path) -> Generator[tuple[SpooledFile, Repacking]]:
    with Spool.opened(0, scratch) as spool:
        with open_h5ad(source, limits=LIMITS) as original:
            file = repack(original, source, spool)
            with open_h5ad(file) as new:
                repacking = prove_repacked(original, source, new, file, reason)
        yield file, repacking
