"""What a Zarr store cannot hold is left out and listed; damaged files and incomplete parts are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault
from celldock.formats.protocol import Partition
from celldock.formats.zarr_layout import MAX_NAME_BYTES, path_obstacle
from celldock.h5ad.elements import MAX_ELEMENT_BYTES
from tests.builders import make_anndata, make_h5ad
from tests.subjects import sink_of, subject_of
from tests.zarr_stores import OTHERS, ZARR, convert, make_store, read, use_small_chunks


def test_what_a_store_cannot_hold_is_left_out_and_listed(tmp_path: Path) -> None:
    long = "n" * (MAX_NAME_BYTES + 1)
    dropped = OTHERS - {"tissue_type"}
    obs = {"__reserved": [1, 2, 3], long: [1, 2, 3], "zarr.json": [1, 2, 3]}
    h5ad = make_h5ad(
        tmp_path / "a.h5ad", n_obs=3, raw=False, drop=dropped, obs=obs, uns={"back\\slash": {"n": 1, "below": {"m": 2}}}
    )
    with h5py.File(h5ad, "r+") as file:
        del file["obs/donor_id"]
        file["obs/donor_id"] = np.zeros(3, np.complex64)
        file["uns/odd"] = h5py.Empty("f4")
        file["obsm/text"] = ["a", "b", "c"]

    make_store(h5ad, tmp_path / "zarr")

    omitted = ZARR.plan(subject_of(h5ad).header, 0).omitted
    assert {item.where for item in omitted} == {
        *(f"obs/{name}" for name in obs),
        "obs/donor_id",
        "obsm/text",
        "uns/back\\slash",
        "uns/odd",
    }
    assert all(item.reason for item in omitted)
    found = read(tmp_path / "zarr")
    assert set(found.obs.columns) == {"tissue_type"}
    assert set(found.obsm) == {"X_umap"}
    assert found.uns["title"] == "A small dataset"


def test_names_lead_nowhere_else() -> None:
    for path in ("obs/..", "obs/./a", "obs//a", "uns/a\\b", "uns/a\nb", "uns/zarr.json", "obs/" + "x/" * 400):
        assert path_obstacle(path), path
    assert path_obstacle("obs/Größe (µm), 50 %") == ""


@pytest.mark.long
def test_an_element_that_turns_out_too_large_makes_the_file_infeasible(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=1, raw=False, x=None)
    with h5py.File(h5ad, "r+") as file:
        file.create_dataset("uns/text", data=["x" * (MAX_ELEMENT_BYTES + 1)])

    subject, parts = convert(h5ad, tmp_path / "zarr")

    with pytest.raises(NotFeasible):
        ZARR.assemble(subject, parts, sink_of(tmp_path / "zarr"))


@pytest.mark.parametrize(
    ("dataset", "place", "value"),
    [
        ("X/indices", 3, 10),
        ("obs/donor_id/codes", 1, 5),
        pytest.param("X/indptr", 2, 10**6, marks=pytest.mark.long),
        pytest.param("obsp/graph/indices", 0, 3, marks=pytest.mark.long),
        pytest.param("uns/graph/indptr", 3, 0, marks=pytest.mark.long),
    ],
)
def test_values_that_contradict_the_header_are_the_submitters_fault(
    tmp_path: Path, dataset: str, place: int, value: int
) -> None:
    data = make_anndata(n_obs=3, raw=False, drop=OTHERS)
    data.obsp["graph"] = sparse.csr_matrix(np.ones((3, 3)))
    data.uns["graph"] = sparse.csr_matrix(np.ones((3, 3)))
    data.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file[dataset][place] = value

    with pytest.raises(InvalidSubmission):
        convert(tmp_path / "a.h5ad", tmp_path / "zarr")


def test_a_wrong_pointer_is_found_where_one_part_ends_and_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_chunks(monkeypatch)
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=40, raw=False, drop=OTHERS)
    with h5py.File(h5ad, "r+") as file:
        # The last pointer of the first shard: each shard rises by itself.
        file["X/indptr"][23] = len(file["X/data"])
    subject, sink = subject_of(h5ad), sink_of(tmp_path / "zarr")

    ZARR.convert(subject, Partition(0, 0, 20), sink)

    with pytest.raises(InvalidSubmission):
        ZARR.convert(subject, Partition(1, 20, 40), sink)


def test_an_artifact_consists_of_all_parts_and_of_nothing_less(tmp_path: Path) -> None:
    subject, parts = convert(make_h5ad(tmp_path / "a.h5ad", n_obs=9, raw=False, drop=OTHERS), tmp_path / "zarr", [2, 5])

    for incomplete in ([], parts[:2], parts[1:], [parts[0], parts[2]], [parts[1], parts[0], parts[2]], parts + parts):
        with pytest.raises(ServiceFault):
            ZARR.assemble(subject, incomplete, sink_of(tmp_path / "zarr"))
