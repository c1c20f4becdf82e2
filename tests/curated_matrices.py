"""The part of a curation that concerns matrices and genes, done to a file on disk: planned, rewritten, appended to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from celldock.curation.config import Config, Curation
from celldock.curation.ledger import Ledger
from celldock.curation.matrices import MatrixPlan, Original, plan_matrices
from celldock.h5ad.additions import Additions
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.rewriting import limits_of, room_for
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from celldock.schema import load_schema
from celldock.schema.reference import open_reference
from tests.appending import append
from tests.reading import read_by_anndata
from tests.scanning import planned, scanned


@dataclass
class Done:
    """The new file, what was planned and what was told."""

    path: Path
    plan: MatrixPlan
    ledger: Ledger = field(default_factory=Ledger)

    @cached_property
    def data(self) -> Any:
        """What AnnData reads."""
        return read_by_anndata(self.path)

    @property
    def codes(self) -> list[str]:
        """The codes of all changes, in their order."""
        return [change.code for change in self.ledger.changes]

    def change(self, code: str) -> Any:
        """The one change of that code."""
        (found,) = [change for change in self.ledger.changes if change.code == code]
        return found


def do(
    path: Path,
    config: Mapping[str, Any] | None = None,
    *,
    version: str = "7.1.0",
    organism: str = "",
    scan: bool = True,
) -> Done:
    """The file as it is curated by `config`. Raises CurationRefused."""
    source, curation, ledger = LocalSource(path), Curation(Config.model_validate(config or {})), Ledger()
    plan = planned(path)
    found = scanned(path, path.parent, plan) if scan else None
    with ExitStack() as stack:
        file = stack.enter_context(open_h5ad(source, limits=limits_of(source)))
        original = Original(source, file, plan.plan.header, plan.layout, found, path.parent)
        reference = open_reference(version)
        done = plan_matrices(original, curation, load_schema(version), reference, ledger, organism=organism)
        ledger.check()
        target = path
        if done.rewrite is not None:
            spool = stack.enter_context(Spool.opened(0, room=room_for(source)))
            made = file.rewrite(done.rewrite, spool)
            target = path.with_name("rewritten.h5ad")
            with target.open("wb") as stream:
                made.write_to(stream)
    if done.indexes or done.columns:
        target = append(target, Additions(columns=done.columns, indexes=done.indexes)).path
    return Done(target, done, ledger)
