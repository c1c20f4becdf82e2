"""Configs as submitters write them: what each form means, and what is refused, with its line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
import yaml

from celldock.curation.config import Constant, Mapped, MatrixRule, Taken
from celldock.curation.json_schema import curation_schema, schema_text
from celldock.curation.ledger import CurationRefused
from celldock.curation.reading import MAX_BYTES, read_curation
from tests.curations import refused

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """\
schema_version: 7.1.0
uns:
  title: 700 PBMCs
  batch_condition: [donor_id, batch]
  spatial: {is_single: true}
obs:
  assay_ontology_term_id: 10x 3' v1
  is_primary_data: false
  age: 3
  donor_id: {column: patient}
  disease_ontology_term_id: [MONDO:0005015, asthma]
  cell_type_ontology_term_id:
    bulk_labels:
      CD14+ Monocyte: CL:0001054
      0: dendritic cell
  tissue_ontology_term_id: {column: organ, map: {Lung: lung}, unmapped: unknown}
  sex_ontology_term_id: {column: {f: female}}
var:
genes: {unknown: drop}
matrices:
  raw.X: layers.counts
  X: {from: X, dtype: float32}
drop: [obs.patient_name, raw]
"""


def test_each_form_has_its_meaning() -> None:
    config = read_curation(CONFIG.encode()).config

    assert (config.schema_version, config.unmapped, config.tidy, config.var) == ("7.1.0", "error", True, {})
    assert config.uns["batch_condition"] == ("donor_id", "batch")
    assert config.uns["spatial"] == {"is_single": True}
    assert config.obs == {
        "assay_ontology_term_id": Constant(value="10x 3' v1"),
        "is_primary_data": Constant(value=False),
        "age": Constant(value=3),
        "donor_id": Taken(column="patient"),
        "disease_ontology_term_id": Constant(value=("MONDO:0005015", "asthma")),
        "cell_type_ontology_term_id": Mapped(
            column="bulk_labels", values={"CD14+ Monocyte": "CL:0001054", "0": "dendritic cell"}
        ),
        "tissue_ontology_term_id": Mapped(column="organ", values={"Lung": "lung"}, unmapped="unknown"),
        # A column may be called column.
        "sex_ontology_term_id": Mapped(column="column", values={"f": "female"}),
    }
    assert config.matrices == {
        "raw.X": MatrixRule(source="layers.counts"),
        "X": MatrixRule(source="X", dtype="float32"),
    }
    assert config.drop == ("obs.patient_name", "raw")


def test_a_thing_is_told_by_its_line_or_that_of_what_it_is_in() -> None:
    curation = read_curation(CONFIG.encode(), "heart.curation.yaml")

    assert curation.where("obs", "donor_id") == "heart.curation.yaml, line 10"
    assert curation.where("obs", "donor_id", "column", "deeper") == "heart.curation.yaml, line 10"
    assert curation.where("tidy") == "heart.curation.yaml"
    cell_types = ("obs", "cell_type_ontology_term_id", "bulk_labels")
    assert curation.where_mapped(*cell_types, "0") == "heart.curation.yaml, line 15"
    assert curation.where_mapped("obs", "tissue_ontology_term_id", "organ", "Lung") == "heart.curation.yaml, line 16"


def test_only_what_looks_like_one_is_a_number_or_a_boolean() -> None:
    values = read_curation(
        b"uns: {a: yes, b: on, c: 2020-01-01, d: 010, e: 1:30, f: 0x10, g: 1_000, h: .inf, i: '5', j: True, k: -2, "
        b"l: 1.5e3, m: 1e999}"
    ).config.uns

    assert list(values.values()) == [
        *("yes", "on", "2020-01-01", "010", "1:30", "0x10", "1_000", ".inf", "5"),
        *(True, -2, 1500.0, "1e999"),
    ]


def test_keys_are_texts_as_they_are_written() -> None:
    rule = read_curation(b"obs:\n  x:\n    c: {1: a, 1.0: b, true: c, no: d, null: e, 010: f, '': g}").config.obs["x"]

    assert isinstance(rule, Mapped)
    assert list(rule.values) == ["1", "1.0", "true", "no", "null", "010", ""]


def test_a_config_of_comments_alone_asks_for_nothing() -> None:
    assert read_curation(b"# nothing\n").config == read_curation(b"uns:\nobs:\nmatrices:\ndrop:\n").config


@pytest.mark.parametrize(
    ("config", "code", "line"),
    [
        ("obs: {a: &x b}", "config.alias", "1"),
        ("obs:\n  a: *x", "config.alias", "2"),
        ("obs:\n  a: !!python/object:os.system ls", "config.tag", "2"),
        ("\nobs: " + "[" * 100, "config.too_deep", "2"),
        ("obs:\n  a: b\n  a: c\n", "config.repeated_key", "3"),
        ("obs:\n  ? [a]\n  : b", "config.key", "2"),
        ("obs: [", "config.not_yaml", "2"),
        ("obs:\n---\nobs:\n", "config.documents", "2"),
        ("%YAML 1.1\n---\nobs:\n", "config.documents", "1"),
        ("- obs", "config.no_map", "1"),
        ('uns:\n  title: "a\\0b"', "config.characters", "2"),
        (b"uns:\n  title: \xff", "config.not_utf8", "2"),
        ("uns:\n\n  title:\n", "config.invalid", "3"),
        ("schema_version: 9.9.9", "config.schema_version", "1"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(config: str | bytes, code: str, line: str) -> None:
    assert [(finding.code, finding.where) for finding in refused(config)] == [(code, f"curation.yaml, line {line}")]


def test_a_config_that_is_too_large_is_not_read() -> None:
    assert refused(b"#" * (MAX_BYTES + 1))[0].code == "config.too_large"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["[", "{", "- ", "? ", "a: ", "'", "|\n", "# \n"])
def test_no_config_takes_long_to_refuse(piece: str) -> None:
    with suppress(CurationRefused):
        read_curation((piece * MAX_BYTES)[:MAX_BYTES].encode())


def test_all_problems_are_told_at_once() -> None:
    findings = refused(
        "ob: {}\ntidy: yes\nobs:\n  x:\n  y: {colum: a}\n  z:\n    c:\n      v:\n  q: {column: a, map: {a: [1]}}\n"
        "matrices:\n  X: {from: X, dtype: int8, target_sum: -1}\ngenes: {unknown: x}\ndrop: raw\n"
    )

    told = {finding.where.rpartition(" ")[2]: f"{finding.message} {finding.suggestion}" for finding in findings}
    assert told["1"] == "ob is no key that a config has there. 'obs' may be meant."
    assert told["2"] == "tidy must be true or false. "
    assert told["4"] == "obs.x has no value. Give it one, or leave the line out."
    assert told["5"] == "obs.y.colum is no key that a config has there. 'column' may be meant."
    assert told["8"] == "obs.z.c.v has no value. Give it one, or leave the line out."
    assert told["9"].startswith("obs.q.map.a must be a text")
    assert told["11"].startswith("matrices.X.dtype must be 'float32'")
    assert told["12"] == "genes.unknown must be 'error' or 'drop'. "
    assert told["13"] == "drop must be a list. "


VALID = jsonschema.Draft202012Validator(curation_schema())


def test_the_json_schema_is_one_and_accepts_a_config() -> None:
    jsonschema.Draft202012Validator.check_schema(curation_schema())

    assert not list(VALID.iter_errors(yaml.safe_load(CONFIG.replace("0: dendritic", "'0': dendritic"))))
    assert "Required." in curation_schema()["properties"]["obs"]["properties"]["donor_id"]["description"]


@pytest.mark.parametrize(
    "config",
    [
        "ob: {}",
        "obs: {x: {colum: a}}",
        "obs: {x: []}",
        "genes: {unknown: x}",
        "schema_version: '1'",
    ],
)
def test_the_json_schema_refuses_what_is_refused(config: str) -> None:
    assert refused(config)
    assert list(VALID.iter_errors(yaml.safe_load(config)))


def test_the_example_has_the_schema_that_its_first_line_names_beside_it() -> None:
    assert (EXAMPLES / "celldock-curation.schema.json").read_text() == schema_text(), "celldock curate --init writes it"
    example = (EXAMPLES / "10x_pbmc68k_reduced.curation.yaml").read_text()
    assert example.startswith("# yaml-language-server: $schema=celldock-curation.schema.json\n")
    jsonschema.validate(yaml.safe_load(example), curation_schema())
