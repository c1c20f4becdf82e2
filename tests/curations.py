"""Configs at work on small files: what a curation adds to them, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from celldock.curation.columns import curate_columns
from celldock.curation.ledger import Change, CurationRefused, Ledger
from celldock.curation.reading import read_curation
from celldock.h5ad.additions import Additions
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import load_schema
from celldock.schema.reference import open_reference
from tests.builders import OBS, make_anndata
from tests.parity.labelling import values_of

CELLS = 8


@dataclass(frozen=True)
class CuratedColumns:
    """What came of a config."""

    additions: Additions
    columns: Mapping[str, pd.Series]
    ledger: Ledger

    @property
    def elements(self) -> dict[str, Any]:
        """The new elements of uns by path."""
        return {element.path: element.value for element in self.additions.elements}

    @property
    def renamed(self) -> dict[str, str]:
        """New names by the old paths."""
        columns = {f"{each.frame}/{each.name}": each.to for each in self.additions.renamed_columns}
        return columns | {each.path: each.to for each in self.additions.renamed_elements}

    def changes(self, code: str) -> dict[str, Change]:
        """The changes of a code by what they are about."""
        return {change.where: change for change in self.ledger.changes if change.code == code}


def write_cells(
    path: Path,
    obs: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    drop: Iterable[str] = OBS,
    **options: Any,
) -> Path:
    """A file of a lab: with these columns of obs, and of the schema's those that `drop` leaves."""
    data = make_anndata(**{"n_obs": CELLS, **options}, drop={*drop} - {*(obs or {})}, obs=obs)
    for key in list(data.uns):
        del data.uns[key]
    data.uns.update(uns or {})
    data.write_h5ad(path)
    return path


def curate(path: Path, config: str, version: str = "7.1.0", **options: Any) -> CuratedColumns:
    """What a config comes to on a file, with the values of the new columns by path."""
    ledger = Ledger()
    with open_h5ad(LocalSource(path)) as file:
        curation = read_curation(config.encode())
        schema, reference = load_schema(version), open_reference(version)
        additions = curate_columns(file, file.header(), curation, schema, reference, ledger, **options)
        columns = {f"{column.frame}/{column.name}": values_of(column) for column in additions.columns}
    return CuratedColumns(additions, columns, ledger)


def problems(curated: CuratedColumns) -> list[tuple[str, str]]:
    """The codes of all problems, with the lines that they are in."""
    found = [finding for finding in curated.ledger.findings if finding.severity == "error"]
    return [(finding.code, finding.where.removeprefix("curation.yaml, ")) for finding in found]


def refused(config: str | bytes) -> Sequence[Finding]:
    """What is wrong with a config that is refused."""
    with pytest.raises(CurationRefused) as refusal:
        read_curation(config if isinstance(config, bytes) else config.encode())
    return refusal.value.findings
