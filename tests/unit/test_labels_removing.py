"""Labels taken off again: exactly what a version reserves, so that the file can be submitted as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from celldock.errors import InvalidSubmission
from celldock.h5ad.additions import Additions
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.headers import CROWD, Header
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from celldock.labels import Citation, make_labels, removals
from celldock.report import Finding
from celldock.schema import load_schema, validate
from tests.builders import make_anndata_2_0_0, shared_data
from tests.changing import CONDITION, GUIDES, in_some, write_changed
from tests.parity.labelling import differences, names_of_labels
from tests.reading import read_by_anndata

PLACE = "uns/genetic_perturbations"
CITATION = Citation("https://example.org/cells.h5ad", "https://example.org/heart")


def findings(path: Path, version: str) -> tuple[Finding, ...]:
    """What is found without a scan of the matrices, which labels do not touch."""
    return validate(LocalSource(path), load_schema(version)).findings


def append(file: H5adFile, path: Path, additions: Additions, output: Path) -> None:
    """Writes the file at `path`, which is open, with these additions."""
    with Spool.opened(path.stat().st_size) as spool, output.open("wb") as target:
        file.append(additions, spool).write_to(target)


def label(path: Path, version: str, output: Path) -> Additions:
    """Writes a labelled copy."""
    with open_h5ad(LocalSource(path)) as file:
        made = make_labels(file, file.header(), load_schema(version), citation=CITATION)
        append(file, path, made, output)
        assert not list(differences(made, read_by_anndata(output), names_of_labels(version)))
    return made


def take_off(path: Path, version: str, output: Path) -> Additions:
    """Writes a copy without what `removals` names."""
    with open_h5ad(LocalSource(path)) as file:
        found = removals(file, file.header(), load_schema(version))
        append(file, path, found, output)
    return found


@pytest.mark.parametrize("version", ["7.1.0", "2.0.0"])
def test_a_labelled_file_without_its_labels_is_found_as_the_original_is(tmp_path: Path, version: str) -> None:
    original, labelled, bare = (tmp_path / f"{name}.h5ad" for name in ("original", "labelled", "bare"))
    if version == "7.1.0":
        obs = {CONDITION: in_some("CHEBI:16412", "na"), "author_cell_type": "mine"}
        guides = {"g1": {"intended_features": {"ENSG00000000419": ""}}}
        write_changed(original, obs, {"organism_note": "mine", "genetic_perturbations": guides})
    else:
        make_anndata_2_0_0(n_vars=4).write_h5ad(original)
    made = label(original, version, labelled)
    assert "file.labelled" in {finding.code for finding in findings(labelled, version)}

    removed = take_off(labelled, version, bare)

    assert {(column.frame, column.name) for column in removed.removed_columns} == {
        (column.frame, column.name) for column in made.columns
    }
    # A name of an intended gene may be the author's word: it stays.
    assert set(removed.removed_elements) == {element.path for element in made.elements if PLACE not in element.path}
    assert not removed.columns
    assert not removed.elements
    assert findings(bare, version) == findings(original, version)
    before, after = read_by_anndata(original), read_by_anndata(bare)
    assert list(after.obs.columns) == list(before.obs.columns)
    assert after.uns.keys() == before.uns.keys()


def test_what_the_tool_of_2_0_0_added_is_what_is_removed() -> None:
    original, labelled = (
        read_by_anndata(shared_data(f"pbmc68k_schema2.0.0{which}.h5ad")) for which in ("", "_labelled")
    )
    with open_h5ad(LocalSource(shared_data("pbmc68k_schema2.0.0_labelled.h5ad"))) as file:
        removed = removals(file, file.header(), load_schema("2.0.0"))

    pairs = (("obs", original.obs, labelled.obs), ("var", original.var, labelled.var))
    pairs = (*pairs, ("raw/var", original.raw.var, labelled.raw.var))
    assert {(column.frame, column.name) for column in removed.removed_columns} == {
        (frame, name) for frame, before, after in pairs for name in after.columns.difference(before.columns)
    }
    # uns/schema_version is a curator's key there.
    assert not removed.removed_elements


def test_a_file_without_labels_loses_nothing(tmp_path: Path) -> None:
    with open_h5ad(LocalSource(write_changed(tmp_path / "cells.h5ad", {}, GUIDES))) as file:
        found = removals(file, file.header(), load_schema("7.1.0"))

    assert not found.removed_columns
    assert not found.removed_elements


@pytest.mark.parametrize("crowd", [False, True], ids=["few", "crowd"])
def test_what_was_derived_of_guides_is_removed_from_each(tmp_path: Path, crowd: bool) -> None:
    kept = {"role": "targeting", "intended_features": {"ENSG00000000419": "DPM1"}}
    derived = {"derived_genomic_regions": "1:100-119(+)", "derived_features": {"ENSG00000000419": "DPM1"}}
    guides = {"g0": {**kept, **derived}, "g1": kept, "g2": {**kept, **derived}}
    path = write_changed(tmp_path / "cells.h5ad", {}, {"genetic_perturbations": guides})

    with open_h5ad(LocalSource(path)) as file:
        header = _as_of_a_crowd(file.header()) if crowd else file.header()
        removed = removals(file, header, load_schema("7.1.0")).removed_elements

    assert sorted(removed) == [f"{PLACE}/{guide}/{name}" for guide in ("g0", "g2") for name in sorted(derived)]


def _as_of_a_crowd(header: Header) -> Header:
    """The header as it is where there are so many guides that it only has their names."""
    listed = [each for each in header.uns if not each.path.startswith(f"{PLACE}/") or each.path.count("/") == 2]
    crowd = [replace(each, shape=(CROWD + 1,)) if each.path == PLACE else each for each in listed]
    return replace(header, uns=tuple(crowd))


def test_labels_that_a_header_cannot_list_are_not_passed_over(tmp_path: Path) -> None:
    with open_h5ad(LocalSource(write_changed(tmp_path / "cells.h5ad", {}))) as file:
        header = replace(file.header(), uns_complete=False)
        with pytest.raises(InvalidSubmission, match="too many elements"):
            removals(file, header, load_schema("7.1.0"))
