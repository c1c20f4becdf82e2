"""The step Label: the labelled file and its proof, in the work area, made once, by the functions themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata
import h5py
import numpy as np
import pytest

from celldock.catalog.keys import artifact_files
from celldock.catalog.states import VersionState
from celldock.cloud.steps import labelling
from celldock.cloud.steps.subjects import FILE
from celldock.h5ad.damage import damaged
from tests.builders import make_h5ad
from tests.cloud.conftest import ARTIFACTS, Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.submissions import DATASET, record_artifact, run_of, set_state, take, version
from tests.cloud.test_cloud_steps import submitted

VERSION = "7.1.0"


type Steps = dict[str, ModuleType]


@pytest.fixture
def steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return {name: load(name, cloud, monkeypatch) for name in ("plan", "label")}


def labelled(steps: Steps, submission: dict[str, Any], version: str = VERSION) -> dict[str, Any]:
    """The artifact, by way of Plan."""
    invoke(steps["plan"], {"submission": submission})
    return invoke(steps["label"], {"submission": submission, "schema_version": version})


def file_of(cloud: Cloud, artifact: dict[str, Any], name: str) -> bytes:
    return cloud.artifacts.get_bytes(artifact["uri"].removeprefix(f"s3://{ARTIFACTS}/") + name)


def test_a_labelled_file_is_the_artifact_h5ad(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    content = make_h5ad(tmp_path / "cells.h5ad").read_bytes()
    submission = submitted(cloud, content)

    artifact = labelled(steps, submission)

    assert (artifact["format"], artifact["state"], artifact["files"]) == ("h5ad", "CONVERTED", 2)
    assert artifact["uri"].endswith(artifact_files("h5ad"))
    made = file_of(cloud, artifact, FILE)
    proof = json.loads(file_of(cloud, artifact, labelling.PROOF))
    manifest = cloud.artifacts.get_json(artifact["manifest_key"])
    assert {each["path"]: (each["bytes"], each["sha256"]) for each in manifest["files"]}[FILE] == (
        len(made),
        hashlib.sha256(made).hexdigest(),
    )
    (tmp_path / "made.h5ad").write_bytes(made)
    data = anndata.read_h5ad(tmp_path / "made.h5ad")
    assert set(data.obs["cell_type"]) == {"T cell"}
    assert data.uns["schema_version"] == VERSION
    assert proof["repacking"] is None
    assert proof["additivity"]["appended_bytes"] == len(made) - len(content)
    assert cloud.inbox.get_bytes(submission["key"], submission["version_id"]) == content


def test_it_is_made_once_for_each_schema_version(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    submission = submitted(cloud, make_h5ad(tmp_path / "cells.h5ad").read_bytes())
    first = labelled(steps, submission)
    second = labelled(steps, {**submission, "run": 2})
    assert second == first


def test_a_file_that_holds_what_was_deleted_is_written_anew(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        anndata.io.write_elem(file["obs"], "patient", np.array(["Zacharias"] * 20, object))
        del file["obs/patient"]

    artifact = labelled(steps, submitted(cloud, path.read_bytes()))

    assert b"Zacharias" not in file_of(cloud, artifact, FILE)
    assert "belong to nothing" in json.loads(file_of(cloud, artifact, labelling.PROOF))["repacking"]["reason"]


def test_a_file_whose_bytes_contradict_each_other_is_skipped_with_the_reason(
    cloud: Cloud, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise damaged("obs", "two of its columns share their bytes")

    monkeypatch.setattr("celldock.labelling.account", broken)
    artifact = labelled(steps, submitted(cloud, make_h5ad(tmp_path / "cells.h5ad").read_bytes()))
    assert artifact["state"] == "SKIPPED"
    assert "share their bytes" in artifact["reason"]


def test_a_file_that_could_not_be_published_is_skipped(
    cloud: Cloud, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "MAX_COPY_BYTES", 1000)
    artifact = labelled(steps, submitted(cloud, make_h5ad(tmp_path / "cells.h5ad").read_bytes()))
    assert (artifact["state"], artifact["uri"], artifact["files"]) == ("SKIPPED", "", 0)
    assert "more than the 1,000" in artifact["reason"]


def test_what_was_labelled_can_be_published_as_it_is_recorded(cloud: Cloud, steps: Steps, tmp_path: Path) -> None:
    submission = submitted(cloud, make_h5ad(tmp_path / "cells.h5ad").read_bytes())
    artifact = labelled(steps, submission)
    run = run_of(submission["version_id"], "55AE")
    take(cloud, run)
    record_artifact(cloud, version(cloud, run.version_id), artifact["manifest_key"], artifact["sha256"])
    set_state(cloud, run, VersionState.READY)
    published = cloud.publisher.publish(DATASET, run.version_id)
    root = f"public/{published.publication_id}/cells/"
    assert json.loads(cloud.public.get_bytes(root + labelling.PROOF))["additivity"]["added"]
