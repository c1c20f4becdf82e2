"""`celldock validate` as a submitter runs it: a file, an exit code, and what is written where."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from samtranslator.yaml_helper import yaml_parse

from celldock.h5ad.source import LocalSource
from celldock.report import Report, render_text
from celldock.schema import load_schema, schema_versions
from celldock.validating import validate_file
from celldock_cli.libraries import MALLOC, VARIABLES
from celldock_local.checkout import ROOT
from tests.builders import make_h5ad, make_html, make_truncated, make_with_external_link
from tests.fragment_files import bgzip, lines_of, make_atac, rows_for

COMMAND = [sys.executable, "-m", "celldock_cli.main", "validate"]
NEWEST = schema_versions()[-1]


def celldock(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A column is missing, and X holds a NaN: what the header shows and what only a scan does."""
    path = make_h5ad(tmp_path_factory.mktemp("broken") / "broken.h5ad", drop=["tissue_type"])
    with h5py.File(path, "r+") as file:
        file["X/data"][3] = np.nan
    return path


def test_a_valid_file_is_said_to_be_valid(example: Path) -> None:
    done = celldock(example)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"pbmc68k.h5ad is valid by schema {NEWEST}.\n700 cells, 700 genes")
    assert done.stderr == "", "progress is silent where there is no terminal"


def test_an_invalid_file_ends_with_exit_code_3_and_all_reasons(broken: Path) -> None:
    done = celldock(broken)

    assert (done.returncode, done.stderr) == (3, "")
    assert "ERROR obs.tissue_type.missing" in done.stdout
    assert "ERROR x.not_finite" in done.stdout


def test_json_is_the_report_and_nothing_else(broken: Path) -> None:
    done = celldock(broken, "--json")

    report = Report.from_json(json.loads(done.stdout))
    assert (done.returncode, report.valid, report.file.name) == (3, False, "broken.h5ad")
    assert render_text(report) == celldock(broken).stdout


def test_the_command_finds_what_the_domain_finds(broken: Path, tmp_path: Path) -> None:
    report = validate_file(LocalSource(broken), load_schema(NEWEST), scratch=tmp_path)

    assert json.loads(celldock(broken, "--json").stdout) == report.to_json()


def test_the_schema_can_be_chosen(example: Path) -> None:
    for version in schema_versions():
        assert json.loads(celldock(example, "--schema", version, "--json").stdout)["schema_version"] == version

    unknown = celldock(example, "--schema", "1.0.0")
    assert unknown.returncode == 2
    assert unknown.stderr == f"celldock: no schema 1.0.0; there is {', '.join(schema_versions())}\n"


def test_a_file_may_be_for_a_pre_analysis_collection(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "early.h5ad", drop=["cell_type_ontology_term_id"], obsm={})
    assert (celldock(path).returncode, celldock(path, "--pre-analysis").returncode) == (3, 0)


@pytest.fixture
def atac(tmp_path: Path) -> Path:
    """The file of an unpaired ATAC assay."""
    return make_atac(tmp_path / "lung.h5ad")


def test_fragments_beside_the_file_are_checked_with_it(atac: Path) -> None:
    alone = celldock(atac)
    assert (alone.returncode, "ERROR fragments.missing" in alone.stdout) == (3, True)

    beside = atac.with_name("lung.fragments.tsv.gz")
    beside.write_bytes(gzip.compress(lines_of(rows_for())))
    done = celldock(atac)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith(f"lung.h5ad with lung.fragments.tsv.gz is valid by schema {NEWEST}.")

    newer = atac.with_name("lung.fragments.tsv.bgz")
    newer.write_bytes(bgzip(lines_of(rows_for()[1:])))
    os.utime(beside, (1, 1))
    report = json.loads(celldock(atac, "--json").stdout)
    assert [companion["name"] for companion in report["companions"]] == ["lung.fragments.tsv.bgz"]
    codes = {finding["code"] for finding in report["findings"]}
    assert {"fragments.cell_missing", "fragments.two_files"} <= codes


def test_a_fragment_file_of_any_name_can_be_given(atac: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "atac_fragments.tsv.gz"
    elsewhere.write_bytes(gzip.compress(lines_of(rows_for()[::-1])))
    assert celldock(atac, "--fragments", elsewhere).returncode == 0

    for wrong in (tmp_path / "missing.tsv.gz", atac):
        done = celldock(atac, "--fragments", wrong)
        assert (done.returncode, wrong.name in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("make", "code"),
    [(make_html, "file.html"), (make_truncated, "file.truncated"), (make_with_external_link, "file.external_link")],
)
def test_a_file_that_is_refused_gets_the_same_document(make: Callable[[Path], Path], code: str, tmp_path: Path) -> None:
    done = celldock(make(tmp_path / "upload.h5ad"), "--json")

    report = Report.from_json(json.loads(done.stdout))
    assert (done.returncode, report.valid, report.checked) == (3, False, ())
    assert [finding.code for finding in report.findings] == [code]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.h5ad"], "no such file: nowhere.h5ad"),
        (["."], "not a file: ."),
        ([os.devnull], f"not a file: {os.devnull}"),
        ([], "Missing argument"),
        (["--schema"], "requires an argument"),
    ],
)
def test_a_mistake_ends_with_exit_code_2_and_a_clear_line(words: list[str], told: str) -> None:
    done = celldock(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


FAULTS = {
    "no interpreter": (
        "import sys; sys.executable = ''",
        "celldock: There is no Python interpreter to start.\n",
    ),
    "a mistake in the code": (
        "import celldock.validating; celldock.validating.make_plan = lambda *_, **__: 1 / 0",
        "celldock: ZeroDivisionError: division by zero\n"
        "  hint: CELLDOCK_TRACEBACK=1 in the environment shows where it came from\n",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_ours_ends_with_exit_code_1_and_no_traceback(fault: str, example: Path) -> None:
    cause, told = FAULTS[fault]
    command = [sys.executable, "-c", f"{cause}\nfrom celldock_cli.main import main; main()", "validate", str(example)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


@pytest.mark.parametrize("name", ["Zürich – 肺 + 100%.h5ad", "a\x1b[2Jb.h5ad", os.fsdecode(b"latin-\xe4.h5ad")])
def test_any_name_of_a_file_will_do(name: str, example: Path, tmp_path: Path) -> None:
    shutil.copy(example, tmp_path / name)
    done = celldock(tmp_path / name)

    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout


def test_the_c_libraries_are_set_up_as_in_the_function() -> None:
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    variables = template["Resources"]["ScanFunction"]["Properties"]["Environment"]["Variables"]
    settings = {name: str(value) for name, (_, value) in MALLOC.items()} | VARIABLES

    assert settings == {name: value for name, value in variables.items() if name.startswith(("MALLOC_", "OPENBLAS_"))}


def test_no_library_of_aws_is_imported(example: Path) -> None:
    program = (
        "import sys; from celldock_cli.main import app; app(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'boto3', 'botocore', 'moto', 'rich', 'duckdb', 'h5py', 'pandas'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "validate", str(example)], capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_bar_is_shown_on_a_terminal_once_work_takes_long(example: Path) -> None:
    program = (
        "import sys, time; from celldock_cli.progress import progress_bar\n"
        "with progress_bar('cells.h5ad') as progress:\n"
        "    for done in range(20): progress(done, 20); time.sleep(0.1)"
    )
    shown = _on_a_terminal([sys.executable, "-c", program])
    assert "cells.h5ad" in shown
    assert "%" in shown

    assert "\x1b" not in _on_a_terminal([sys.executable, "-c", program.replace("0.1", "0.001")])


def _on_a_terminal(command: list[str]) -> str:
    """What the command writes on stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "xterm"}):
        os.close(theirs)
        shown = b""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
    os.close(ours)
    return shown.decode()


def test_the_docs_show_what_the_command_says(example: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "validating.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shown = dict(re.findall(r"```\n\$ celldock validate (\w+\.h5ad)\n(.*?)```", text, flags=re.DOTALL))
    shutil.copy(example, tmp_path)
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, check=True)

    assert set(shown) == {"pbmc68k.h5ad", "broken.h5ad"}
    for name, told in shown.items():
        assert _without_rule_count(celldock(tmp_path / name).stdout) == _without_rule_count(told)


def _without_rule_count(text: str) -> str:
    return re.sub(r"\d+ rules checked", "rules checked", text)
