"""var, raw.var and the identifiers of genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tests.parity.bases import FRUIT_FLY, GENES, HUMAN, MOUSE, Data
from tests.parity.mutations.registry import File, changes, edits

FLAG = "feature_is_filtered"


def _rename(data: Data, gene: str, at: int = 2) -> None:
    """Renames a gene in var and raw.var."""
    names = data.var_names.to_numpy(object).copy()
    names[at] = gene
    data.var_names = names
    if data.raw is not None:
        data.raw.var.index = pd.Index(names, dtype=object)


_UNKNOWN = ("ENSG99999999999", "TP53", "ENSEBML_NOGENE", "ensg00000141510", "ERCC-000000", "", " ENSG00000141510")


@changes("var-gene-unknown", "var.index.gene_unknown", values=_UNKNOWN)
def _unknown(data: Data, gene: str) -> None:
    _rename(data, gene)


@changes("var-gene-version", "var.index.gene_version", values=("ENSG00000141510.17", "ENSG00000141510.1"))
def _version(data: Data, gene: str) -> None:
    _rename(data, gene)


_OTHERS = (GENES[MOUSE][0], GENES[FRUIT_FLY][0])


@changes("var-gene-of-other-species", "var.index.gene_organism", values=_OTHERS)
def _other_species(data: Data, gene: str) -> None:
    _rename(data, gene)


@changes("var-gene-human-in-mouse", "var.index.gene_organism", base="mouse", values=GENES[HUMAN][:2])
def _human_in_mouse(data: Data, gene: str) -> None:
    _rename(data, gene)


@changes("var-gene-exempt", base=("human", "mouse", "zebrafish"), values=("ENSSASG00005000002", "ERCC-00003"))
def _exempt(data: Data, gene: str) -> None:
    _rename(data, gene)


@changes("var-genes-all-of-other-species", "var.index.gene_organism", values=(MOUSE,))
def _all_other(data: Data, organism: str) -> None:
    for at, gene in enumerate(GENES[organism]):
        _rename(data, gene, at)


@changes("var-names-repeated", "var.index.duplicates", "raw.var.index.duplicates", values=(1, 3))
def _repeated(data: Data, times: int) -> None:
    for at in range(1, 1 + times):
        _rename(data, str(data.var_names[0]), at)


@changes("raw-var-other-order", "raw.var.index.differs", values=("reversed", "other gene"))
def _other_order(data: Data, how: str) -> None:
    names = data.var_names.to_list()
    changed = names[::-1] if how == "reversed" else [*names[:-1], "ENSG00000141510"]
    data.raw.var.index = pd.Index(changed, dtype=object)


@changes("raw-var-unknown-gene", "raw.var.index.gene_unknown", values=_UNKNOWN[:2])
def _raw_unknown(data: Data, gene: str) -> None:
    names = data.var_names.to_list()
    data.raw.var.index = pd.Index([*names[:-1], gene], dtype=object)


@changes("var-filtered-dropped", f"var.{FLAG}.missing")
def _dropped(data: Data, _: None) -> None:
    del data.var[FLAG]


_NOT_BOOL: dict[str, Any] = {"text": "False", "number": 0, "float": 0.0, "category": pd.Categorical([False] * 8)}


@changes("var-filtered-not-bool", f"var.{FLAG}.type", values=tuple(_NOT_BOOL))
def _not_bool(data: Data, kind: str) -> None:
    data.var[FLAG] = _NOT_BOOL[kind]


@changes("raw-var-filtered", f"raw.var.{FLAG}.not_expected", values=(False, True))
def _in_raw(data: Data, value: bool) -> None:
    data.raw.var[FLAG] = value


@changes("var-filtered-without-raw", f"var.{FLAG}.without_raw", base="human_counts", values=([0], [0, 3, 5]))
def _without_raw(data: Data, genes: Sequence[int]) -> None:
    data.var.loc[data.var_names[list(genes)], FLAG] = True


@changes("var-filtered-with-values", f"var.{FLAG}.not_zero", values=([0], [0, 3, 5]))
def _with_values(data: Data, genes: Sequence[int]) -> None:
    data.var.loc[data.var_names[list(genes)], FLAG] = True


def _without_values(data: Data, genes: Sequence[int]) -> None:
    dense = data.X.toarray()
    dense[:, list(genes)] = 0
    data.X = type(data.X)(dense)
    data.layers.pop("scaled", None)


@changes("var-zeros-not-filtered", f"var.{FLAG}.all_zero", values=([0], [0, 3, 5]))
def _not_flagged(data: Data, genes: Sequence[int]) -> None:
    _without_values(data, genes)


@changes("var-filtered-with-cancelling-values", f"var.{FLAG}.not_zero", values=([0], [0, 3]))
def _cancelling(data: Data, genes: Sequence[int]) -> None:
    _without_values(data, genes)
    dense = data.X.toarray()
    dense[:2, list(genes)] = np.array([[1.5], [-1.5]], np.float32)
    data.X = type(data.X)(dense)
    data.var.loc[data.var_names[list(genes)], FLAG] = True


@changes("var-cancelling-values", values=([0], [0, 3]))
def _cancelling_unflagged(data: Data, genes: Sequence[int]) -> None:
    _without_values(data, genes)
    dense = data.X.toarray()
    dense[:2, list(genes)] = np.array([[1.5], [-1.5]], np.float32)
    data.X = type(data.X)(dense)


@changes("var-zeros-filtered", values=([0], [0, 3, 5]))
def _flagged(data: Data, genes: Sequence[int]) -> None:
    _without_values(data, genes)
    data.var.loc[data.var_names[list(genes)], FLAG] = True


@edits("var-index-numbers", "var.index.type", "var.index.gene_unknown", values=("int64", "float32"))
def _numbers(file: File, kind: str) -> None:
    for frame in ("var", "raw/var"):
        index = file[frame].attrs["_index"]
        length = len(file[frame][index])
        del file[frame][index]
        dataset = file[frame].create_dataset(index, data=np.arange(length).astype(kind))
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


@edits("obs-index-numbers", "obs.index.type", values=("int64",))
def _cell_numbers(file: File, kind: str) -> None:
    index = file["obs"].attrs["_index"]
    length = len(file["obs"][index])
    del file["obs"][index]
    dataset = file["obs"].create_dataset(index, data=np.arange(length).astype(kind))
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
