"""Large h5ad files of made-up cells, written block by block: memory stays the same however many cells there are.

    python -m benchmarks.make_h5ad OUT.h5ad --n-obs 100000 --n-vars 30000 --nnz-per-cell 1500 --compression gzip

Counts are drawn as a sequencer draws them: each cell has a depth (lognormal) and picks genes by their abundance
(lognormal, 64 kinds of cells). raw.X holds the counts as float32, X log1p of counts in ten thousand; without raw, X
holds the counts. The layout on disk is AnnData's (encoding attributes, extensible arrays, h5py's automatic chunks), and
the frames are those that CELLxGENE's schema 7.1 wants. Gene ids are made up unless `--genes` has real ones: the first
field of each line of a CSV file, which may be gzipped. The same arguments give the same file.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

import h5py
import numpy as np

type Array = np.ndarray[Any, Any]

_KINDS = 64  # of cells
_BLOCK_COUNTS = 8_000_000  # drawn at once
_ELEMENTS = 4_000_000  # written at once
_WRITE_CELLS = 100_000  # names and codes written at once
_CELL_TYPES = (
    "CL:0000236", "CL:0000084", "CL:0000576", "CL:0000066", "CL:0000057", "CL:0000115", "CL:0000235", "CL:0000624",
    "CL:0000625", "CL:0000623", "CL:0000451", "unknown",
)  # fmt: skip
_ONE_VALUE = {
    "assay_ontology_term_id": "EFO:0009922",
    "development_stage_ontology_term_id": "HsapDv:0000258",
    "disease_ontology_term_id": "PATO:0000461",
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "PATO:0000383",
    "suspension_type": "cell",
    "tissue_ontology_term_id": "UBERON:0002048",
    "tissue_type": "tissue",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a file shall be.

    `chunk` is in elements of data and indices, 0 for what AnnData lets h5py choose. `genes` are their ids, made up
    where there are none. `obs_columns` counts those that the schema asks for; what is more holds measurements.
    """

    n_obs: int
    n_vars: int
    nnz_per_cell: float
    encoding: Literal["csr", "csc", "dense"] = "csr"
    compression: Literal["gzip", "lzf", "none"] = "gzip"
    chunk: int = 0
    raw: bool = True
    seed: int = 0
    genes: tuple[str, ...] = ()
    obs_columns: int = 0

    @property
    def gene_ids(self) -> Sequence[str]:
        """The id of each gene."""
        return self.genes or [f"ENSG{number:011}" for number in range(1, self.n_vars + 1)]

    @property
    def storage(self) -> dict[str, Any]:
        """What h5py's `create_dataset` is told of every array."""
        return {} if self.compression == "none" else {"compression": self.compression}


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The counts of a run of cells as csr: genes ascend in each row, and no count is zero."""

    indptr: Array
    genes: Array  # int32
    counts: Array  # float32

    def logarithm(self) -> Array:
        """log1p of counts in ten thousand, float32."""
        totals = np.add.reduceat(self.counts.astype(np.float64), self.indptr[:-1])
        return np.log1p(self.counts * np.repeat(1e4 / totals, np.diff(self.indptr))).astype(np.float32)


class Sequencer:
    """Draws cells, block by block; a block depends on the recipe and its own number alone."""

    def __init__(self, recipe: Recipe) -> None:
        rng = np.random.default_rng([recipe.seed, 0])
        abundance = rng.lognormal(0, 2, recipe.n_vars)
        shares = [abundance * rng.gamma(2, 0.5, recipe.n_vars) for _ in range(_KINDS)]
        shares = [share / share.sum() for share in shares]
        self._recipe = recipe
        self._ends = [np.cumsum(share) for share in shares]
        self._depths = np.array([_depth(share, recipe.nnz_per_cell) for share in shares])
        self._rows = max(256, int(_BLOCK_COUNTS / self._depths.mean()) // 256 * 256)

    def blocks(self) -> Iterator[Cells]:
        """All cells, in order."""
        for kinds, rng in self._runs():
            yield self._block(kinds, rng)

    def kinds(self) -> Array:
        """The kind of each cell, without drawing its counts."""
        return np.concatenate([kinds.astype(np.uint8) for kinds, _ in self._runs()])

    def _runs(self) -> Iterator[tuple[Array, np.random.Generator]]:
        for number, start in enumerate(range(0, self._recipe.n_obs, self._rows)):
            rng = np.random.default_rng([self._recipe.seed, 1, number])
            yield rng.integers(0, _KINDS, min(self._rows, self._recipe.n_obs - start)), rng

    def _block(self, kinds: Array, rng: np.random.Generator) -> Cells:
        rows = len(kinds)
        depths = np.maximum(1, self._depths[kinds] * rng.lognormal(-0.06, 0.35, rows)).astype(np.int64)
        drawn: list[Array] = []
        for kind in range(_KINDS):
            cells = np.flatnonzero(kinds == kind)
            genes = np.searchsorted(self._ends[kind], rng.random(int(depths[cells].sum())))
            cell_of_each = np.repeat(cells, depths[cells])
            drawn.append(cell_of_each * self._recipe.n_vars + np.minimum(genes, self._recipe.n_vars - 1))
        places, counts = np.unique(np.concatenate(drawn), return_counts=True)
        cell_of_each, genes = np.divmod(places, self._recipe.n_vars)
        indptr = np.concatenate(([0], np.cumsum(np.bincount(cell_of_each, minlength=rows))))
        return Cells(indptr, genes.astype(np.int32), counts.astype(np.float32))


def _depth(share: Array, nnz: float) -> float:
    """How many counts a cell needs so that it shows `nnz` different genes, on average."""
    low, high = 1.0, 1e9
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if -np.expm1(-middle * share).sum() < nnz else (low, middle)
    return low


class Spool:
    """A sparse matrix on disk, uncompressed, so that the file gets one array after the other, as AnnData writes them.

    `indptr` runs over cells (or over genes, once transposed); `read` gives elements of the "indices" (int32), of the
    "counts" and of the "logs" (float32).
    """

    def __init__(self, folder: Path, indptr: Array) -> None:
        self._folder = folder
        self.indptr = indptr

    @classmethod
    def draw(cls, folder: Path, sequencer: Sequencer) -> Self:
        """Cell by cell."""
        ends: list[Array] = [np.zeros(1, np.int64)]
        with _spooling(folder) as write:
            for block in sequencer.blocks():
                write(block.genes, block.counts, block.logarithm())
                ends.append(block.indptr[1:] + ends[-1][-1])
        return cls(folder, np.concatenate(ends))

    def transposed(self, folder: Path, n_vars: int) -> Self:
        """Gene by gene: one pass over the elements for each run of genes that fits into memory."""
        nnz = int(self.indptr[-1])
        runs = [(start, min(start + _ELEMENTS, nnz)) for start in range(0, nnz, _ELEMENTS)]
        widths = sum((np.bincount(self.read("indices", *run), minlength=n_vars) for run in runs), np.zeros(n_vars, int))
        indptr = np.concatenate(([0], np.cumsum(widths)))
        with _spooling(folder) as write:
            first = 0
            while first < n_vars:
                fitting = int(np.searchsorted(indptr, indptr[first] + 4 * _ELEMENTS, side="right")) - 1
                stop = max(first + 1, fitting)
                write(*self._columns(runs, first, stop))
                first = stop
        return type(self)(folder, indptr)

    def _columns(self, runs: Sequence[tuple[int, int]], first: int, stop: int) -> list[Array]:
        """Cells, counts and logarithms of genes [first, stop), by gene and then by cell."""
        parts: list[tuple[Array, ...]] = []
        for begin, end in runs:
            genes = self.read("indices", begin, end)
            wanted = np.flatnonzero((genes >= first) & (genes < stop))
            cells = np.searchsorted(self.indptr, wanted + begin, side="right") - 1
            values = (self.read(name, begin, end)[wanted] for name in ("counts", "logs"))
            parts.append((genes[wanted], cells.astype(np.int32), *values))
        genes, *rest = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
        order = np.argsort(genes, kind="stable")
        return [array[order] for array in rest]

    def read(self, name: str, start: int, stop: int) -> Array:
        """Elements [start, stop)."""
        dtype = np.int32 if name == "indices" else np.float32
        return np.fromfile(self._folder / name, dtype, stop - start, offset=4 * start)


@contextmanager
def _spooling(folder: Path) -> Generator[Callable[[Array, Array, Array], None]]:
    """A function that adds elements to a spool's three files."""
    folder.mkdir()
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in ("indices", "counts", "logs")]

        def write(*arrays: Array) -> None:
            for file, array in zip(files, arrays, strict=True):
                array.tofile(file)

        yield write


def make_h5ad(path: Path, recipe: Recipe) -> None:
    """Writes the file that the recipe describes; meanwhile scratch beside it takes 12 bytes a non-zero, for csc 24."""
    sequencer = Sequencer(recipe)
    with TemporaryDirectory(dir=path.parent) as name:
        scratch = Path(name)
        spool = Spool.draw(scratch / "cells", sequencer)
        if recipe.encoding == "csc":
            spool = spool.transposed(scratch / "genes", recipe.n_vars)
        with h5py.File(scratch / "made", "w") as file:
            _encode(file, "anndata", "0.1.0")
            _write_matrices(file, recipe, spool)
            _write_frames(file, recipe, sequencer.kinds())
        (scratch / "made").replace(path)


def _write_matrices(file: h5py.File, recipe: Recipe, spool: Spool) -> None:
    write = _write_dense if recipe.encoding == "dense" else _write_sparse
    write(file, "X", "logs" if recipe.raw else "counts", recipe, spool)
    if recipe.raw:
        _encode(file.create_group("raw"), "raw", "0.1.0")
        write(file, "raw/X", "counts", recipe, spool)


def _write_sparse(file: h5py.File, path: str, values: str, recipe: Recipe, spool: Spool) -> None:
    group = file.create_group(path)
    _encode(group, f"{recipe.encoding}_matrix", "0.1.0")
    group.attrs["shape"] = np.array([recipe.n_obs, recipe.n_vars], np.int64)
    nnz = int(spool.indptr[-1])
    # SciPy's rule, by which AnnData's files come out so: wide indices only where narrow ones cannot count the elements.
    indices = np.int64 if nnz >= 2**31 else np.int32
    chunks = (recipe.chunk,) if recipe.chunk else True
    for name, source, dtype in (("data", values, np.float32), ("indices", "indices", indices)):
        dataset = group.create_dataset(name, (nnz,), dtype, maxshape=(None,), chunks=chunks, **recipe.storage)
        chunk = (dataset.chunks or (1,))[0]
        step = -(-_ELEMENTS // chunk) * chunk  # whole chunks, so that none is compressed twice
        for start in range(0, nnz, step):
            stop = min(start + step, nnz)
            dataset[start:stop] = spool.read(source, start, stop)
    group.create_dataset("indptr", data=spool.indptr.astype(indices), maxshape=(None,), **recipe.storage)


def _write_dense(file: h5py.File, path: str, values: str, recipe: Recipe, spool: Spool) -> None:
    """In one piece where nothing is compressed, as AnnData does; in h5py's automatic chunks otherwise."""
    dataset = file.create_dataset(path, (recipe.n_obs, recipe.n_vars), np.float32, **recipe.storage)
    _encode(dataset, "array", "0.2.0")
    chunk = (dataset.chunks or (1,))[0]
    step = -(-_ELEMENTS // recipe.n_vars // chunk) * chunk
    for start in range(0, recipe.n_obs, step):
        ends = spool.indptr[start : start + step + 1]
        rows = np.zeros((len(ends) - 1, recipe.n_vars), np.float32)
        inside = int(ends[0]), int(ends[-1])
        row_of_each = np.repeat(np.arange(len(rows)), np.diff(ends))
        rows[row_of_each, spool.read("indices", *inside)] = spool.read(values, *inside)
        dataset[start : start + len(rows)] = rows


def _write_frames(file: h5py.File, recipe: Recipe, kinds: Array) -> None:
    """obs, var, raw.var, one embedding, uns and the empty groups."""
    n_obs, storage = recipe.n_obs, recipe.storage
    required = [*_ONE_VALUE, "cell_type_ontology_term_id", "donor_id", "is_primary_data"]
    further = [f"measurement_{number}" for number in range(1, recipe.obs_columns - len(required) + 1)]
    obs = _frame(file, "obs", [*required, *further])
    _strings(obs, "_index", (f"cell-{number:08}" for number in range(n_obs)), n_obs, storage)
    for name, term in _ONE_VALUE.items():
        _categorical(obs, name, [term], np.zeros(n_obs, np.int8), storage)
    _categorical(obs, "cell_type_ontology_term_id", _CELL_TYPES, (kinds % len(_CELL_TYPES)).astype(np.int8), storage)
    donors = np.minimum(np.arange(n_obs) * 24 // max(n_obs, 1), 23).astype(np.int8)
    _categorical(obs, "donor_id", [f"donor-{number:02}" for number in range(24)], donors, storage)
    _encode(obs.create_dataset("is_primary_data", data=np.ones(n_obs, bool), **storage), "array", "0.2.0")
    for number, name in enumerate(further):
        _write_further(obs, name, number, recipe)

    genes = recipe.gene_ids
    var = _frame(file, "var", ["feature_is_filtered"])
    _strings(var, "_index", iter(genes), len(genes), storage)
    _encode(var.create_dataset("feature_is_filtered", data=np.zeros(len(genes), bool), **storage), "array", "0.2.0")
    if recipe.raw:
        _strings(_frame(file, "raw/var", []), "_index", iter(genes), len(genes), storage)
        _encode(file["raw"].create_group("varm"), "dict", "0.1.0")

    for name in ("obsm", "varm", "obsp", "varp", "layers", "uns"):
        _encode(file.create_group(name), "dict", "0.1.0")
    umap = file["obsm"].create_dataset("X_umap", (n_obs, 2), np.float32, **storage)
    rng = np.random.default_rng([recipe.seed, 2])
    for start in range(0, n_obs, _WRITE_CELLS):
        angles = kinds[start : start + _WRITE_CELLS] * (2 * np.pi / _KINDS)
        centres = np.column_stack((np.cos(angles), np.sin(angles))) * 10
        umap[start : start + len(centres)] = centres + rng.normal(size=centres.shape)
    _encode(umap, "array", "0.2.0")
    for name, value in (("title", "Made-up cells"), ("organism_ontology_term_id", "NCBITaxon:9606")):
        _encode(file["uns"].create_dataset(name, data=value), "string", "0.2.0")


def _write_further(obs: h5py.Group, name: str, number: int, recipe: Recipe) -> None:
    """One of the columns that labs add: in turn a float, an integer, a boolean and a categorical one."""
    rng = np.random.default_rng([recipe.seed, 3, number])
    values = rng.normal(size=recipe.n_obs).astype(np.float32)
    match number % 4:
        case 0:
            _encode(obs.create_dataset(name, data=values, **recipe.storage), "array", "0.2.0")
        case 1:
            whole = (values * 1000).astype(np.int32)
            _encode(obs.create_dataset(name, data=whole, **recipe.storage), "array", "0.2.0")
        case 2:
            _encode(obs.create_dataset(name, data=values > 0, **recipe.storage), "array", "0.2.0")
        case _:
            codes = np.clip(values * 5 + 15, 0, 29).astype(np.int8)
            _categorical(obs, name, [f"cluster {code}" for code in range(30)], codes, recipe.storage)


def _frame(file: h5py.File, path: str, columns: Sequence[str]) -> h5py.Group:
    group = file.create_group(path)
    _encode(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", np.array(columns, dtype=object), dtype=h5py.string_dtype())
    return group


def _categorical(
    frame: h5py.Group, name: str, categories: Sequence[str], codes: Array, storage: Mapping[str, Any]
) -> None:
    used = np.unique(codes)
    group = frame.create_group(name)
    _encode(group, "categorical", "0.2.0")
    group.attrs["ordered"] = False
    _strings(group, "categories", iter([categories[int(code)] for code in used]), len(used), storage)
    codes = np.searchsorted(used, codes).astype(np.int8)
    _encode(group.create_dataset("codes", data=codes, **storage), "array", "0.2.0")


def _strings(parent: h5py.Group, name: str, values: Iterator[str], count: int, storage: Mapping[str, Any]) -> None:
    dataset = parent.create_dataset(name, (count,), h5py.string_dtype(), **storage)
    _encode(dataset, "string-array", "0.2.0")
    for start in range(0, count, _WRITE_CELLS):
        stop = min(start + _WRITE_CELLS, count)
        dataset[start:stop] = np.array([next(values) for _ in range(start, stop)], dtype=object)


def _encode(node: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version


def _read_genes(path: Path, count: int) -> tuple[str, ...]:
    """The first so many ids of a CSV file, without their versions."""
    lines = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode().splitlines()
    ids = [line.partition(",")[0].strip('"') for line in lines]
    genes = list(dict.fromkeys(name.partition(".")[0] for name in ids if name.startswith("ENS")))
    if len(genes) < count:
        raise SystemExit(f"{path} has {len(genes):,} gene ids, fewer than {count:,}")
    return tuple(genes[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n-obs", type=int, default=20_000, help="cells")
    parser.add_argument("--n-vars", type=int, default=20_000, help="genes")
    parser.add_argument("--nnz-per-cell", type=float, default=1500, help="genes that a cell shows, on average")
    parser.add_argument("--encoding", choices=("csr", "csc", "dense"), default="csr")
    parser.add_argument("--compression", choices=("gzip", "lzf", "none"), default="gzip")
    parser.add_argument("--chunk", type=int, default=0, help="elements of a chunk; h5py's choice by default")
    parser.add_argument("--no-raw", dest="raw", action="store_false", help="counts in X and no raw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--genes", type=Path, help="a CSV file, perhaps gzipped, whose first field is a gene id")
    parser.add_argument("--obs-columns", type=int, default=0, help="columns of obs, at least those of the schema")
    arguments = vars(parser.parse_args())
    out: Path = arguments.pop("out")
    csv: Path | None = arguments.pop("genes")
    genes = _read_genes(csv, arguments["n_vars"]) if csv else ()
    make_h5ad(out, Recipe(**arguments, genes=genes))
    print(f"{out}: {out.stat().st_size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
