"""How the reference databases are made, from small sources of the same shapes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from celldock.schema.reference import Reference
from celldock.schema.reference import Term as FoundTerm
from layers.reference.build_reference import HERE, Sources, members, pins
from layers.reference.database import TERMS_OF_A_BLOCK, Gene, Term, Writer

TERMS = [
    Term("CL:0000000", "cell"),
    Term("CL:0000001", "old cell", obsolete=True, replaced_by="CL:0000002"),
    Term("CL:0000002", "older cell", obsolete=True, replaced_by="CL:0000540"),
    Term("CL:0000003", "", obsolete=True, replaced_by="CL:0000004"),
    Term("CL:0000004", "", obsolete=True, replaced_by="CL:0000003"),
    Term("CL:0000005", "gone cell", obsolete=True, replaced_by="CLO:0000001"),
    Term("CL:0000006", "dropped cell", obsolete=True),
    Term("CL:0000540", "neuron", replaced_by="CL:0000000", ancestors=["CL:0000000", "CL:0000255"]),
    Term("CVCL_0030", "HeLa"),
]


def database_of(
    path: Path, terms: Iterable[Term] = TERMS, genes: Iterable[Gene] = (), searched: Iterable[str] = ()
) -> Reference:
    with Writer(path, ["CL:0000000", "UBERON:0001062"]) as database:
        database.add_terms({term.id: term for term in terms}, searched)
        database.add_genes(genes)
        database.describe("7.1.0", {"CL": "v1"}, [{"organism": "NCBITaxon:9606", "version": "v48"}], {"guide": "1 x"})
    return Reference(path)


def found(reference: Reference, id_: str) -> FoundTerm:
    term = reference.term(id_)
    assert term is not None
    return term


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    reference = database_of(tmp_path / "a.sqlite")
    assert reference.schema_version == "7.1.0"
    assert reference.versions == {"CL": "v1", "NCBITaxon:9606": "v48"}
    assert reference.sources == {"guide": "1 x"}
    assert found(reference, "CL:0000540") == FoundTerm(
        "CL:0000540", "neuron", obsolete=False, replaced_by=None, ancestors=frozenset({"CL:0000000"})
    )
    assert found(reference, "CVCL_0030").label == "HeLa"
    assert [reference.term(id_) for id_ in ("CL:0000541", "CL:", "A", "Z", "CVCL:0030")] == [None] * 5


@pytest.mark.parametrize(
    ("id_", "in_use"),
    [
        ("CL:0000001", "CL:0000540"),
        ("CL:0000002", "CL:0000540"),
        ("CL:0000003", None),
        ("CL:0000005", None),
        ("CL:0000006", None),
    ],
    ids=["two steps", "one step", "a circle", "elsewhere", "nothing"],
)
def test_an_obsolete_term_leads_to_one_in_use(tmp_path: Path, id_: str, in_use: str | None) -> None:
    term = found(database_of(tmp_path / "a.sqlite"), id_)
    assert (term.obsolete, term.replaced_by) == (True, in_use)


def test_terms_are_found_in_any_block(tmp_path: Path) -> None:
    ids = [f"CL:{number}" for number in range(3 * TERMS_OF_A_BLOCK + 1)]
    reference = database_of(tmp_path / "a.sqlite", [Term(id_, f"cell {id_}") for id_ in ids])
    assert {id_: term.label for id_, term in reference.terms(ids).items()} == {id_: f"cell {id_}" for id_ in ids}
    assert [term.id for term in reference.find_label(f"CELL {ids[-1]}", ["CL"])] == [ids[-1]]


def test_an_ontology_ends_where_another_begins(tmp_path: Path) -> None:
    same = [Term(id_, "same") for id_ in ("CL:1", "CLO:1", "CVCL_1", "C:1")]
    reference = database_of(tmp_path / "a.sqlite", same)
    for ontology, id_ in {"CL": "CL:1", "CLO": "CLO:1", "CVCL": "CVCL_1", "C": "C:1"}.items():
        assert [term.id for term in reference.find_label("same", [ontology])] == [id_]
        assert [term.id for term in reference.nearest_labels("sames", [ontology])] == [id_]


def test_labels_are_looked_for_among_the_common_terms_of_a_huge_ontology(tmp_path: Path) -> None:
    taxa = [Term(f"NCBITaxon:{number}", f"Mus {number}") for number in range(10)]
    reference = database_of(tmp_path / "a.sqlite", taxa, searched=["NCBITaxon:3", "NCBITaxon:7"])
    assert found(reference, "NCBITaxon:5").label == "Mus 5"
    assert reference.find_label("mus 5", ["NCBITaxon"]) == []
    assert [term.id for term in reference.find_label("mus 7", ["NCBITaxon"])] == ["NCBITaxon:7"]
    assert {term.id for term in reference.nearest_labels("mus 5", ["NCBITaxon"])} == {"NCBITaxon:3", "NCBITaxon:7"}


def test_a_symbol_is_shared_within_its_organism_alone(tmp_path: Path) -> None:
    genes = [
        Gene("ENSG1", "A", "NCBITaxon:9606", "protein_coding", 10),
        Gene("ENSG2", "A", "NCBITaxon:9606", "lncRNA", 20),
        Gene("ENSG3", "B", "NCBITaxon:9606", "lncRNA", 30),
        Gene("ENSMUSG1", "B", "NCBITaxon:10090", "lncRNA", 40),
        Gene("ENSMUSG2", "ENSMUSG2", "NCBITaxon:10090", "lncRNA", 50),
    ]
    read = database_of(tmp_path / "a.sqlite", genes=reversed(genes)).genes(gene.id for gene in genes)
    assert [(gene.id, gene.symbol, gene.organism, gene.biotype, gene.length) for gene in read.values()] == genes
    assert [gene.id for gene in read.values() if gene.symbol_shared] == ["ENSG1", "ENSG2"]


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    genes = [Gene(f"ENSG{number}", "A", "NCBITaxon:9606", "lncRNA", number) for number in range(5_000)]
    database_of(tmp_path / "a.sqlite", genes=genes)
    database_of(tmp_path / "b.sqlite", reversed(TERMS), genes=reversed(genes))
    assert (tmp_path / "a.sqlite").read_bytes() == (tmp_path / "b.sqlite").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [Term("CL:1", "other"), Term("CL:1", "cell", obsolete=True), Term("CL:1", "cell", ancestors=["CL:0000000"])],
)
def test_other_data_have_another_digest(tmp_path: Path, changed: Term) -> None:
    before = database_of(tmp_path / "a.sqlite", [Term("CL:1", "cell")])
    assert database_of(tmp_path / "b.sqlite", [changed]).digest != before.digest


@pytest.mark.parametrize("label", ["a\tb", "a\nb"])
def test_a_label_that_would_break_the_lines_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(ValueError, match="CL:1 has a tab or a line break"):
        database_of(tmp_path / "a.sqlite", [Term("CL:1", label)])


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_huge_object_is_read_in_pieces(size: int) -> None:
    whole = {
        "CL:1": {"label": 'a "quoted", {braced} name', "ancestors": {"CL:0": 1}},
        "CL:2": None,
        "CL:3": 12.5,
        "ü": [],
    }
    for text in (json.dumps(whole), json.dumps(whole, indent=2, ensure_ascii=False)):
        assert dict(members(_pieces(text, size))) == whole


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": {"b": 1}', "", '{"a": 1, "b"'])
def test_an_object_that_ends_too_early_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="ends too early"):
        list(members([text]))


def test_gene_files_of_both_times_are_read(tmp_path: Path) -> None:
    contents = {"genes": {"ercc": {"organism": "NCBITaxon:32630"}, "homo_sapiens": {"organism": "NCBITaxon:9606"}}}
    (tmp_path / "files").mkdir()
    for name, line in {"ercc": "ERCC-1,ERCC-1 (control),1,1061", "homo_sapiens": "ENSG1,A,2,1396,lncRNA"}.items():
        with gzip.open(tmp_path / "files" / f"genes_{name}.csv.gz", "wt") as file:
            file.write(line + "\n")
    assert list(Sources(tmp_path, contents).genes("files")) == [
        Gene("ERCC-1", "ERCC-1 (control)", "NCBITaxon:32630", "spike-in", 1061),
        Gene("ENSG1", "A", "NCBITaxon:9606", "lncRNA", 1396),
    ]


def test_each_schema_version_names_its_packages() -> None:
    versions = json.loads((HERE / "contents.json").read_text())
    assert {version: sorted(pins(version)) for version in versions} == {
        "7.1.0": ["cellxgene-ontology-guide", "cellxgene-schema"],
        "2.0.0": ["cellxgene-schema"],
    }


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))
