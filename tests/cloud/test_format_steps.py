"""Every format on S3: a worker that dies at any write is followed by one that leaves the same artifact."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from celldock.cloud.clients import client
from celldock.cloud.objects import ObjectStore
from celldock.formats.protocol import FormatPlan, Partition
from celldock.formats.registry import FORMATS, get_format
from tests import builders
from tests.cloud.conftest import Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.test_cloud_steps import STEPS, labelled, submitted

PARTITIONS = (Partition(0, 0, 256), Partition(1, 256, 512), Partition(2, 512, 520))
WRITES = ("put_file", "put_bytes", "seal")
OF_H5AD = [name for name, each in FORMATS.items() if not each.companion]


class Killed(BaseException):
    """The worker is gone; nothing catches this."""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("formats") / "cells.h5ad"
    return builders.make_h5ad(path, n_obs=PARTITIONS[-1].stop).read_bytes()


@pytest.fixture
def steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return {name: load(name, cloud, monkeypatch) for name in STEPS}


@pytest.mark.parametrize("name", OF_H5AD)
def test_a_worker_that_dies_at_any_write_leaves_the_same_artifact(
    cloud: Cloud, steps: dict[str, ModuleType], content: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into_three(monkeypatch, name)
    undisturbed = converted(cloud, steps, content, name, lambda step, event: invoke(steps[step], event))
    deaths = {"convert": 0, "assemble": 0}

    def dying(step: str, event: dict[str, Any]) -> Any:
        allowed = 0
        while True:
            with pytest.MonkeyPatch.context() as patch:
                die_after(patch, allowed)
                try:
                    return invoke(steps[step], event)
                except Killed:
                    deaths[step] += 1
            # A store of arrays has hundreds of writes.
            allowed = 3 * allowed + 1

    assert converted(cloud, steps, content, name, dying) == undisturbed
    assert min(deaths.values()) >= 2


@pytest.mark.parametrize("name", OF_H5AD)
def test_a_partition_that_is_converted_twice_changes_no_file(
    cloud: Cloud, steps: dict[str, ModuleType], content: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into_three(monkeypatch, name)
    submission = submitted(cloud, content) | {"required_formats": [name]}
    planned = labelled(steps, cloud, submission)[0]["formats"][-1]
    event = {"submission": submission, "format": name, "partition": dataclasses.asdict(PARTITIONS[1])}
    manifest = f"work/{submission['version_id']}/1/convert/{name}/parts/00001.json"

    parts: list[Any] = []
    for _ in range(2):
        invoke(steps["convert"], event)
        parts.append(cloud.artifacts.get_json(manifest)["result"])
        # Given: the worker died before it could say that it was done.
        forget(cloud, manifest)

    assert planned["partitions"] == len(PARTITIONS)
    assert parts[0] == parts[1]


def test_damage_where_no_rule_looks_is_the_reason_of_an_artifact_that_is_skipped(
    cloud: Cloud, steps: dict[str, ModuleType], tmp_path: Path
) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=20)
    with h5py.File(path, "r+") as file:
        odd = file.create_dataset("uns/waves", data=np.arange(9973.0), chunks=(9973,), compression="gzip")
        stored = odd.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[stored.byte_offset + 100 : stored.byte_offset + 200] = bytes(100)
    submission = submitted(cloud, bytes(content)) | {"required_formats": ["zarr"]}

    planned = labelled(steps, cloud, submission)[0]["formats"][0]
    (partition,) = cloud.artifacts.get_json(planned["partitions_key"])
    invoke(steps["convert"], {"submission": submission, "format": "zarr", "partition": partition})
    event = {"submission": submission, "format": "zarr", "partitions_key": planned["partitions_key"]}
    artifact = invoke(steps["assemble"], event)

    assert artifact["state"] == "SKIPPED"
    assert artifact["reason"].startswith("uns/waves: ")


def cut_into_three(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The plan of the format has three partitions, however little there is to convert."""
    plan: Callable[..., FormatPlan] = get_format(name).plan
    monkeypatch.setattr(
        type(get_format(name)), "plan", lambda _, *args: dataclasses.replace(plan(*args), partitions=PARTITIONS)
    )


def converted(
    cloud: Cloud, steps: dict[str, ModuleType], content: bytes, name: str, call: Callable[[str, dict[str, Any]], Any]
) -> dict[str, str]:
    """The artifact's files with their SHA-256, after all of them were found where the catalog says."""
    submission = submitted(cloud, content) | {"required_formats": [name]}
    planned = next(each for each in labelled(steps, cloud, submission)[0]["formats"] if each["format"] == name)
    for partition in cloud.artifacts.get_json(planned["partitions_key"]):
        call("convert", {"submission": submission, "format": name, "partition": partition})
    event = {"submission": submission, "format": name, "partitions_key": planned["partitions_key"]}
    artifact = call("assemble", event)
    assert artifact["state"] == "CONVERTED", artifact["reason"]
    files = json.loads(cloud.artifacts.get_bytes(artifact["manifest_key"]))["files"]
    root = artifact["uri"].removeprefix(f"s3://{cloud.artifacts.bucket}/")
    assert all(cloud.artifacts.head(root + file["path"]).size == file["bytes"] for file in files)
    return {file["path"]: file["sha256"] for file in files}


def die_after(patch: pytest.MonkeyPatch, allowed: int) -> None:
    """The worker dies at its first write after that many."""
    left = [allowed]

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return write(*args, **kwargs)

        return wrapper

    for name in WRITES:
        patch.setattr(ObjectStore, name, counted(getattr(ObjectStore, name)))


def forget(cloud: Cloud, key: str) -> None:
    """Deletes an object."""
    client("s3").delete_object(Bucket=cloud.artifacts.bucket, Key=key)
