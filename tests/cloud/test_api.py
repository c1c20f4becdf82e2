"""The API: what clients may ask, byte-exact names, and an error for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from celldock.catalog.records import Failure
from celldock.catalog.states import VersionState
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import invoke, load
from tests.cloud.submissions import DATASET, published_version, ready, run_of, take

SAMPLE = json.loads((Path(__file__).parents[2] / "events" / "api-get-dataset.json").read_text())


@pytest.fixture
def api(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("api", cloud, monkeypatch)


def call(api: ModuleType, method: str, path: str, query: str = "", body: Any = None) -> tuple[int, Any]:
    """Status and document of one call through the function URL."""
    http = {**SAMPLE["requestContext"]["http"], "method": method, "path": path}
    event = {
        **SAMPLE,
        "rawPath": path,
        "rawQueryString": query,
        "requestContext": {**SAMPLE["requestContext"], "http": http},
        "body": body if isinstance(body, str | None) else json.dumps(body),
    }
    answer = invoke(api, event)
    return answer["statusCode"], json.loads(answer["body"])


def test_status_gives_dataset_version_and_artifacts(cloud: Cloud, api: ModuleType) -> None:
    ready(cloud, "v1", "01")
    status, document = call(api, "GET", "/datasets", urlencode({"id": DATASET}))
    assert status == 200
    assert document["dataset"]["latest_version"] == "v1"
    assert (document["version"]["state"], document["version"]["version_id"]) == ("READY", "v1")
    assert [(found["format"], found["state"]) for found in document["artifacts"]] == [("cells", "CONVERTED")]


@pytest.mark.parametrize(("policy", "publishing"), [("auto", True), ("hold", False)])
def test_status_says_whether_a_version_is_about_to_go_public(
    cloud: Cloud, api: ModuleType, policy: str, publishing: bool
) -> None:
    call(api, "PUT", "/collections", "", {"collection": "atlas", "publish_policy": policy})
    ready(cloud, "v1", "01")
    assert call(api, "GET", "/datasets", urlencode({"id": DATASET}))[1]["publishing"] is False, "nobody asked for it"

    cloud.table.write(cloud.table.update(f"DATASET#{DATASET}", "VERSION#v1").set(publish_requested=True))
    assert call(api, "GET", "/datasets", urlencode({"id": DATASET}))[1]["publishing"] is publishing

    ready(cloud, "v2", "02")
    older = urlencode({"id": DATASET, "version": "v1"})
    assert call(api, "GET", "/datasets", older)[1]["publishing"] is False, "it is not the latest any more"


def test_status_of_a_version_that_nobody_has_claimed_yet(cloud: Cloud, api: ModuleType) -> None:
    for version, sequencer in (("v2", "55AF"), ("v1", "55AE")):
        cloud.table.receive(run_of(version, sequencer), DATASET, 4, "e")
    status, document = call(api, "GET", "/datasets", urlencode({"id": DATASET}))
    assert (status, document["dataset"], document["version"]["version_id"]) == (200, None, "v2")
    status, document = call(api, "GET", "/datasets", urlencode({"id": DATASET, "version": "v1"}))
    assert document["version"]["state"] == "RECEIVED"


@pytest.mark.parametrize("name", ["a b+c", "100%25", "Zu\u0308ri", "Z\u00fcri", "a&id=b", "a,b", "<x>"])
@pytest.mark.parametrize("encode", [quote, lambda text: urlencode({"": text})[1:]])
def test_names_arrive_byte_exact(cloud: Cloud, api: ModuleType, name: str, encode: Any) -> None:
    run = run_of("v1", "01").model_copy(update={"key": f"atlas/{name}.h5ad"})
    cloud.table.receive(run, f"atlas/{name}", 4, "e")
    status, document = call(api, "GET", "/datasets", f"id={encode(f'atlas/{name}')}")
    assert (status, document["version"]["key"]) == (200, f"atlas/{name}.h5ad")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("id=atlas%2Fother", 404, "version.unknown"),
        ("id=atlas%2Flung&version=v9", 404, "version.unknown"),
        ("", 400, "request.invalid"),
        ("id=", 400, "request.invalid"),
        ("id=lung", 400, "request.id"),
        ("id=..%2F..", 400, "request.id"),
        ("id=atlas%2Flung&id=b", 400, "request.invalid"),
        ("id=atlas%2Flung&more=1", 400, "request.invalid"),
        ("id=%FF", 400, "request.invalid"),
        ("&".join(f"x{n}=1" for n in range(50)), 400, "request.invalid"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_so(
    cloud: Cloud, api: ModuleType, query: str, status: int, code: str
) -> None:
    take(cloud, run_of("v1", "01"))
    found, document = call(api, "GET", "/datasets", query)
    assert (found, document["error"]["code"]) == (status, code)
    assert document["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/publish", None),
        ("POST", "/publish", "{"),
        ("POST", "/redrive", []),
        ("POST", "/publish", {"id": 5}),
        ("PUT", "/collections", {"collection": "Not Allowed"}),
        ("PUT", "/collections", {"collection": "atlas", "publish_policy": "always"}),
        ("PUT", "/collections", {"collection": "atlas", "required_formats": ["../x"]}),
        ("PUT", "/collections", {"collection": "atlas", "revision": 1}),
    ],
)
def test_a_body_that_makes_no_sense_is_told_so(api: ModuleType, method: str, path: str, body: Any) -> None:
    status, document = call(api, method, path, body=body)
    assert (status, document["error"]["code"]) == (400, "request.invalid")


def test_an_unknown_call_is_not_found(api: ModuleType) -> None:
    status, document = call(api, "DELETE", "/datasets")
    assert (status, document["error"]["code"]) == (404, "request.route")


def test_the_report_comes_with_a_link_to_it(cloud: Cloud, api: ModuleType) -> None:
    take(cloud, run_of("v1", "01"))
    query = urlencode({"id": DATASET})
    assert call(api, "GET", "/report", query)[1]["error"]["code"] == "report.none"
    version = cloud.table.version(DATASET, "v1")
    assert version is not None
    key = "_reports/atlas/lung.h5ad/v1/1/report.json"
    cloud.inbox.put_json(key, {"valid": True})
    cloud.table.write(cloud.table.update(version.pk, version.sk).set(report=key))
    status, document = call(api, "GET", "/report", query)
    assert (status, document["report"]) == (200, {"valid": True})
    assert key in document["url"]
    assert INBOX in document["url"]


def test_publish_on_request(cloud: Cloud, api: ModuleType) -> None:
    take(cloud, run_of("v0", "00"))
    status, document = call(api, "POST", "/publish", body={"id": DATASET})
    assert (status, document["error"]["code"]) == (409, "publish.not_ready")
    ready(cloud, "v1", "01")
    status, document = call(api, "POST", "/publish", body={"id": DATASET, "version": "v1"})
    assert (status, document["dataset"], document["version_id"]) == (200, DATASET, "v1")
    assert published_version(cloud) == "v1"


def test_redrive_starts_the_next_run_of_a_failed_version_and_changes_nothing_itself(
    cloud: Cloud, api: ModuleType
) -> None:
    take(cloud, run_of("v1", "01"))
    assert call(api, "POST", "/redrive", body={"id": DATASET})[1]["error"]["code"] == "redrive.not_failed"
    cloud.table.fail(DATASET, "v1", 1, Failure(step="Plan", error="Boom"))
    before = cloud.table.version(DATASET, "v1")
    for _ in range(2):
        status, document = call(api, "POST", "/redrive", body={"id": DATASET})
        assert (status, document["run"]) == (200, 2)
    assert cloud.running() == [run_of("v1", "01", run=2).execution_name]
    assert cloud.table.version(DATASET, "v1") == before


def test_a_version_that_a_newer_one_has_overtaken_is_not_redriven(cloud: Cloud, api: ModuleType) -> None:
    take(cloud, run_of("v1", "01"))
    cloud.table.fail(DATASET, "v1", 1, Failure(step="Plan", error="Boom"))
    take(cloud, run_of("v2", "02"))
    status, document = call(api, "POST", "/redrive", body={"id": DATASET, "version": "v1"})
    assert (status, document["error"]["code"]) == (409, "redrive.superseded")
    assert cloud.running() == []


def test_a_collection_keeps_what_is_not_mentioned(cloud: Cloud, api: ModuleType) -> None:
    status, document = call(api, "PUT", "/collections", body={"collection": "atlas", "title": "Atlas"})
    assert (status, document["publish_policy"], document["revision"]) == (200, "hold", 1)
    status, document = call(api, "PUT", "/collections", body={"collection": "atlas", "publish_policy": "auto"})
    assert (document["title"], document["publish_policy"], document["revision"]) == ("Atlas", "auto", 2)


def test_our_own_fault_tells_strangers_only_its_code(
    cloud: Cloud, api: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(cloud, "v1", "01", sha256="0" * 64)
    status, document = call(api, "POST", "/publish", body={"id": DATASET})
    assert (status, document["error"]["code"]) == (500, "publish.checksum")
    assert document["error"]["message"] == "celldock has failed."
    version = cloud.table.version(DATASET, "v1")
    assert version is not None
    assert version.state == VersionState.READY
