"""What survives in a file after it was deleted: the accounting finds it. And broken files, which it refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.errors import CelldockError, InvalidSubmission
from celldock.h5ad.accounting import accounting, ledger
from celldock.h5ad.accounting.accounting import Accounting, account
from celldock.h5ad.source import LocalSource
from tests import builders

MARKER = "Patient-Zero"
TEXT = h5py.string_dtype()
CELLS = 50


def account_for(path: Path) -> Accounting:
    return account(LocalSource(path))


def make_marked(path: Path, *, compression: Any = None, libver: str = "earliest") -> Path:
    """A file with the marker in every place where data may be."""
    names = [f"{MARKER} number {number}" for number in range(CELLS)]
    number = np.frombuffer(MARKER[:8].encode(), "f8")[0]
    cells = builders.make_anndata(
        n_obs=CELLS,
        obs={
            "text": np.array(names, dtype=object),
            "category": pd.Categorical(names),
            "number": np.full(CELLS, number),
            f"{MARKER} as a name": 1,
        },
        obsm={"X_umap": np.ones((CELLS, 2)), "X_secret": np.full((CELLS, 2), number)},
        uns={"note": f"{MARKER} again", "notes": {"one": f"{MARKER} in depth"}, "kept": "a text"},
    )
    with h5py.File(path, "w", libver=libver) as file:
        anndata.io.write_elem(file, "/", cells, dataset_kwargs={"compression": compression})
        file["obs"].attrs["text"] = f"{MARKER} in an attribute"
        file["obs"].attrs["fixed"] = np.bytes_(f"{MARKER} in a short attribute")
    return path


def _delete(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]

    return change


def _delete_attribute(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file["obs"].attrs[name]

    return change


def _overwrite(file: Any) -> None:
    file["obs/text/values"][...] = [f"anonymous {number}" for number in range(CELLS)]


def _overwrite_with_nothing(file: Any) -> None:
    file["obs/text/values"][...] = ""


def _rename_category(file: Any) -> None:
    categories = file["obs/category/categories"][()]
    categories[3] = b"anonymous"
    file["obs/category/categories"][...] = categories


def _store_anew(file: Any) -> None:
    del file["obs/text"]
    file["obs"].create_dataset("text", data=["x"] * CELLS, dtype=TEXT)


def _rename(file: Any) -> None:
    file["obs"].move(f"{MARKER} as a name", "x")


def _change_attribute(file: Any) -> None:
    file["obs"].attrs["text"] = "nothing"


def _replace_by_anndata(file: Any) -> None:
    anndata.io.write_elem(file, "uns", {"kept": "a text"})


def _replace_frame(file: Any) -> None:
    frame: Any = anndata.io.read_elem(file["obs"])
    anndata.io.write_elem(file, "obs", frame[["assay_ontology_term_id"]])


CHANGES = {
    "a column of text": _delete("obs/text"),
    "a categorical": _delete("obs/category"),
    "categories": _delete("obs/category/categories"),
    "a number": _delete("obs/number"),
    "an embedding": _delete("obsm/X_secret"),
    "a note": _delete("uns/note"),
    "a dictionary": _delete("uns/notes"),
    "an attribute of text": _delete_attribute("text"),
    "a column's name": _delete(f"obs/{MARKER} as a name"),
    "values overwritten": _overwrite,
    "values emptied": _overwrite_with_nothing,
    "a category renamed": _rename_category,
    "a column stored anew": _store_anew,
    "a column renamed": _rename,
    "an attribute changed": _change_attribute,
    "uns by anndata": _replace_by_anndata,
    "obs by anndata": _replace_frame,
}


@pytest.mark.parametrize(("libver", "compression"), [("earliest", None), ("latest", "gzip")])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_deleted_is_found(
    change: Callable[[Any], None], libver: str, compression: Any, tmp_path: Path
) -> None:
    path = make_marked(tmp_path / "cells.h5ad", compression=compression, libver=libver)
    assert account_for(path).clean
    with h5py.File(path, "r+", libver=libver) as file:
        change(file)
    found = account_for(path)
    assert (found.verdict, found.residue_count > 0) == ("residue", True)
    assert found.reason.startswith("The file holds ")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_every_place_of_what_was_deleted_is_named(libver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the marker is left once nothing in the file holds it any more, there is a residue."""
    monkeypatch.setattr(ledger, "MAX_RESIDUES", 10_000)
    path = make_marked(tmp_path / "cells.h5ad", libver=libver)
    with h5py.File(path, "r+", libver=libver) as file:
        for name in ("obs/text", "obs/category", "obs/number", f"obs/{MARKER} as a name", "obsm/X_secret"):
            del file[name]
        for name in ("uns/note", "uns/notes"):
            del file[name]
        for name in ("text", "fixed", "column-order"):
            del file["obs"].attrs[name]
    found, content = account_for(path), path.read_bytes()
    at, left = content.find(MARKER[:8].encode()), 0
    while at >= 0:
        assert any(place.offset < at + 8 and at < place.offset + place.length for place in found.residues), at
        left += 1
        at = content.find(MARKER[:8].encode(), at + 1)
    assert left > CELLS


def test_text_next_to_text_in_use(tmp_path: Path) -> None:
    """One text of many, in a collection that other texts keep in use."""
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["texts"] = ["kept", MARKER, "kept too"]
    assert account_for(path).clean
    content = path.read_bytes()
    with h5py.File(path, "r+") as file:
        pointers = file["texts"].id.get_offset()
    # The pointer alone is gone, as if the value had been overwritten by a program that leaves heaps alone.
    path.write_bytes(content[: pointers + 16] + bytes(16) + content[pointers + 32 :])
    found = account_for(path)
    (residue,) = found.residues
    assert content[residue.offset : residue.offset + residue.length] == MARKER.encode()
    assert residue.kind == "among the texts of any length"


@pytest.mark.parametrize(("junk", "verdict"), [(b"\0" * 5000, "clean"), (b"\0" * 3000 + b"junk\0", "residue")])
def test_what_follows_the_end(junk: bytes, verdict: str, tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + junk)
    found = account_for(path)
    assert found.verdict == verdict
    assert [(place.offset, place.length) for place in found.residues] == ([] if found.clean else [(size + 3000, 4)])


def test_a_large_hole_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "MAX_UNCLAIMED", 100_000)
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + 200_000)
    found = account_for(path)
    assert found.verdict == "unknown"
    assert "bytes of the file belong to nothing in it" in found.reason


# --- Broken files ---


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_broken_bytes_are_refused_or_followed(libver: str, tmp_path: Path) -> None:
    """Whatever is in the file, the answer is a verdict or a refusal."""
    whole = make_marked(tmp_path / "cells.h5ad", compression="gzip", libver=libver).read_bytes()
    dice, outcomes = random.Random(7), set[str]()
    for _ in range(100):
        broken = bytearray(whole)
        for _ in range(dice.choice((1, 1, 20))):
            at = dice.randrange(len(broken))
            broken[at] = dice.choice((0, 0xFF, 0x7F, dice.randrange(256), broken[at] ^ 1))
        path = tmp_path / "broken.h5ad"
        path.write_bytes(broken)
        try:
            outcomes.add(account_for(path).verdict)
        except CelldockError as error:
            outcomes.add(error.code)
    assert "file.damaged" in outcomes
    assert outcomes <= {"clean", "residue", "unknown", "file.damaged", "file.filter_unknown"}


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.99])
def test_a_file_cut_short_is_refused(keep: float, tmp_path: Path) -> None:
    path = builders.make_truncated(tmp_path / "cells.h5ad", keep)
    with pytest.raises(InvalidSubmission, match="is damaged"):
        account_for(path)


def test_two_objects_in_the_same_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.h5"
    with h5py.File(path, "w") as file:
        first, second = (file.create_dataset(name, data=np.arange(1000)).id.get_offset() for name in ("a", "b"))
    assert first is not None
    assert second is not None
    content = path.read_bytes()
    assert content.count(second.to_bytes(8, "little")) == 1
    path.write_bytes(content.replace(second.to_bytes(8, "little"), (first + 8).to_bytes(8, "little")))
    with pytest.raises(InvalidSubmission, match="two things claim the same bytes"):
        account_for(path)


def test_an_index_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "circle.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(2,))
    content = bytearray(path.read_bytes())
    root = next(at for at in range(len(content)) if content[at : at + 5] == b"TREE\x01" and content[at + 5])
    first_child = root + 24 + 24
    content[first_child : first_child + 8] = root.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InvalidSubmission, match="is damaged"):
        account_for(path)
