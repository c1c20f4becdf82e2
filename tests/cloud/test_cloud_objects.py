"""Objects on S3: pinned reads, verified copies, files in parts; and the work area built on them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.response import StreamingBody

from celldock.catalog.keys import PLAN, part_step
from celldock.catalog.work import code_digest, fingerprint
from celldock.cloud import objects
from celldock.cloud.objects import Place, S3ByteSource
from celldock.cloud.sink import S3Sink
from celldock.cloud.work import WorkArea
from celldock.errors import ObjectGone, ServiceFault, Throttled, TransientError
from celldock.h5ad import retry
from tests.cloud.conftest import INBOX, Cloud

KEY = "atlas/Züri +1 100%25.h5ad"


def put(cloud: Cloud, content: bytes) -> str:
    return cloud.inbox.put_bytes(KEY, content, "application/octet-stream").object_version


def test_a_source_reads_ranges_of_the_version_that_it_pins(cloud: Cloud) -> None:
    version = put(cloud, b"0123456789")
    put(cloud, b"overwritten midway")
    source = cloud.inbox.source(KEY, version, 10)
    assert (source.size, source.name) == (10, "Züri +1 100%25.h5ad")
    assert (source.read(0, 4), source.read(7, 3), source.read(10, 0)) == (b"0123", b"789", b"")


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (10, 1), (-1, 2), (0, -1)])
def test_a_range_outside_of_the_object_is_a_mistake(cloud: Cloud, offset: int, length: int) -> None:
    source = cloud.inbox.source(KEY, put(cloud, b"0123456789"), 10)
    with pytest.raises(ValueError, match="do not lie within"):
        source.read(offset, length)


def test_a_version_that_was_deleted_is_gone(cloud: Cloud) -> None:
    version = put(cloud, b"0123456789")
    cloud.inbox._client.delete_object(Bucket=INBOX, Key=KEY, VersionId=version)
    with pytest.raises(ObjectGone):
        cloud.inbox.source(KEY, version, 10).read(0, 4)


def refused(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


class Flaky:
    """S3 that first gives these answers (an error, or the bytes that come of a body), then sends its content."""

    def __init__(self, content: bytes, *first: bytes | Exception) -> None:
        self._content = content
        self._answers = list(first)

    def get_object(self, **request: Any) -> dict[str, Any]:
        answer = self._answers.pop(0) if self._answers else self._content
        if isinstance(answer, Exception):
            raise answer
        size = len(self._content)
        return {"Body": StreamingBody(io.BytesIO(answer), size), "ContentRange": f"bytes 0-{size - 1}/{size}"}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a reader waits between its attempts; nobody does."""
    seconds: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"01", id="a body that breaks off"),
        pytest.param(refused("SlowDown", 503), id="too many requests"),
        pytest.param(refused("InternalError", 500), id="a fault of S3"),
        pytest.param(EndpointConnectionError(endpoint_url="https://s3"), id="no connection"),
    ],
)
def test_what_passes_is_tried_again_after_a_growing_wait(waits: list[float], answer: bytes | Exception) -> None:
    assert S3ByteSource(Flaky(b"0123", answer, answer), Place("b", "k", "v"), 4).read(0, 4) == b"0123"
    assert 0.1 <= waits[0] <= 0.2 <= waits[1] <= 0.4


def test_waits_differ_so_that_workers_do_not_come_back_together(waits: list[float]) -> None:
    for _ in range(20):
        S3ByteSource(Flaky(b"0123", refused("SlowDown", 503)), Place("b", "k", "v"), 4).read(0, 4)
    assert len(set(waits)) > 10


@pytest.mark.parametrize(("answer", "error"), [(b"01", TransientError), (refused("SlowDown", 503), Throttled)])
def test_what_does_not_pass_is_an_error_that_the_workflow_repeats(
    waits: list[float], answer: bytes | Exception, error: type[Exception]
) -> None:
    with pytest.raises(error):
        S3ByteSource(Flaky(b"0123", *[answer] * 9), Place("b", "k", "v"), 4).read(0, 4)
    assert len(waits) == 2


@pytest.mark.parametrize("size", [9, 11, 1000])
def test_an_object_of_another_size_was_changed(cloud: Cloud, size: int, waits: list[float]) -> None:
    source = cloud.inbox.source(KEY, put(cloud, b"0123456789"), size)
    with pytest.raises(ObjectGone) as changed:
        source.read(size - 2, 2)
    assert (changed.value.code, changed.value.where) == ("source.changed", "Züri +1 100%25.h5ad")
    assert waits == []


def test_a_big_file_goes_up_in_parts_and_comes_back_whole(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MULTIPART_BYTES", 5 * 1024 * 1024)
    content = bytes(range(256)) * 45_000
    file = tmp_path / "big"
    file.write_bytes(content)
    stored = cloud.artifacts.put_file("big", file)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.bytes == len(content)
    assert cloud.artifacts.get_bytes("big", stored.object_version) == content
    assert cloud.artifacts.head("big").etag.endswith("-3"), "three parts"


def test_a_copy_is_checked_against_the_recorded_bytes(cloud: Cloud) -> None:
    stored = cloud.artifacts.put_bytes("a", b"bytes", "text/plain")
    with pytest.raises(ServiceFault):
        cloud.public.copy_from(cloud.artifacts, stored.model_copy(update={"sha256": "0" * 64}), "b", "text/plain")


def test_a_sink_puts_files_below_its_folder(cloud: Cloud, tmp_path: Path) -> None:
    sink = S3Sink(cloud.artifacts, "work/v1/1/convert/cells/files/", tmp_path)
    local = tmp_path / "x"
    local.write_bytes(b"cells")
    record = sink.put("part-00000.parquet", local)
    assert (record.path, record.bytes, record.sha256) == (
        "part-00000.parquet",
        5,
        hashlib.sha256(b"cells").hexdigest(),
    )
    assert cloud.keys(cloud.artifacts) == ["work/v1/1/convert/cells/files/part-00000.parquet"]
    with pytest.raises(ServiceFault):
        sink.put("../../../2/x", local)


def finished(cloud: Cloud, run: int, mark: str = "same") -> WorkArea:
    work = WorkArea(cloud.artifacts, "v1", run)
    stored = cloud.artifacts.put_bytes(work.key("plan/plan.json"), b"{}", "application/json")
    work.finish(PLAN, mark, {"cells": run}, [stored])
    return work


def test_a_step_is_not_done_before_its_manifest_is_there(cloud: Cloud) -> None:
    work = WorkArea(cloud.artifacts, "v1", 1)
    cloud.artifacts.put_bytes(work.key("plan/plan.json"), b"{}", "application/json")
    assert work.find(PLAN, "same") is None
    with pytest.raises(ServiceFault):
        work.load(PLAN)


def test_a_later_run_takes_over_equal_work_and_says_where_it_lies(cloud: Cloud) -> None:
    finished(cloud, 1)
    later = WorkArea(cloud.artifacts, "v1", 3)
    manifest = later.find(PLAN, "same")
    assert manifest is not None
    assert (manifest.run, manifest.made_by_run, manifest.result) == (3, 1, {"cells": 1})
    assert later.load(PLAN).file("plan.json").key == "work/v1/1/plan/plan.json"


@pytest.mark.parametrize(("run", "mark"), [(2, "other code"), (1, "other code")])
def test_work_of_other_code_is_not_taken_over(cloud: Cloud, run: int, mark: str) -> None:
    finished(cloud, 1)
    assert WorkArea(cloud.artifacts, "v1", run).find(PLAN, mark) is None


def test_an_older_run_does_not_see_a_newer_ones_work(cloud: Cloud) -> None:
    finished(cloud, 2)
    assert WorkArea(cloud.artifacts, "v1", 1).find(PLAN, "same") is None


def test_a_manifest_whose_files_have_expired_does_not_hold(cloud: Cloud) -> None:
    finished(cloud, 1)
    s3 = cloud.artifacts._client
    key = "work/v1/1/plan/plan.json"
    s3.delete_object(Bucket=cloud.artifacts.bucket, Key=key, VersionId=cloud.artifacts.head(key).object_version)
    assert WorkArea(cloud.artifacts, "v1", 2).find(PLAN, "same") is None


def test_a_manifest_of_another_shape_does_not_hold(cloud: Cloud) -> None:
    finished(cloud, 1)
    cloud.artifacts.put_json("work/v1/1/plan/manifest.json", {"manifest_version": 99})
    assert WorkArea(cloud.artifacts, "v1", 2).find(PLAN, "same") is None


def test_a_late_writer_of_an_older_run_does_not_touch_the_newer_ones_files(cloud: Cloud) -> None:
    finished(cloud, 1)
    later = WorkArea(cloud.artifacts, "v1", 2)
    manifest = later.find(PLAN, "same")
    assert manifest is not None
    cloud.artifacts.put_bytes("work/v1/1/plan/plan.json", b'{"late": true}', "application/json")
    stored = later.load(PLAN).file("plan.json")
    assert cloud.artifacts.get_bytes(stored.key, stored.object_version) == b"{}"


def test_a_fingerprint_changes_with_step_parameters_and_version() -> None:
    base = fingerprint("plan", "v1", {"formats": ["cells"]})
    assert base == fingerprint("plan", "v1", {"formats": ["cells"]})
    others = {
        fingerprint("validate", "v1", {"formats": ["cells"]}),
        fingerprint("plan", "v2", {"formats": ["cells"]}),
        fingerprint("plan", "v1", {"formats": []}),
    }
    assert base not in others
    assert len(others) == 3
    assert len(code_digest()) == 64


def test_parts_have_manifests_of_their_own() -> None:
    assert part_step("cells", 7).manifest == "convert/cells/parts/00007.json"
