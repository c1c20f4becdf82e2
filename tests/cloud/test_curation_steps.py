"""A config beside an upload: the curated file, on which every later step works, by the functions themselves."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata
import pytest

from celldock.catalog.keys import CURATION
from celldock.catalog.records import Companion
from celldock.cloud.clients import client
from celldock.cloud.steps import curation as step
from celldock.cloud.steps.sources import CURATED
from celldock.cloud.steps.subjects import FILE
from celldock.curating import Limits
from tests.builders import make_html
from tests.cloud.conftest import ARTIFACTS, INBOX, Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.submissions import DATASET
from tests.cloud.test_cloud_steps import scan_all, submitted
from tests.uncurated import CONFIG, SYMBOLS, make_uncurated

STEPS = ("curate", "plan", "scan", "validate", "label", "convert")
KEY = f"{DATASET}.curation.yaml"

type Steps = dict[str, ModuleType]


@pytest.fixture
def steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return {name: load(name, cloud, monkeypatch) for name in STEPS}


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return make_uncurated(tmp_path / "lung.h5ad").read_bytes()


def with_config(submission: dict[str, Any], config: str | bytes = CONFIG) -> dict[str, Any]:
    """What Claim hands on where the config lies beside the upload."""
    body = config.encode() if isinstance(config, str) else config
    version_id = client("s3").put_object(Bucket=INBOX, Key=KEY, Body=body)["VersionId"]
    pinned = Companion(key=KEY, version_id=version_id, size=len(body), etag="e")
    return {**submission, "companions": {CURATION: pinned.model_dump()}}


def validated(steps: Steps, cloud: Cloud, submission: dict[str, Any]) -> dict[str, Any]:
    """The report, by way of Curate and, unless it refused, Plan and Scan."""
    curated = invoke(steps["curate"], {"submission": submission})
    if not curated["refused"]:
        plan = invoke(steps["plan"], {"submission": submission})
        scan_all(steps, cloud, submission, plan)
    verdict = invoke(steps["validate"], {"submission": submission})
    return cloud.inbox.get_json(verdict["report_key"])


def test_what_a_config_made_is_validated_labelled_and_converted(
    cloud: Cloud, steps: Steps, content: bytes, tmp_path: Path
) -> None:
    submission = with_config(submitted(cloud, content))
    curated = invoke(steps["curate"], {"submission": submission})
    assert (curated["refused"], curated["next"], curated["bytes"] > 0) == (False, "Plan", True)

    report = validated(steps, cloud, submission)
    assert (report["valid"], report["summary"]["n_vars"]) == (True, len(SYMBOLS))
    assert [each["name"] for each in report["companions"]] == ["lung.curation.yaml"]

    artifact = invoke(steps["label"], {"submission": submission, "schema_version": "7.1.0"})
    root = artifact["uri"].removeprefix(f"s3://{ARTIFACTS}/")
    (tmp_path / "labelled.h5ad").write_bytes(cloud.artifacts.get_bytes(root + FILE))
    data = anndata.read_h5ad(tmp_path / "labelled.h5ad")
    assert set(data.obs["cell_type"]) == {"T cell", "B cell"}
    assert set(data.obs["author_cell_type"]) == {"T cells", "B cells"}
    assert list(data.var["feature_name"]) == SYMBOLS
    assert cloud.inbox.get_bytes(submission["key"], submission["version_id"]) == content


def test_the_record_has_the_config_and_what_came_of_it(cloud: Cloud, steps: Steps, content: bytes) -> None:
    submission = with_config(submitted(cloud, content))
    curated = invoke(steps["curate"], {"submission": submission})

    assert curated["record"].startswith("_reports/")
    record = cloud.inbox.get_json(curated["record"])
    assert record["config"]["text"] == CONFIG
    assert record["config"]["version_id"] == submission["companions"][CURATION]["version_id"]
    assert len(record["changes"]) == curated["changes"]
    resolved = [change["details"] for change in record["changes"] if change["code"] == "obs.term_resolved"]
    assert {"T cell": "CL:0000084"}.items() <= {k: v for each in resolved for k, v in each.items()}.items()
    assert record["additivity"]["added"]


def test_a_config_that_does_not_fit_is_reported_with_its_lines(cloud: Cloud, steps: Steps, content: bytes) -> None:
    submission = with_config(submitted(cloud, content), CONFIG.replace("CL:0000236", "CL:9999999"))
    report = validated(steps, cloud, submission)

    (finding,) = report["findings"]
    number = next(at for at, line in enumerate(CONFIG.splitlines(), 1) if "CL:0000236" in line)
    assert (report["valid"], report["checked"]) == (False, [])
    assert finding["where"] == f"lung.curation.yaml, line {number}"
    assert "CL:9999999" in finding["message"]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"obs: [", "config"),
        (b"a: &a [*a]", "config"),
        (b"x" * 2_000_000, "config"),
        (b"\xff\xfe", "config"),
        (b"schema_version: 2.0.0\n", "curation.schema_version"),
    ],
)
def test_a_hostile_config_is_reported(cloud: Cloud, steps: Steps, content: bytes, config: bytes, code: str) -> None:
    report = validated(steps, cloud, with_config(submitted(cloud, content), config))
    assert report["valid"] is False
    assert all(finding["code"].startswith(code) for finding in report["findings"])


def test_a_hostile_file_is_reported_by_curate(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    submission = with_config(submitted(cloud, make_html(tmp_path / "x.h5ad").read_bytes()))
    report = validated(steps, cloud, submission)
    assert [finding["code"] for finding in report["findings"]] == ["file.html"]


def test_a_file_that_is_too_large_to_be_curated_here_says_what_to_do(
    cloud: Cloud, steps: Steps, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "LIMITS", Limits(scanned_bytes=len(content) - 1, rewritten_bytes=10))
    report = validated(steps, cloud, with_config(submitted(cloud, content)))
    (finding,) = report["findings"]
    assert (finding["code"], "celldock curate" in finding["suggestion"]) == ("curation.too_large", True)


def test_it_is_made_once_for_each_config_and_nothing_of_another_is_taken_over(
    cloud: Cloud, steps: Steps, content: bytes
) -> None:
    plain = submitted(cloud, content)
    assert invoke(steps["plan"], {"submission": plain})["n_vars"] == len(SYMBOLS) + 1
    first = with_config({**plain, "run": 2})
    validated(steps, cloud, first)

    again = invoke(steps["curate"], {"submission": {**first, "run": 3}})
    assert again["bytes"] > 0
    keys = [each["Key"] for each in client("s3").list_objects_v2(Bucket=ARTIFACTS)["Contents"]]
    assert [key for key in keys if key.endswith(CURATED)] == [f"work/{plain['version_id']}/2/curate/{CURATED}"]

    other = with_config({**plain, "run": 4}, CONFIG.replace("Twenty cells", "20 cells"))
    assert invoke(steps["curate"], {"submission": other})["record"] != again["record"]
    assert invoke(steps["plan"], {"submission": other})["n_vars"] == len(SYMBOLS)
    titles = [
        json.dumps(cloud.inbox.get_json(record)["changes"]) for record in (again["record"], _record(steps, other))
    ]
    assert ["Twenty cells" in title for title in titles] == [True, False]


def _record(steps: Steps, submission: dict[str, Any]) -> str:
    return str(invoke(steps["curate"], {"submission": submission})["record"])
