"""What a CXG says of cells, genes and the dataset: types, names and categories as the portal's converter gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.errors import NotFeasible
from celldock.formats import cxg_embeddings, cxg_frames, cxg_layout
from celldock.formats.cxg_colors import hex_color
from tests.builders import OBS, cell_names, gene_names, make_anndata, make_anndata_2_0_0, make_counts, make_h5ad
from tests.cxg_reading import CXG, CxgReader, convert, make_cxg
from tests.spatial import visium_options
from tests.subjects import sink_of, subject_of

LARGE = 2**31


def made(data: anndata.AnnData, folder: Path) -> CxgReader:
    with anndata.settings.override(allow_write_nullable_strings=True, disallow_forward_slash_in_h5ad=False):
        data.write_h5ad(folder / "a.h5ad")
    make_cxg(folder / "a.h5ad", folder / "cxg")
    return CxgReader(folder / "cxg")


def missing(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


# Of each column the values, the type and the hint that a CXG has of it, by the portal's own rules.
COLUMNS: Mapping[str, tuple[Any, list[Any], str, str]] = {
    "text": (["é", "", "nan", "d", "\N{GRINNING FACE}"], ["é", "", "nan", "d", "\N{GRINNING FACE}"], "str", "string"),
    "nullable text": (pd.array(["a", pd.NA, "", "d", "e"], "string"), ["a", "nan", "", "d", "e"], "str", "string"),
    "category": (
        pd.Categorical(["b", None, "a", "b", "a"], ["b", "a", "unused"]),
        ["b", "nan", "a", "b", "a"],
        "int8",
        "categorical",
    ),
    "unique": (pd.Categorical(["e", None, "c", "b", "a"]), ["e", "nan", "c", "b", "a"], "str", "string"),
    "numbers": (pd.Categorical([10, 2, 2, 10, 2]), [10, 2, 2, 10, 2], "int32", "categorical"),
    "gaps": (pd.Categorical([10, None, 2, 10, 2]), [10, None, 2, 10, 2], "float32", "categorical"),
    "halves": (pd.Categorical([0.5, None, 1, 1, 1]), [0.5, None, 1, 1, 1], "float32", "categorical"),
    "flags": (
        pd.Categorical([True, None, False, True, True]),
        ["True", "nan", "False", "True", "True"],
        "int8",
        "categorical",
    ),
    "boolean": ([True, False, True, True, True], [1, 0, 1, 1, 1], "uint8", "boolean"),
    "nullable boolean": (
        pd.array([True, pd.NA, True, True, True], "boolean"),
        ["True", "nan", "True", "True", "True"],
        "int8",
        "categorical",
    ),
    "no gaps": (pd.array([True, False, True, True, True], "boolean"), [1, 0, 1, 1, 1], "uint8", "boolean"),
    "all true": ([True] * 5, ["True"] * 5, "int8", "categorical"),
    "all false": ([False] * 5, [0] * 5, "uint8", "boolean"),
    "in_tissue": ([1, 0, 1, 1, 1], [1, 0, 1, 1, 1], "uint8", "boolean"),
    "i8": ([-1, 2, 3, 4, 2**31 - 1], [-1, 2, 3, 4, 2**31 - 1], "int32", "int32"),
    "u1": (np.arange(5, dtype=np.uint8), [0, 1, 2, 3, 4], "int32", "int32"),
    "nullable i8": (pd.array([1, pd.NA, 3, 4, -5], "Int64"), [1, None, 3, 4, -5], "float32", "float32"),
    "full i8": (pd.array([1, 2, 3, 4, LARGE - 1], "Int64"), [1, 2, 3, 4, LARGE - 1], "int32", "int32"),
    "f8": ([0.5, np.nan, np.inf, 2, 3], [0.5, None, np.inf, 2, 3], "float32", "float32"),
    "f2": (np.array([0.5, np.nan, 1, 2, 3], np.float16), [0.5, None, 1, 2, 3], "float32", "float32"),
    # Names that look like places; TileDB counts its files.
    "a/b": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "int32", "int32"),
    "..a\\b": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "int32", "int32"),
    "Größe (µm)": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "int32", "int32"),
    "TEXT": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "int32", "int32"),
    "name_0": ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "int32", "int32"),
}
OMITTED: Mapping[str, Any] = {
    "large": [1, 2, 3, 4, LARGE],
    "large u8": np.array([1, 2, 3, 4, 2**64 - 1], np.uint64),
    "large gaps": pd.array([1, pd.NA, 3, 4, 2**24 + 1], "Int64"),
    "large categories": pd.Categorical([LARGE, 1, 1, 1, 1]),
    "large f8": [1, 2, 3, 4, 1e39],
    "__reserved": [1, 2, 3, 4, 5],
    "index": [1, 2, 3, 4, 5],
    "n" * 1001: [1, 2, 3, 4, 5],
}


def test_columns_have_the_types_that_explorer_knows(tmp_path: Path) -> None:
    obs = {name: values for name, (values, *_) in COLUMNS.items()}
    data = make_anndata(n_obs=5, raw=False, obs={**obs, **OMITTED})

    found = made(data, tmp_path)

    frame, hints, types = found.frame("obs"), found.hints("obs"), found.dtypes("obs")
    for name, (_, values, dtype, hint) in COLUMNS.items():
        assert [missing(value) for value in frame[name]] == values, name
        assert types[name] in (dtype, f"{dtype}32"), name
        assert hints[name]["type"] == hint, name
    assert frame["name_1"] == cell_names(5)
    assert hints["index"] == "name_1"
    assert hints["category"]["categories"] == ["a", "b", "nan"]
    assert "categories" not in hints["numbers"]
    assert set(frame) == {*OBS, *COLUMNS, "name_1"}
    omitted = {f"obs/{name}" for name in OMITTED}
    assert found.omitted.keys() == omitted
    assert all(found.omitted.values())
    planned = {item.where for item in CXG.plan(subject_of(tmp_path / "a.h5ad").header, 0).omitted}
    assert planned == {"obs/__reserved", "obs/index", f"obs/{'n' * 1001}"}


def test_what_no_name_can_be_is_left_out(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, raw=False)
    with h5py.File(h5ad, "r+") as file:
        del file["obs/donor_id"]
        file["obs/donor_id"] = np.zeros(3, np.complex64)

    make_cxg(h5ad, tmp_path / "cxg")

    assert CxgReader(tmp_path / "cxg").omitted.keys() == {"obs/donor_id"}
    for name in ("", "a\0b", "\ud800", "__a"):
        assert cxg_layout.name_obstacle(name), name


@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.long)])
def test_many_columns_in_blocks_of_rows(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cxg_frames, cxg_embeddings):
        monkeypatch.setattr(module, "ROW_TILE", 50)
    monkeypatch.setattr(cxg_frames, "_BLOCK_ROWS", 150)
    monkeypatch.setattr(cxg_embeddings, "_BLOCK_BYTES", 1600)
    rows = 234
    columns: dict[str, Any] = {f"column {number}": np.arange(rows, dtype=np.int32) + number for number in range(count)}
    columns["many"] = pd.Categorical([f"{number % 170}" for number in range(rows)])
    umap = np.random.default_rng(1).normal(size=(rows, 2))
    umap[100:] = np.nan
    umap[3, 1] = np.nan
    data = make_anndata(n_obs=rows, n_vars=1, raw=False, obs=columns, obsm={"X_umap": umap, "spatial": umap[:, ::-1]})

    found = made(data, tmp_path)

    frame = found.frame("obs")
    for name, values in columns.items():
        assert frame[name] == list(values), name
    assert frame["name_0"] == cell_names(rows)
    assert found.dtypes("obs")["many"] == "int16"
    np.testing.assert_array_equal(found.embeddings["umap"], umap.astype(np.float32))
    np.testing.assert_array_equal(found.embeddings["spatial"], umap[:, ::-1].astype(np.float32))


def test_the_image_of_a_section_lies_beside_the_arrays(tmp_path: Path) -> None:
    found = made(make_anndata(**visium_options(4), raw=False), tmp_path)

    with found.open("uns") as array:
        spatial = json.loads(array.meta["spatial"])
    assert spatial["section"]["image_properties"]["resolution"] == "fullres"
    assert spatial["section"]["scalefactors"]["spot_diameter_fullres"] == 89.5
    assert (tmp_path / "cxg" / "deepzoom" / "spatial.dzi").exists()
    assert found.frame("obs")["in_tissue"] == ["True"] * 4
    assert found.embeddings.keys() == {"spatial"}
    assert found.omitted == {}


@pytest.mark.long
def test_what_an_image_lacks_is_listed_once(tmp_path: Path) -> None:
    options = visium_options(4)
    del options["uns"]["spatial"]["section"]["scalefactors"]["tissue_hires_scalef"]

    found = made(make_anndata(**options, raw=False), tmp_path)

    path = "uns/spatial/section/scalefactors/tissue_hires_scalef"
    assert [item["where"] for item in found.metadata("celldock")["omitted"]] == [path]
    assert [item.where for item in CXG.plan(subject_of(tmp_path / "a.h5ad").header, 0).omitted] == [path]
    assert not (tmp_path / "cxg" / "deepzoom").exists()


@pytest.mark.long
def test_a_hundred_thousand_categories(tmp_path: Path) -> None:
    obs = {"clone": pd.Categorical([f"clone {number % 100_000}" for number in range(140_000)])}

    found = made(make_anndata(n_obs=140_000, n_vars=1, raw=False, obs=obs), tmp_path)

    assert len(found.hints("obs")["clone"]["categories"]) == 100_000
    assert found.frame("obs")["clone"] == list(obs["clone"])


def test_embeddings_that_explorer_cannot_draw_are_left_out(tmp_path: Path) -> None:
    flat = np.zeros((3, 2))
    obsm = {
        "X_umap": flat,
        "X_spatial": flat,
        "X_": flat,
        "tsne": flat,
        "X_..": flat,
        "X_one": flat[:, :1],
        "X_far": np.array([[0, np.inf], [1, 2], [3, 4]]),
        "X_too far": flat,
        "X_beyond": np.full((3, 2), 1e39),
        "X_nowhere": np.full((3, 2), np.nan),
        "X_frame": pd.DataFrame(flat, index=cell_names(3), columns=["a", "b"]),
        "X_int": np.arange(6).reshape(3, 2),
    }

    found = made(make_anndata(n_obs=3, raw=False, obsm=obsm), tmp_path)

    assert found.embeddings.keys() == {"umap", "int"}
    assert found.embeddings["int"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.omitted.keys() == {f"obsm/{key}" for key in obsm if key not in ("X_umap", "X_int")}


def test_without_any_embedding_there_is_no_cxg(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, raw=False, obsm={"X_far": np.full((3, 2), np.inf)})
    subject, parts = convert(h5ad, tmp_path / "cxg")

    with pytest.raises(NotFeasible):
        CXG.assemble(subject, parts, sink_of(tmp_path / "cxg"))

    assert not (tmp_path / "cxg" / "emb").exists()


def test_genes_go_by_their_ids_and_keep_their_names(tmp_path: Path) -> None:
    data = make_anndata(n_obs=3, n_vars=4, raw=False, uns={"schema_version": "7.1.0"})
    data.var["feature_name"] = pd.Categorical(["A", "B", "B", "B"])
    data.var["feature_biotype"] = pd.Categorical(["gene"] * 4)
    data.var["tested"] = pd.array([True, pd.NA, False, True], "boolean")
    data.var["all"] = True

    found = made(data, tmp_path)

    assert found.hints("var")["index"] == "name_0"
    assert found.hints("var")["feature_name"] == {"type": "string"}
    frame = found.frame("var")
    assert frame["name_0"] == gene_names(4)
    assert frame["feature_name"] == ["A", "B", "B", "B"]
    assert frame["feature_biotype"] == ["gene"] * 4
    assert frame["tested"] == ["True", "nan", "False", "True"]
    assert frame["all"] == [1] * 4
    assert not any("categories" in hint for hint in found.hints("var").values())
    np.testing.assert_array_equal(found.x, make_counts(3, 4, 0.4))


@pytest.mark.parametrize(
    ("names", "index"),
    [(["A", "B", "C"], "feature_name"), pytest.param(["A", "B", "B"], "name_0", marks=pytest.mark.long)],
)
def test_genes_of_an_old_schema_go_by_their_names(names: list[str], index: str, tmp_path: Path) -> None:
    data = make_anndata_2_0_0(n_obs=3, n_vars=3, raw=False)
    data.var["feature_name"] = names

    found = made(data, tmp_path)

    assert found.hints("var")["index"] == index
    assert found.frame("var")["feature_name"] == names
    assert found.frame("var")["name_0"] == gene_names(3)


def test_the_dataset_tells_of_itself_and_its_colors(tmp_path: Path) -> None:
    uns = {
        "schema_version": "7.1.0",
        "default_embedding": "X_umap",
        "batch_condition": np.array(["donor_id", "sex"]),
        "cluster_colors": np.array(["#FF0000", "#00ff00", "#0000ff", "#123456"]),
        "sex_ontology_term_id_colors": np.array(["Red", "rebeccapurple"]),
        "few_colors": np.array(["red"]),
        "odd_colors": np.array(["red", "#12345"]),
        "text_colors": np.array(["red", "blue"]),
        "other_colors": np.array(["red"]),
    }
    terms, labels = ["PATO:0000384", "PATO:0000383"], ["female", "male"]
    obs = {
        "cluster": pd.Categorical(["b", "a", "b"], ["b", "unused", "a"]),
        "sex_ontology_term_id": pd.Categorical([terms[0], terms[1], terms[0]], terms),
        "sex": pd.Categorical([labels[1], labels[0], labels[1]], labels),
        "few": pd.Categorical(["a", "b", "a"]),
        "odd": pd.Categorical(["a", "b", "a"]),
        "text": ["a", "b", "c"],
    }

    found = made(make_anndata(n_obs=3, raw=False, obs=obs, uns=uns), tmp_path)

    assert found.metadata("cxg_version") == "0.3.0"
    assert found.metadata("cxg_properties") == {"title": "A small dataset", "about": None}
    assert found.metadata("corpora") == {
        "schema_version": "7.1.0",
        "title": "A small dataset",
        "batch_condition": ["donor_id", "sex"],
        "default_embedding": "X_umap",
    }
    assert found.metadata("cxg_category_colors") == {
        "cluster": {"b": "#ff0000", "unused": "#00ff00", "a": "#0000ff"},
        "sex": {"male": "#ff0000", "female": "#663399"},
    }
    assert found.omitted.keys() == {"uns/few_colors", "uns/odd_colors", "uns/text_colors"}
    with found.open("uns") as array:
        assert array[:].tolist() == [0]


def test_colors_have_the_names_of_css() -> None:
    codes = {"aliceblue": "#f0f8ff", "DarkOrange": "#ff8c00", "grey": "#808080", "YellowGreen": "#9acd32"}

    assert {name: hex_color(name) for name in codes} == codes
    assert hex_color("#AbCdEf") == "#abcdef"
    for other in ("", "#abc", "#abcdefab", "abcdef", "#ábcdef", "C0", "0.5", "red "):
        assert hex_color(other) == "", other
