"""The labels that celldock makes beside those of cellxgene-schema add-labels, on all valid files, element by element.

    python -m tests.parity.labelling [--files FILE …] [--no-corpus] [--no-bases]

Exit code 1 where a label differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from celldock.h5ad.additions import Additions, NewColumn
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.labels import make_labels
from celldock.schema import Setting, load_schema
from tests.parity.bases import BASES
from tests.parity.corpus import CORPORA, archive, entries, unpack
from tests.parity.peer import Peer, install

VERSION = "7.1.0"
_GUIDES = "genetic_perturbations"


def values_of(column: NewColumn) -> pd.Series:
    """A column of labels as pandas has it."""
    blocks = list(column.blocks())
    values = np.concatenate(blocks) if blocks else np.empty(0, np.int8)
    if len(values) != column.rows:
        raise ValueError(f"{column.name} has {len(values)} of {column.rows} values")
    if column.kind == "categorical":
        return pd.Series(pd.Categorical.from_codes(values, list(column.categories), ordered=column.ordered))
    return pd.Series(values)


def differences(made: Additions, labelled: Any, names: Mapping[str, set[str]]) -> Iterator[str]:
    """What of the labels is otherwise in a file that has been labelled.

    `names` are those that a schema version has for labels, see `names_of_labels`.
    """
    frames = {"obs": labelled.obs, "var": labelled.var}
    if labelled.raw is not None:
        frames["raw/var"] = labelled.raw.var
    for path, frame in frames.items():
        mine = {column.name: column for column in made.columns if column.frame == path}
        theirs = names[path] & set(frame.columns)
        for name in sorted(theirs ^ mine.keys()):
            yield f"{path}/{name} is made by {'cellxgene-schema' if name in theirs else 'celldock'} alone"
        for name in sorted(theirs & mine.keys()):
            yield from _unlike(f"{path}/{name}", values_of(mine[name]), frame[name])
    keys = {element.path for element in made.elements}
    for name in sorted(names["uns"] & labelled.uns.keys()):
        if f"uns/{name}" not in keys:
            yield f"uns/{name} is made by cellxgene-schema alone"
    for element in made.elements:
        found: Any = labelled.uns
        for part in element.path.split("/")[1:]:
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str) != isinstance(element.value, str) or found != element.value:
            yield f"{element.path} is {element.value!r}, not {found!r}"


def _unlike(path: str, mine: pd.Series, other: pd.Series) -> Iterator[str]:
    """How a column differs from another: its kind, its values, its categories and their order."""
    if isinstance(mine.dtype, pd.CategoricalDtype) != isinstance(other.dtype, pd.CategoricalDtype):
        yield f"{path} is {mine.dtype}, not {other.dtype}"
        return
    if list(mine) != list(other):
        wrong = [pair for pair in zip(mine, other, strict=True) if pair[0] != pair[1]]
        yield f"{path} differs in {len(wrong)} of {len(mine)} rows: {wrong[0][0]!r}, not {wrong[0][1]!r}"
    if isinstance(mine.dtype, pd.CategoricalDtype):
        categories = [list(each.cat.categories) for each in (mine, other)]
        if categories[0] != categories[1]:
            same = set(categories[0]) == set(categories[1])
            yield f"{path} has {'its categories in another order' if same else 'other categories'}: {categories}"
        if {type(each) for each in categories[0]} != {type(each) for each in categories[1]}:
            yield f"{path} has categories of {type(categories[0][0])}, not {type(categories[1][0])}"
        if mine.cat.ordered != other.cat.ordered:
            yield f"{path} says otherwise whether its categories have an order"


def names_of_labels(version: str) -> dict[str, set[str]]:
    """The names of a schema version's labels, by the path of their frame, and of uns."""
    labels = load_schema(version).labels
    places = {"obs": "obs", "var": "var", "raw/var": "raw.var", "uns": "uns"}
    return {path: set(labels.get(place, ())) for path, place in places.items()}


def compare(peer: Peer, path: Path, scratch: Path, *, pre_analysis: bool = False) -> list[str]:
    """How the labels of a file differ."""
    output = scratch / "labelled.h5ad"
    output.unlink(missing_ok=True)
    peer.add_labels(path, output, pre_analysis=pre_analysis)
    with open_h5ad(LocalSource(path)) as file:
        header = file.header()
        made = make_labels(file, header, load_schema(VERSION), setting=Setting(pre_analysis=pre_analysis))
        names = names_of_labels(VERSION)
        # It keeps what a file has had before, such as a citation, which it never makes.
        names["uns"] -= {element.path.removeprefix("uns/") for element in header.uns}
        return list(differences(made, anndata.read_h5ad(output), names))


def _files(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Path, bool]]:
    """Yields the kind, name and path of each file, and whether it is of a pre-analysis collection."""
    if not options.no_corpus:
        if archive(VERSION) is None:
            raise FileNotFoundError(f"set CELLDOCK_SHARED to the folder that holds data/{CORPORA[VERSION]}")
        corpus = unpack(VERSION, folder)
        yield from (
            ("corpus", entry.name, corpus / entry.name, entry.pre_analysis)
            for entry in entries(VERSION)
            if entry.peer.valid
        )
    if not options.no_bases:
        for name, make in BASES.items():
            if not name.endswith("_2_0_0"):
                path = folder / f"{name}.h5ad"
                make().write_h5ad(path)
                yield "bases", name, path, False
    yield from (("files", path.name, path, False) for path in options.files)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if all labels are equal, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity.labelling", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="valid h5ad files, besides")
    parser.add_argument("--no-corpus", action="store_true", help="leave the corpus out")
    parser.add_argument("--no-bases", action="store_true", help="leave the files that mutations start from out")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    install()
    equal: Counter[str] = Counter()
    files: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch, Peer() as peer:
        for kind, name, path, pre_analysis in _files(options, Path(scratch)):
            found = compare(peer, path, Path(scratch), pre_analysis=pre_analysis)
            files[kind] += 1
            equal[kind] += not found
            for line in found:
                _tell(f"{name}: {line}")
    for kind, count in files.items():
        _tell(f"{kind}: {equal[kind]} of {count} files have equal labels")
    return 0 if files == equal else 1


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
