"""A fragment file beside an upload: checked, reported, and made into an artifact, by the functions themselves."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celldock.catalog.records import Companion
from celldock.cloud.clients import client
from celldock.cloud.steps import fragments as step
from celldock.errors import ObjectGone
from celldock.fragments import writing
from tests.builders import make_h5ad, make_html
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.submissions import DATASET
from tests.cloud.test_cloud_steps import errors, scan_all, submitted
from tests.fragment_files import PAIRED, Row, bgzip, lines_of, make_atac, rows_for

STEPS = ("plan", "scan", "fragments", "validate", "label", "convert", "assemble")
KEY = f"{DATASET}.fragments.tsv.gz"
N_OBS = 20

type Steps = dict[str, ModuleType]


@pytest.fixture
def steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return {name: load(name, cloud, monkeypatch) for name in STEPS}


def with_companion(submission: dict[str, Any], content: bytes, passed_over: str = "") -> dict[str, Any]:
    """What Claim hands on where the companion lies beside the upload."""
    version_id = client("s3").put_object(Bucket=INBOX, Key=KEY, Body=content)["VersionId"]
    pinned = Companion(key=KEY, version_id=version_id, size=len(content), etag="e", passed_over=passed_over)
    return {**submission, "companions": {"fragments": pinned.model_dump()}}


def packed(rows: list[Row]) -> bytes:
    return gzip.compress(lines_of(rows), mtime=0)


def validated(steps: Steps, cloud: Cloud, submission: dict[str, Any]) -> dict[str, Any]:
    """The report, by way of Plan, Scan and CheckFragments."""
    plan = invoke(steps["plan"], {"submission": submission})
    scan_all(steps, cloud, submission, plan)
    if submission.get("companions"):
        invoke(steps["fragments"], {"submission": submission})
    verdict = invoke(steps["validate"], {"submission": submission})
    return cloud.inbox.get_json(verdict["report_key"])


def converted(steps: Steps, cloud: Cloud, submission: dict[str, Any]) -> dict[str, Any]:
    """The artifact `fragments`, by way of Plan, Convert and Assemble."""
    plan = invoke(steps["plan"], {"submission": submission})
    invoke(steps["label"], {"submission": submission, "schema_version": "7.1.0"})
    (planned,) = [each for each in plan["formats"] if each["format"] == "fragments"]
    for partition in cloud.artifacts.get_json(planned["partitions_key"]):
        invoke(steps["convert"], {"submission": submission, "format": "fragments", "partition": partition})
    event = {"submission": submission, "format": "fragments", "partitions_key": planned["partitions_key"]}
    return invoke(steps["assemble"], event)


@pytest.fixture
def atac(cloud: Cloud, tmp_path: Path) -> dict[str, Any]:
    """The submission of an unpaired ATAC assay, without fragments."""
    return submitted(cloud, make_atac(tmp_path / "lung.h5ad", n_obs=N_OBS).read_bytes())


def test_fragments_are_required_of_unpaired_assays(cloud: Cloud, steps: Steps, atac: dict[str, Any]) -> None:
    report = validated(steps, cloud, atac)
    (finding,) = errors(report)
    assert (finding["code"], finding["count"]) == ("fragments.missing", N_OBS)
    assert ".fragments.tsv.gz" in finding["suggestion"]
    assert report["companions"] == []


def test_sound_fragments_make_the_dataset_valid(cloud: Cloud, steps: Steps, atac: dict[str, Any]) -> None:
    submission = with_companion(atac, packed(rows_for(N_OBS)))
    report = validated(steps, cloud, submission)
    assert (report["valid"], errors(report)) == (True, [])
    (companion,) = report["companions"]
    pinned = submission["companions"]["fragments"]
    assert (companion["name"], companion["key"]) == ("lung.fragments.tsv.gz", KEY)
    assert (companion["version_id"], companion["size"]) == (pinned["version_id"], pinned["size"])
    assert {"fragments.duplicate_rows", "fragments.missing"} <= set(report["checked"])


def test_what_is_wrong_with_fragments_is_in_the_report_with_all_else(
    cloud: Cloud, steps: Steps, tmp_path: Path
) -> None:
    content = make_atac(tmp_path / "x.h5ad", n_obs=N_OBS, drop=["donor_id"]).read_bytes()
    rows = [*rows_for(N_OBS)[:-1], ("chr99", 1, 2, "cell-0000", 1)]
    report = validated(steps, cloud, with_companion(submitted(cloud, content), packed(rows)))
    assert {finding["code"] for finding in errors(report)} == {
        "obs.donor_id.missing",
        "fragments.cell_missing",
        "fragments.chromosome_unknown",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>not found</html>", "not compressed"),
        (gzip.compress(b"\0" * 3_000_000), "no lines of text"),
        (bgzip(lines_of(rows_for()))[:60], "ends before its time"),
        (b"", "not compressed"),
    ],
    ids=["html", "zeros", "cut", "empty"],
)
def test_a_hostile_fragment_file_is_a_finding(
    cloud: Cloud, steps: Steps, atac: dict[str, Any], content: bytes, said: str
) -> None:
    report = validated(steps, cloud, with_companion(atac, content))
    (finding,) = errors(report)
    assert finding["code"] == "fragments.unreadable"
    assert said in finding["message"]


def test_fragments_beside_another_assay_are_told(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    content = make_h5ad(tmp_path / "x.h5ad", n_obs=N_OBS).read_bytes()
    report = validated(steps, cloud, with_companion(submitted(cloud, content), packed(rows_for(N_OBS))))
    (finding,) = errors(report)
    assert (finding["code"], finding["count"]) == ("fragments.not_expected", N_OBS)


@pytest.mark.parametrize(
    ("obs", "uns", "codes"),
    [
        ({}, {}, set()),
        ({"is_primary_data": False}, {}, {"fragments.not_primary"}),
        ({}, {"organism_ontology_term_id": "NCBITaxon:10116"}, {"fragments.organism"}),
    ],
)
def test_paired_assays_with_fragments_are_held_to_the_same(
    cloud: Cloud, steps: Steps, tmp_path: Path, obs: dict[str, Any], uns: dict[str, Any], codes: set[str]
) -> None:
    content = make_atac(tmp_path / "x.h5ad", PAIRED, n_obs=N_OBS, obs=obs, uns=uns).read_bytes()
    alone = submitted(cloud, content)
    told = {finding["code"] for finding in errors(validated(steps, cloud, alone))}
    with_fragments = with_companion(submitted(cloud, content), packed(rows_for(N_OBS)))
    told_then = {finding["code"] for finding in errors(validated(steps, cloud, with_fragments))}
    assert told_then - told == codes
    assert not any(code.startswith("fragments.") for code in told)


def test_a_second_fragment_file_is_told_and_does_no_harm(cloud: Cloud, steps: Steps, atac: dict[str, Any]) -> None:
    other = f"{DATASET}.fragments.tsv.bgz"
    report = validated(steps, cloud, with_companion(atac, packed(rows_for(N_OBS)), passed_over=other))
    assert report["valid"]
    (finding,) = [finding for finding in report["findings"] if finding["code"] == "fragments.two_files"]
    assert (finding["severity"], "lung.fragments.tsv.bgz was not looked at" in finding["message"]) == ("warning", True)


TOO_MUCH = {
    "there are more": replace(step.LIMITS, seconds=-1.0),
    "not sorted by position": replace(step.LIMITS, scratch_bytes=100),
}


@pytest.mark.parametrize("said", TOO_MUCH)
def test_a_file_that_is_too_large_ends_with_a_clear_answer(
    cloud: Cloud, steps: Steps, atac: dict[str, Any], monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(step, "LIMITS", TOO_MUCH[said])
    report = validated(steps, cloud, with_companion(atac, packed(rows_for(N_OBS)[::-1])))
    (finding,) = errors(report)
    assert finding["code"] == "fragments.too_large"
    assert said in finding["message"]
    assert finding["suggestion"]
    assert "fragments.duplicate_rows" not in report["checked"]


def test_fragments_are_checked_once_and_anew_where_they_have_changed(
    cloud: Cloud, steps: Steps, atac: dict[str, Any]
) -> None:
    first = with_companion(atac, packed(rows_for(N_OBS)))
    validated(steps, cloud, first)
    version_id, root = first["version_id"], f"work/{atac['version_id']}"
    # Given: neither file can be read any more, so that nothing can be done anew.
    client("s3").delete_object(Bucket=INBOX, Key=KEY, VersionId=first["companions"]["fragments"]["version_id"])
    second = {**first, "run": 2}
    assert validated(steps, cloud, second)["valid"]
    own = cloud.artifacts.get_json(f"{root}/2/fragments/manifest.json")
    assert (own["version_id"], own["run"], own["made_by_run"]) == (version_id, 2, 1)
    # When: another one comes.
    third = with_companion({**first, "run": 3}, packed(rows_for(N_OBS - 1)))
    assert [finding["code"] for finding in errors(validated(steps, cloud, third))] == ["fragments.cell_missing"]


def test_a_fragment_file_that_is_gone_is_an_error_of_its_own(cloud: Cloud, steps: Steps, atac: dict[str, Any]) -> None:
    submission = with_companion(atac, packed(rows_for(N_OBS)))
    client("s3").put_object(Bucket=INBOX, Key=KEY, Body=b"overwritten")
    invoke(steps["plan"], {"submission": submission})
    assert invoke(steps["fragments"], {"submission": submission}) == {"findings": 0}, "reads are pinned"
    pinned = submission["companions"]["fragments"]["version_id"]
    client("s3").delete_object(Bucket=INBOX, Key=KEY, VersionId=pinned)
    another = {**submission, "run": 2, "schema_versions": ["7.1.0", "7.1.0"]}
    invoke(steps["plan"], {"submission": another})
    with pytest.raises(ObjectGone):
        invoke(steps["fragments"], {"submission": another})


def test_a_refused_h5ad_is_reported_without_its_fragments(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    submission = with_companion(submitted(cloud, make_html(tmp_path / "x.h5ad").read_bytes()), b"")
    plan = invoke(steps["plan"], {"submission": submission})
    assert plan["refused"]
    verdict = invoke(steps["validate"], {"submission": submission})
    assert [f["code"] for f in cloud.inbox.get_json(verdict["report_key"])["findings"]] == ["file.html"]


def test_a_version_of_the_schema_without_fragments_takes_none(
    cloud: Cloud, steps: Steps, atac: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celldock.schema.fragments.dataset.load_fragment_rules", lambda _: None)
    report = validated(steps, cloud, with_companion(atac, packed(rows_for(N_OBS))))
    (finding,) = errors(report)
    assert (finding["code"], "takes none" in finding["message"]) == ("fragments.not_expected", True)


def test_without_a_fragment_file_its_format_is_not_planned(cloud: Cloud, steps: Steps, atac: dict[str, Any]) -> None:
    plan = invoke(steps["plan"], {"submission": atac})
    assert [each["format"] for each in plan["formats"]] == ["cells"]


@pytest.mark.parametrize("is_sorted", [True, False])
def test_fragments_become_a_sorted_and_indexed_artifact(
    cloud: Cloud, steps: Steps, atac: dict[str, Any], tmp_path: Path, is_sorted: bool
) -> None:
    rows = rows_for(N_OBS)
    shown = rows if is_sorted else random.Random(1).sample(rows, len(rows))
    submission = with_companion(atac, packed(shown))
    artifact = converted(steps, cloud, submission)
    assert (artifact["state"], artifact["files"]) == ("CONVERTED", 2)
    root = artifact["uri"].removeprefix(f"s3://{cloud.artifacts.bucket}/")
    files = json.loads(cloud.artifacts.get_bytes(artifact["manifest_key"]))["files"]
    assert [file["path"] for file in files] == ["fragments.tsv.bgz", "fragments.tsv.bgz.tbi"]
    assert gzip.decompress(cloud.artifacts.get_bytes(f"{root}fragments.tsv.bgz")) == lines_of(rows)
    assert gzip.decompress(cloud.artifacts.get_bytes(f"{root}fragments.tsv.bgz.tbi")).startswith(b"TBI\x01")
    assert converted(steps, cloud, submission) == artifact, "every step can run twice"
    assert not list((tmp_path / "tmp").iterdir()), "nothing stays in /tmp"
    # A later run with the same companion takes it over; one with another makes its own.
    assert converted(steps, cloud, {**submission, "run": 2}) == artifact
    other = converted(steps, cloud, with_companion({**submission, "run": 3}, packed(rows[1:])))
    assert (other["state"], other["sha256"] != artifact["sha256"]) == ("CONVERTED", True)


def test_fragments_that_cannot_be_sorted_are_skipped_with_the_reason(
    cloud: Cloud, steps: Steps, atac: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_UNSORTED_BYTES", 10)
    submission = with_companion(atac, packed(rows_for(N_OBS)[::-1]))
    for _ in range(2):
        artifact = converted(steps, cloud, submission)
        assert (artifact["state"], artifact["files"], artifact["manifest_key"]) == ("SKIPPED", 0, "")
        assert "sort -k1,1 -k2,2n" in artifact["reason"]


def test_a_file_too_large_to_be_published_is_planned_as_skipped(
    cloud: Cloud, steps: Steps, atac: dict[str, Any]
) -> None:
    submission = with_companion(atac, packed(rows_for(N_OBS)))
    submission["companions"]["fragments"]["size"] = (5 << 30) + 1
    plan = invoke(steps["plan"], {"submission": submission})
    (planned,) = [each for each in plan["formats"] if each["format"] == "fragments"]
    assert (planned["feasible"], "5,368,709,121 bytes" in planned["reason"]) == (False, True)
