"""What is appended leaves the original's bytes alone, whoever says otherwise."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from celldock.errors import HostileFile, ServiceFault
from celldock.h5ad.additions import Additions, NewColumn, NewElement
from celldock.h5ad.additivity import prove_additivity
from celldock.h5ad.appended import Segment, assemble
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.hdf5.overlay import Overlay
from celldock.h5ad.sandbox.limits import PAGE_BYTES
from celldock.h5ad.sandbox.protocol import Malformed
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders
from tests.appending import append

CELLS = 30


def labels(rows: int = CELLS) -> Additions:
    codes = np.arange(rows) % 3 - 1
    names = np.array([f"{row:010}" for row in range(rows)], dtype=object)
    return Additions(
        (
            *(NewColumn("obs", f"label_{i}", "categorical", rows, lambda: [codes], ("a", "b")) for i in range(12)),
            NewColumn("obs", "observation_joinid", "string", rows, lambda: [names]),
        ),
        (NewElement("uns/schema_version", "7.1.0"), NewElement("uns/made/by", "celldock")),
    )


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=CELLS)


# --- Any file ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
KEYS = st.text("abcxyzäβ_- .", min_size=1, max_size=8).filter(lambda key: key.strip(". ") == key)
SCALARS = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | TEXTS
ARRAYS = st.lists(st.integers(-100, 100), max_size=5).map(np.array) | st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: np.array(texts, dtype=object)
)
UNS = st.dictionaries(
    KEYS,
    st.recursive(SCALARS | ARRAYS, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6),
    max_size=4,
)
DTYPES = ("int8", "uint16", "int32", "int64", "float16", "float32", "float64", "bool")
COLUMN_KINDS = (*DTYPES, "text", "categorical", "ordered", "Int32", "boolean")


def a_column(kind: str, rows: int, rng: np.random.Generator) -> Any:
    numbers = rng.integers(0, 2 if kind == "bool" else 100, rows)
    missing = rng.random(rows) < 0.3
    match kind:
        case "text":
            return np.array([f"π{number}" for number in numbers], dtype=object)
        case "categorical" | "ordered":
            codes = np.where(missing, -1, numbers % 5)
            names = pd.Index([f"category {i}" for i in range(6)], dtype=object)
            return pd.Categorical.from_codes(codes, names, ordered=kind == "ordered")
        case "Int32" | "boolean":
            values = numbers.astype(bool) if kind == "boolean" else numbers.astype(np.int32)
            array = pd.arrays.BooleanArray if kind == "boolean" else pd.arrays.IntegerArray
            return array(values, missing)
        case _:
            return numbers.astype(kind)


def a_matrix(kind: str, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> Any:
    dense = (rng.integers(0, 5, shape) * (rng.random(shape) < 0.5)).astype(dtype)
    return {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[kind](dense)


@st.composite
def files(draw: st.DrawFn) -> anndata.AnnData:
    rows, genes = draw(st.integers(1, 60)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = []
    for length in (rows, genes):
        kinds = draw(st.dictionaries(KEYS, st.sampled_from(COLUMN_KINDS), max_size=8))
        index = pd.Index([f"name-{i}" for i in range(length)], dtype=object)
        frame = pd.DataFrame({name: a_column(kind, length, rng) for name, kind in kinds.items()}, index=index)
        frames.append(frame)
    encodings, dtypes = st.sampled_from(("csr", "csc", "dense")), st.sampled_from(DTYPES[2:7])
    embeddings: dict[str, Any] = {"X_pca": rng.random((rows, 2)).astype(draw(dtypes))}
    data = anndata.AnnData(
        X=a_matrix(draw(encodings), (rows, genes), draw(st.sampled_from(("float32", "int64"))), rng),
        obs=frames[0],
        var=frames[1],
        uns=draw(UNS),
        layers={
            f"layer {i}": a_matrix(
                draw(encodings), (rows, genes), draw(dtypes.filter(lambda name: name != "float16")), rng
            )
            for i in range(draw(st.integers(0, 2)))
        },
        obsm=embeddings,
    )
    if draw(st.booleans()):
        data.raw = data.copy()
    return data


def elements(file: h5py.File, path: str = "") -> Iterator[str]:
    """Everything that AnnData reads by itself; of groups that get new members, each member."""
    group = file[path] if path else file
    for name in group:
        below = f"{path}/{name}".lstrip("/")
        if below in ("obs", "var", "uns", "raw", "raw/var"):
            yield from elements(file, below)
        else:
            yield below


def assert_same(before: Any, after: Any) -> None:
    match before:
        case dict():
            assert list(before) == list(after)
            for key, value in before.items():
                assert_same(value, after[key])
        case pd.Categorical() | pd.api.extensions.ExtensionArray():
            pd.testing.assert_extension_array_equal(before, after)
        case np.ndarray():
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        case _ if sparse.issparse(before):
            assert before.format == after.format
            for part in ("data", "indices", "indptr"):
                np.testing.assert_array_equal(getattr(before, part), getattr(after, part))
        case _:
            assert type(before) is type(after)
            assert before == after


def stored_ranges(file: Any) -> Mapping[str, list[tuple[int, int]]]:
    """Where the bytes of all datasets lie, asked of h5py."""
    found: dict[str, list[tuple[int, int]]] = {}

    def note(path: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            ranges = found.setdefault(path, [])
            if node.chunks is not None:
                identifier: Any = node.id
                identifier.chunk_iter(lambda item: ranges.append((item.byte_offset, item.byte_offset + item.size)))
            elif (offset := node.id.get_offset()) is not None:
                ranges.append((offset, offset + node.id.get_storage_size()))

    file.visititems(note)
    return found


def heaps(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the collections of strings lie: their signature is looked for, their size is behind it."""
    at = content.find(b"GCOL\x01")
    while at >= 0:
        yield at, at + int.from_bytes(content[at + 8 : at + 16], "little")
        at = content.find(b"GCOL\x01", at + 8)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=files(), compression=st.sampled_from([None, "gzip", "lzf"]))
def test_every_original_element_reads_back_and_lies_where_it_lay(
    tmp_path: Path, data: anndata.AnnData, compression: Any
) -> None:
    path = tmp_path / "any.h5ad"
    data.write_h5ad(path, compression=compression)
    result = append(path, labels(data.n_obs))
    old, new = path.read_bytes(), result.path.read_bytes()
    with h5py.File(path) as before, h5py.File(result.path) as after:
        for element in elements(before):
            assert_same(anndata.io.read_elem(before[element]), anndata.io.read_elem(after[element]))
        ranges = stored_ranges(before)
        assert ranges == {name: found for name, found in stored_ranges(after).items() if name in ranges}
    for start, stop in [*(piece for pieces in ranges.values() for piece in pieces), *heaps(old)]:
        assert old[start:stop] == new[start:stop]
    assert (result.proof.kept_datasets, result.proof.kept_pieces) == (len(ranges), sum(map(len, ranges.values())))
    assert result.proof.kept_bytes == sum(stop - start for found in ranges.values() for start, stop in found)
    assert result.proof.changed_bytes == sum(a != b for a, b in zip(old, new, strict=False))
    assert set(data.obs) < set(anndata.read_h5ad(result.path).obs)
    assert append(path, labels(data.n_obs)).path.read_bytes() == new


def test_the_pieces_make_up_the_new_file(cells: Path) -> None:
    result = append(cells, labels())
    old, new = cells.read_bytes(), result.path.read_bytes()
    at = 0
    for segment in result.segments:
        if not segment.is_new:
            assert segment.offset == at
            assert new[at : at + segment.length] == old[at : at + segment.length]
        at += segment.length
    assert at == len(new)
    assert all(old[at] != new[at] for start, stop in result.changed for at in range(start, stop))
    assert result.proof.appended_bytes == len(new) - len(old)


# --- The proof fails where it should ---


@pytest.mark.parametrize("path", ["raw/X/data", "obsm/X_umap"])
def test_overwritten_data_are_noticed(cells: Path, path: str) -> None:
    source, additions = LocalSource(cells), labels()
    with h5py.File(cells) as file:
        start = stored_ranges(file)[path][0][0] + 1
    with open_h5ad(source) as original, Spool.opened(source.size) as spool:
        appended = original.append(additions, spool)
        forged = replace(appended, changed=tuple(sorted([*appended.changed, (start, start + 1)])))
        with open_h5ad(appended) as new, pytest.raises(ServiceFault, match=f"{path} has bytes") as broken:
            prove_additivity(original, new, forged, additions)
    assert broken.value.code == "additivity.broken"


@pytest.mark.parametrize("change", ["moved", "gone", "cast"])
def test_data_that_moved_are_noticed(tmp_path: Path, cells: Path, change: str) -> None:
    other = tmp_path / "other.h5ad"
    other.write_bytes(cells.read_bytes())
    with h5py.File(other, "r+") as file:
        values = file["obsm/X_umap"][:]
        spare = file.create_dataset("uns/spare", data=np.zeros(5000))
        del file["obsm/X_umap"]
        del spare
        if change != "gone":
            file["obsm/X_umap"] = values.astype("f8" if change == "cast" else "f4")
    source, additions = LocalSource(cells), labels()
    with open_h5ad(source) as original, Spool.opened(source.size) as spool:
        appended = original.append(additions, spool)
        with open_h5ad(LocalSource(other)) as new, pytest.raises(ServiceFault, match="X_umap"):
            prove_additivity(original, new, appended, additions)


# --- Pages ---


class SpoolKeeper:
    """Hands pages to a spool as a child does over its socket."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def keep(self, pages: Sequence[tuple[int, bytes | bytearray]]) -> None:
        body = np.frombuffer(b"".join(page for _, page in pages), np.uint8)
        self._spool.keep([number for number, _ in pages], body)

    def recall(self, number: int) -> bytearray:
        return bytearray(self._spool.recall(number))


def bytes_of(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


SIZES = st.sampled_from([1, 5, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 3 * PAGE_BYTES, 3 * PAGE_BYTES + 7])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=SIZES,
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "write", "read", "truncate"]), st.integers(0, 5 * PAGE_BYTES), SIZES),
        max_size=25,
    ),
    last=st.integers(1, 6 * PAGE_BYTES),
)
def test_an_overlay_is_a_file(tmp_path: Path, size: int, steps: list[tuple[str, int, int]], last: int) -> None:
    original = bytes_of(size, 0)
    (tmp_path / "original").write_bytes(original)
    model = io.BytesIO(original)
    with Spool.opened(size) as spool:
        overlay = Overlay(io.FileIO(tmp_path / "original"), size, SpoolKeeper(spool), max_pages=2)
        for seed, (step, at, length) in enumerate(steps):
            for file in (overlay, model):
                file.seek(at)
            if step == "write":
                data = bytes_of(length, seed)
                assert overlay.write(data) == model.write(data)
            elif step == "read":
                assert overlay.read(length) == model.read(length)
            else:
                overlay.truncate(max(at, size))
                grown = max(at, size) - len(model.getbuffer())
                model.truncate(max(at, size))
                model.seek(0, io.SEEK_END)
                model.write(bytes(max(0, grown)))
        overlay.truncate(min(last, overlay.size))
        model.truncate(min(last, len(model.getbuffer())))
        overlay.hand_over()
        appended = assemble(LocalSource(tmp_path / "original"), spool, overlay.size)
        assert appended.read(0, appended.size) == model.getvalue()
        written = io.BytesIO()
        appended.write_to(written)
        assert written.getvalue() == model.getvalue()
        assert sum(segment.length for segment in appended.segments) == overlay.size
        assert (tmp_path / "original").read_bytes() == original


def test_a_file_that_was_cut_does_not_grow(tmp_path: Path) -> None:
    with Spool.opened(100) as spool:
        overlay = Overlay(io.BytesIO(bytes(100)), 100, SpoolKeeper(spool))  # pyright: ignore[reportArgumentType]
        overlay.truncate(50)
        with pytest.raises(OSError, match="grow"):
            overlay.truncate(60)


# --- What the child says is not believed ---

PAGE = np.zeros(PAGE_BYTES, np.uint8)


@pytest.mark.parametrize(
    ("numbers", "body"),
    [
        ([-1], PAGE),
        ([1 << 40], PAGE),
        ([True], PAGE),
        (["0"], PAGE),
        ([0], PAGE[:-1]),
        ([0, 1], PAGE),
        ([], PAGE[:0]),
        (None, PAGE),
    ],
)
def test_pages_that_no_child_writes(numbers: Any, body: np.ndarray) -> None:
    with Spool.opened(3 * PAGE_BYTES) as spool, pytest.raises(Malformed):
        spool.keep(numbers, body)


def test_a_page_that_was_never_written_is_not_recalled() -> None:
    with Spool.opened(3 * PAGE_BYTES) as spool:
        spool.keep([0, 4], np.concatenate([PAGE + 1, PAGE + 2]))
        assert (spool.recall(0)[0], spool.recall(4)[0]) == (1, 2)
        for number in (1, 3, None, -1):
            with pytest.raises(Malformed):
                spool.recall(number)


def test_more_of_the_original_than_groups_take_is_not_kept() -> None:
    pages = 64 * 1024**2 // PAGE_BYTES
    with Spool.opened((pages + 5) * PAGE_BYTES) as spool:
        for number in range(pages):
            spool.keep([number], PAGE)
        with pytest.raises(Malformed):
            spool.keep([pages], PAGE)


@pytest.mark.parametrize("size", [0, -5, 1 << 50])
def test_a_size_that_no_child_comes_to(cells: Path, size: int) -> None:
    source = LocalSource(cells)
    with Spool.opened(source.size) as spool, pytest.raises(HostileFile):
        assemble(source, spool, size)


def test_an_untouched_file_is_one_piece(cells: Path) -> None:
    source = LocalSource(cells)
    with Spool.opened(source.size) as spool:
        assert assemble(source, spool, source.size).segments == (Segment(False, 0, source.size),)
