"""Files that are not what they should be: each is INVALID, its submitter is told what and how to mend it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from tests import builders
from tests.dock import Dock


def _empty(_: Path) -> bytes:
    return b""


def _html(_: Path) -> bytes:
    return b"<!DOCTYPE html><html><body>Not found</body></html>"


def _truncated(good: Path) -> bytes:
    return good.read_bytes()[:-1000]


def _gzipped(good: Path) -> bytes:
    return gzip.compress(good.read_bytes())


def _zipped(_: Path) -> bytes:
    return b"PK\x03\x04" + bytes(200)


def _no_cells(good: Path) -> bytes:
    return builders.make_h5ad(good.with_name("no-cells.h5ad"), n_obs=0).read_bytes()


def _no_genes(good: Path) -> bytes:
    return builders.make_h5ad(good.with_name("no-genes.h5ad"), n_vars=0).read_bytes()


def _external_link(good: Path) -> bytes:
    with h5py.File(good, "r+") as file:
        del file["obsm/X_umap"]
        file["obsm/X_umap"] = h5py.ExternalLink("/etc/hostname", "/x")
    return good.read_bytes()


def _external_storage(good: Path) -> bytes:
    with h5py.File(good, "r+") as file:
        cells = file["obsm/X_umap"].shape[0]
        del file["obsm/X_umap"]
        file["obsm"].create_dataset(
            "X_umap", (cells, 2), "f4", external=[("/proc/self/environ", 0, h5py.h5f.UNLIMITED)]
        )
    return good.read_bytes()


BAD_FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (_empty, "file.empty"),
    "html": (_html, "file.html"),
    "truncated": (_truncated, "file.truncated"),
    "gzipped": (_gzipped, "file.gzip"),
    "zipped": (_zipped, "file.zip"),
    "no-cells": (_no_cells, "obs.empty"),
    "no-genes": (_no_genes, "var.empty"),
    "external-link": (_external_link, "file.external_link"),
    "external-storage": (_external_storage, "file.external_storage"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_invalid_with_a_reason_and_a_hint(dock: Dock, tmp_path: Path, kind: str) -> None:
    make, code = BAD_FILES[kind]
    drop = dock.drop(make(builders.make_h5ad(tmp_path / "good.h5ad")), f"bad/{kind}.h5ad")

    version = dock.finished(drop)

    assert version["state"] == "INVALID"
    assert code in dock.codes(drop)
    assert all(f["message"] and f["suggestion"] for f in dock.report(drop)["findings"] if f["code"] == code)
    assert dock.execution_status(drop) == "SUCCEEDED", "a rejected file is a correct outcome"
    assert dock.answer(drop)["artifacts"] == []
    assert version["report"], "the report's place is on the record"
    assert dock.read_json(dock.inbox, version["report"])["valid"] is False


def test_all_missing_columns_are_told_in_one_round(dock: Dock, tmp_path: Path) -> None:
    file = builders.make_h5ad(tmp_path / "missing.h5ad", drop=["sex_ontology_term_id", "donor_id"])
    drop = dock.drop(file, "bad/missing.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert {"obs.sex_ontology_term_id.missing", "obs.donor_id.missing"} <= dock.codes(drop)


def test_names_from_a_file_are_escaped_in_its_report(dock: Dock, tmp_path: Path) -> None:
    with h5py.File(builders.make_h5ad(tmp_path / "odd.h5ad", drop=["sex_ontology_term_id"]), "r+") as file:
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "Sex_<script>alert(1)</script>"]
        file["obs"]["Sex_<script>alert(1)</script>"] = file["obs/is_primary_data"][...]
    drop = dock.drop(tmp_path / "odd.h5ad", "bad/odd.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    raw = dock.s3.get_object(Bucket=dock.inbox, Key=(dock.version(drop) or {})["report"])["Body"].read()
    assert b"<script>" not in raw
