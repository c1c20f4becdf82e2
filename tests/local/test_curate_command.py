"""`celldock curate` as a user runs it: a starter config, a look at what would be done, and another file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import pytest
import yaml

from celldock.h5ad.source import LocalSource
from celldock.schema import load_schema
from celldock.validating import validate_file
from tests.builders import shared_data
from tests.uncurated import CONFIG, STRANGER, SYMBOLS, make_uncurated

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND = [sys.executable, "-m", "celldock_cli.main", "curate"]


def curate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_uncurated(tmp_path / "lung.h5ad")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "curated.h5ad"


def test_a_labs_file_and_a_config_make_a_valid_one(cells: Path, config: Path, out: Path, tmp_path: Path) -> None:
    before = cells.read_bytes()
    done = curate(cells, "--config", config, "-o", out)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"Check it next: celldock validate {out}" in done.stdout
    report = validate_file(LocalSource(out), load_schema("7.1.0"), scratch=tmp_path)
    assert [finding.message for finding in report.findings if finding.severity == "error"] == []
    assert cells.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing else is left"

    then: Any = anndata.read_h5ad(cells)
    now: Any = anndata.read_h5ad(out)
    assert list(now.obs["author_cell_type"]) == list(then.obs["cell_type"])
    assert set(now.obs["cell_type_ontology_term_id"]) == {"CL:0000084", "CL:0000236"}
    assert list(now.obs["donor_id"]) == list(then.obs["patient"])
    assert list(now.var["gene_symbol"]) == SYMBOLS
    assert now.raw is not None
    assert (now.raw.X.toarray() == then.layers["counts"].toarray()[:, : len(SYMBOLS)]).all()
    assert now.raw.X.dtype == "float32"
    assert "counts" not in now.layers
    assert STRANGER in done.stdout


def test_a_dry_run_says_the_same_and_writes_nothing(cells: Path, config: Path, out: Path) -> None:
    looked = curate(cells, "-c", config, "--dry-run")
    assert (looked.returncode, looked.stderr) == (0, "")
    done = curate(cells, "-c", config, "-o", out)
    assert looked.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]
    assert looked.stdout.endswith("Nothing was written (--dry-run).\n")


def test_json_is_the_record_and_nothing_else(cells: Path, config: Path, out: Path) -> None:
    record = json.loads(curate(cells, "-c", config, "-o", out, "--json").stdout)
    assert (record["file"], record["size"]) == (str(out), out.stat().st_size)
    details = {change["code"]: change["details"] for change in record["changes"]}
    assert details["obs.term_resolved"]
    assert "obs/donor_id" in {change["where"] for change in record["changes"]}
    assert record["rewriting"]["kept_datasets"] > 0
    assert record["additivity"]["kept_datasets"] > 0


def test_all_problems_are_told_at_once_with_their_lines(cells: Path, config: Path, out: Path) -> None:
    text = CONFIG.replace("T cell\n", "Tcell\n").replace("column: patient", "column: patients").replace("drop", "error")
    config.write_text(text)
    done = curate(cells, "-c", config, "-o", out)

    assert done.returncode == 3
    lines = text.splitlines()
    for part in ("Tcell", "patients"):
        number = next(index for index, line in enumerate(lines, 1) if part in line)
        assert f"mine.yaml, line {number}" in done.stdout
    assert STRANGER in done.stdout
    assert done.stdout.endswith("Nothing was written.\n")
    assert not list(out.parent.iterdir())


def test_a_starter_config_is_written_beside_the_file_and_can_be_looked_at_at_once(cells: Path, tmp_path: Path) -> None:
    done = curate("--init", cells)
    made = tmp_path / "lung.curation.yaml"
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--config {made} --dry-run" in done.stdout
    text = made.read_text()
    assert text.startswith("# yaml-language-server: $schema=celldock-curation.schema.json\n")
    assert "T cells" in yaml.safe_load(text)["obs"]["cell_type_ontology_term_id"]["cell_type"]
    assert json.loads((tmp_path / "celldock-curation.schema.json").read_text())["$schema"]

    validate = subprocess.run([*COMMAND[:-1], "validate", str(cells)], capture_output=True, text=True, check=False)
    assert "lung.curation.yaml beside it is not looked at" in validate.stderr
    again = curate("--init", cells)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_the_example_config_makes_scanpys_file_what_the_example_is(out: Path, tmp_path: Path) -> None:
    cells = shared_data("pbmc68k_reduced.h5ad")
    done = curate(cells, "-c", EXAMPLES / "10x_pbmc68k_reduced.curation.yaml", "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert validate_file(LocalSource(out), load_schema("7.1.0"), scratch=tmp_path).valid

    made: Any = anndata.read_h5ad(out)
    example: Any = anndata.read_h5ad(EXAMPLES / "pbmc68k.h5ad")
    assert list(made.var_names) == list(example.var_names)
    assert (made.X.toarray() == example.X.toarray()).all()
    assert (made.raw.X.toarray() == example.raw.X.toarray()).all()
    terms = [column for column in example.obs if column.endswith("_ontology_term_id")]
    assert [list(made.obs[column]) for column in terms] == [list(example.obs[column]) for column in terms]
    assert (made.layers["scaled"].shape, made.varm["PCs"].shape) == ((700, 700), (700, 50))


@pytest.mark.parametrize("words", [["-o", "x.h5ad"], ["-c", "nowhere.yaml", "-o", "x.h5ad"], ["-c", "mine.yaml"]])
def test_what_is_missing_is_said(cells: Path, config: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    done = curate(cells, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("celldock: ")
