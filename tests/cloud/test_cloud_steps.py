"""The steps that open the file: plan, validate, convert, assemble; on a real h5ad, from claim to published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import h5py
import numpy as np
import pytest

from celldock.catalog.keys import report_key
from celldock.catalog.states import VersionState
from celldock.cloud.clients import client
from celldock.cloud.objects import ObjectStore
from celldock.errors import ServiceFault
from celldock.formats import cells
from tests import builders
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.submissions import DATASET, KEY, record_artifact, run_of, set_state, take, version

STEPS = ("plan", "scan", "validate", "label", "convert", "assemble")


@pytest.fixture
def steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return {name: load(name, cloud, monkeypatch) for name in STEPS}


def submitted(cloud: Cloud, content: bytes, run: int = 1, version_id: str = "") -> dict[str, Any]:
    """The submission that Claim hands on."""
    if not version_id:
        version_id = client("s3").put_object(Bucket=INBOX, Key=KEY, Body=content)["VersionId"]
    return {
        **run_of(version_id, "55AE", run).model_dump(),
        "execution": "arn:aws:states:::execution:m:1",
        "collection": "atlas",
        "name": "lung",
        "dataset": DATASET,
        "pk": f"DATASET#{DATASET}",
        "sk": f"VERSION#{version_id}",
        "size": len(content),
        "etag": "e",
        "publish": False,
        "required_formats": ["cells"],
    }


def errors(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["severity"] == "error"]


def valid_file(tmp_path: Path) -> bytes:
    return builders.make_h5ad(tmp_path / "valid.h5ad", n_obs=30).read_bytes()


def run_all(steps: dict[str, ModuleType], cloud: Cloud, submission: dict[str, Any]) -> dict[str, Any]:
    """What the state machine does for a valid file, one format; the answers by state."""
    plan, verdict = labelled(steps, cloud, submission)
    (planned,) = plan["formats"]
    partitions = cloud.artifacts.get_json(planned["partitions_key"])
    for partition in partitions:
        event = {"submission": submission, "format": planned["format"], "partition": partition}
        assert invoke(steps["convert"], event) == {}
    event = {"submission": submission, "format": planned["format"], "partitions_key": planned["partitions_key"]}
    return {"plan": plan, "verdict": verdict, "artifact": invoke(steps["assemble"], event)}


def labelled(
    steps: dict[str, ModuleType], cloud: Cloud, submission: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Plan and Validate answer about a valid file, which is labelled then."""
    plan = invoke(steps["plan"], {"submission": submission})
    scan_all(steps, cloud, submission, plan)
    verdict = invoke(steps["validate"], {"submission": submission})
    made = invoke(steps["label"], {"submission": submission, "schema_version": verdict["schema_version"]})
    assert made["state"] == "CONVERTED"
    return plan, verdict


def scan_all(
    steps: dict[str, ModuleType], cloud: Cloud, submission: dict[str, Any], plan: dict[str, Any]
) -> list[dict[str, Any]]:
    """What the Distributed Map does; the partitions that it reads."""
    partitions = cloud.artifacts.get_json(plan["scan"]["partitions_key"])
    assert len(partitions) == plan["scan"]["partitions"]
    for partition in partitions:
        assert invoke(steps["scan"], {"submission": submission, "partition": partition}) == {}
    return partitions


def validated(steps: dict[str, ModuleType], cloud: Cloud, submission: dict[str, Any]) -> dict[str, Any]:
    """The report on a file, by way of Plan and Scan."""
    plan = invoke(steps["plan"], {"submission": submission})
    scan_all(steps, cloud, submission, plan)
    verdict = invoke(steps["validate"], {"submission": submission})
    return cloud.inbox.get_json(verdict["report_key"])


def test_a_valid_file_becomes_a_checksummed_artifact(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    done = run_all(steps, cloud, submission)
    plan, verdict, artifact = done["plan"], done["verdict"], done["artifact"]
    assert (plan["refused"], plan["n_obs"], plan["n_vars"]) == (False, 30, 10)
    assert [(f["format"], f["feasible"], f["required"], f["partitions"]) for f in plan["formats"]] == [
        ("cells", True, True, 1)
    ]
    assert (verdict["valid"], verdict["errors"]) == (True, 0)
    assert verdict["report_key"] == report_key(KEY, submission["version_id"], 1)
    assert cloud.inbox.get_json(verdict["report_key"])["valid"] is True
    assert (artifact["state"], artifact["files"], artifact["reason"]) == ("CONVERTED", 2, "")
    assert len(artifact["sha256"]) == 64
    document = cloud.artifacts.get_bytes(artifact["manifest_key"])
    assert hashlib.sha256(document).hexdigest() == artifact["sha256"]
    expression, file = json.loads(document)["files"]
    assert (expression["path"], file["path"]) == ("expression.parquet", "part-00000.parquet")
    local = tmp_path / "cells.parquet"
    root = artifact["uri"].removeprefix(f"s3://{cloud.artifacts.bucket}/")
    local.write_bytes(cloud.artifacts.get_bytes(root + file["path"]))
    assert hashlib.sha256(local.read_bytes()).hexdigest() == file["sha256"]
    with duckdb.connect() as database:
        query = "select cell_type, count(*) from read_parquet(?) group by all"
        assert database.execute(query, [str(local)]).fetchall() == [("T cell", 30)]
    assert not list((tmp_path / "tmp").iterdir()), "nothing stays in /tmp"


def test_what_was_assembled_can_be_published(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    artifact = run_all(steps, cloud, submission)["artifact"]
    # Given: the catalog as the state machine leaves it.
    run = run_of(submission["version_id"], "55AE")
    take(cloud, run)
    record_artifact(cloud, version(cloud, run.version_id), artifact["manifest_key"], artifact["sha256"])
    set_state(cloud, run, VersionState.READY)
    # When
    published = cloud.publisher.publish(DATASET, run.version_id)
    # Then: the public manifest is the one whose checksum the catalog holds, and names every public file.
    root = f"public/{published.publication_id}/cells/"
    document = cloud.public.get_bytes(root + "manifest.json")
    assert hashlib.sha256(document).hexdigest() == artifact["sha256"]
    for file in json.loads(document)["files"]:
        content = cloud.public.get_bytes(root + file["path"])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])


def test_every_step_can_run_twice_with_the_same_outcome(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    first = run_all(steps, cloud, submission)
    versions = _object_versions(cloud.artifacts)
    assert run_all(steps, cloud, submission) == first
    assert _object_versions(cloud.artifacts) == versions, "nothing was written again"


def test_a_later_run_takes_over_the_work_that_holds(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    content = valid_file(tmp_path)
    submission = submitted(cloud, content)
    first = run_all(steps, cloud, submission)
    # Given: the upload cannot even be read any more, so that nothing can be done anew.
    version_id = submission["version_id"]
    client("s3").delete_object(Bucket=INBOX, Key=KEY, VersionId=version_id)
    # When
    later = run_all(steps, cloud, submitted(cloud, content, run=2, version_id=version_id))
    # Then
    assert later["artifact"] == first["artifact"], "run 1's artifact, where run 1 has put it"
    own = cloud.artifacts.get_json(f"work/{version_id}/2/convert/cells/manifest.json")
    assert (own["run"], own["made_by_run"]) == (2, 1)
    assert later["verdict"]["report_key"] == report_key(KEY, version_id, 2), "each run reports under its own number"


def test_a_redrive_goes_on_after_the_parts_that_were_done(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    # Given: run 1 died after its only part, before Assemble.
    content = valid_file(tmp_path)
    first = submitted(cloud, content)
    plan, _ = labelled(steps, cloud, first)
    partition = cloud.artifacts.get_json(plan["formats"][0]["partitions_key"])[0]
    invoke(steps["convert"], {"submission": first, "format": "cells", "partition": partition})
    # When
    second = submitted(cloud, content, run=2, version_id=first["version_id"])
    artifact = run_all(steps, cloud, second)["artifact"]
    # Then: the part is run 1's work; the artifact is run 2's, and has all of its files in one place.
    root = f"work/{first['version_id']}/2/"
    part = cloud.artifacts.get_json(f"{root}convert/cells/parts/00000.json")
    assert (part["run"], part["made_by_run"]) == (2, 1)
    manifest = cloud.artifacts.get_json(f"{root}convert/cells/manifest.json")
    assert (manifest["run"], manifest["made_by_run"]) == (2, 2)
    files = f"{root}convert/cells/files/"
    assert {file["key"] for file in manifest["files"]} == {
        f"{files}part-00000.parquet",
        f"{files}expression.parquet",
    }
    assert artifact["uri"].endswith(files)


def test_an_artifact_of_two_runs_is_gathered_under_one_root(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: two partitions, of which run 1 has converted the first.
    monkeypatch.setattr(cells, "_PARTITION_ROWS", 512)
    content = builders.make_h5ad(tmp_path / "two.h5ad", n_obs=600).read_bytes()
    first = submitted(cloud, content)
    plan, _ = labelled(steps, cloud, first)
    partitions = cloud.artifacts.get_json(plan["formats"][0]["partitions_key"])
    invoke(steps["convert"], {"submission": first, "format": "cells", "partition": partitions[0]})
    # When
    second = submitted(cloud, content, run=2, version_id=first["version_id"])
    artifact = run_all(steps, cloud, second)["artifact"]
    # Then
    root = f"work/{first['version_id']}/2/convert/cells/files/"
    assert artifact["uri"] == f"s3://{cloud.artifacts.bucket}/{root}"
    files = json.loads(cloud.artifacts.get_bytes(artifact["manifest_key"]))["files"]
    assert len(files) == 3
    for file in files:
        assert hashlib.sha256(cloud.artifacts.get_bytes(root + file["path"])).hexdigest() == file["sha256"]


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x1f\x8b\x08\x00 gzip"], ids=["empty", "html", "gzip"]
)
def test_a_file_that_is_no_h5ad_is_refused_once_and_reported(
    cloud: Cloud, steps: dict[str, ModuleType], content: bytes
) -> None:
    submission = submitted(cloud, content)
    plan = invoke(steps["plan"], {"submission": submission})
    assert (plan["refused"], plan["n_obs"], plan["n_vars"], plan["nnz"], plan["formats"]) == (True, 0, 0, 0, [])
    assert plan["scan"] == {"partitions": 0, "partitions_key": ""}
    # Given: the upload is not there any more: Validate does not open it again.
    client("s3").delete_object(Bucket=INBOX, Key=KEY, VersionId=submission["version_id"])
    verdict = invoke(steps["validate"], {"submission": submission})
    assert (verdict["valid"], verdict["errors"]) == (False, 1)
    report = cloud.inbox.get_json(verdict["report_key"])
    assert (report["valid"], len(report["findings"])) == (False, 1)
    assert report["findings"][0]["suggestion"]
    assert report["file"]["version_id"] == submission["version_id"]


def test_a_file_that_lacks_a_column_is_invalid(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    content = builders.make_h5ad(tmp_path / "x.h5ad", drop=["donor_id"]).read_bytes()
    report = validated(steps, cloud, submitted(cloud, content))
    assert report["valid"] is False
    assert [finding["code"] for finding in errors(report)] == ["obs.donor_id.missing"]


@pytest.mark.parametrize("listed", [["7.1.0"], ["7.1.0", "2.0.0"]])
def test_a_file_is_checked_by_the_version_that_it_states_if_its_collection_lists_it(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path, listed: list[str]
) -> None:
    builders.make_anndata_2_0_0().write_h5ad(tmp_path / "old.h5ad")
    submission = submitted(cloud, (tmp_path / "old.h5ad").read_bytes()) | {"schema_versions": listed}
    report = validated(steps, cloud, submission)
    assert report["schema_version"] == listed[-1]
    assert report["valid"] is ("2.0.0" in listed)


def test_a_file_of_a_pre_analysis_collection_has_neither_cell_types_nor_embeddings(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    content = builders.make_h5ad(tmp_path / "x.h5ad", drop=["cell_type_ontology_term_id"], obsm={}).read_bytes()
    before = {"pre_analysis": True}
    assert validated(steps, cloud, submitted(cloud, content) | before)["valid"] is True
    assert validated(steps, cloud, submitted(cloud, content))["valid"] is False
    assert validated(steps, cloud, submitted(cloud, valid_file(tmp_path)) | before)["valid"] is False


def test_reads_are_pinned_to_the_version_that_was_claimed(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    client("s3").put_object(Bucket=INBOX, Key=KEY, Body=b"overwritten midway")
    assert run_all(steps, cloud, submission)["verdict"]["valid"] is True


def test_what_travels_between_the_steps_stays_small(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    done = run_all(steps, cloud, submitted(cloud, valid_file(tmp_path)))
    assert len(json.dumps(done)) < 4_000


def test_the_report_rests_on_every_value(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "x.h5ad", x="dense", layers={"scaled": np.full((20, 10), np.inf)})
    with h5py.File(path, "r+") as file:
        values: Any = file["X"]
        values[3, 4] = np.nan
    report = validated(steps, cloud, submitted(cloud, path.read_bytes()))
    found = {finding["code"]: (finding["where"], finding["count"]) for finding in errors(report)}
    assert found == {"x.not_finite": ("X", 1), "layers.not_finite": ("layers/scaled", 200)}


def test_a_damaged_chunk_is_the_submitters_and_told_with_its_place(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    content = spoilt_chunk(builders.make_h5ad(tmp_path / "x.h5ad", n_obs=300), "raw/X/data")
    report = validated(steps, cloud, submitted(cloud, content))
    (finding,) = errors(report)
    assert (finding["code"], finding["where"]) == ("file.damaged", "raw/X/data")
    assert finding["suggestion"]
    assert "matrices.damaged" in report["checked"]


def test_a_partition_is_scanned_once_also_over_two_runs(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    # Given: two matrices, of which run 1 has scanned the first.
    content = valid_file(tmp_path)
    first = submitted(cloud, content)
    plan = invoke(steps["plan"], {"submission": first})
    partitions = cloud.artifacts.get_json(plan["scan"]["partitions_key"])
    invoke(steps["scan"], {"submission": first, "partition": partitions[0]})
    before = _object_versions(cloud.artifacts)
    invoke(steps["scan"], {"submission": first, "partition": partitions[0]})
    assert _object_versions(cloud.artifacts) == before, "nothing was written again"
    # When
    second = submitted(cloud, content, run=2, version_id=first["version_id"])
    assert validated(steps, cloud, second)["valid"] is True
    # Then
    root = f"work/{first['version_id']}/2/scan/parts/"
    made_by = [cloud.artifacts.get_json(f"{root}{part['index']:05d}.json")["made_by_run"] for part in partitions]
    assert made_by == [1, 2]


def test_a_partition_that_nobody_has_scanned_is_our_fault(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    invoke(steps["plan"], {"submission": submission})
    with pytest.raises(ServiceFault, match="scan/parts/00000"):
        invoke(steps["validate"], {"submission": submission})


def test_a_file_without_a_plan_is_not_opened(cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path) -> None:
    submission = submitted(cloud, valid_file(tmp_path))
    for step, event in {
        "scan": {"partition": {"index": 0, "path": "X", "start": 0, "stop": 30}},
        "convert": {"format": "cells", "partition": {"index": 0, "start": 0, "stop": 30}},
    }.items():
        with pytest.raises(ServiceFault, match="has left no manifest"):
            invoke(steps[step], {"submission": submission, **event})


def spoilt_chunk(path: Path, dataset: str) -> bytes:
    """The file with the first stored chunk of a dataset overwritten."""
    with h5py.File(path) as file:
        found: Any = file[dataset]
        place = found.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    return bytes(content)


def _object_versions(store: ObjectStore) -> dict[str, int]:
    answer = client("s3").list_object_versions(Bucket=store.bucket)
    keys = [found["Key"] for found in answer["Versions"]]
    return {key: keys.count(key) for key in keys}
