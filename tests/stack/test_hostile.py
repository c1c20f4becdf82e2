"""Hostile and broken files through the whole stack: each is told what is wrong with it, and nothing leaks into another.

The files are dropped many at once, while canaries lie where a crafted file might reach: in the environment and the
/tmp of every function that handles data, and in another collection's file.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from celldock.catalog.states import TERMINAL_STATES
from celldock.formats.registry import FORMATS
from tests import builders
from tests.dock import Dock, Drop, wait_for
from tests.hostile import CASES, Case
from tests.hostile.elsewhere import ABSOLUTE_FILE, CANARY_FILE

pytestmark = pytest.mark.timeout(1800)


def _sampled(cases: Iterable[Case]) -> list[Any]:
    """The cases' names, all but the first of every third outcome marked as long."""
    told: dict[tuple[str, frozenset[str]], int] = {}
    names: list[Any] = []
    for case in cases:
        outcome = case.stage, frozenset(case.codes)
        is_sample = outcome not in told and len(told) % 3 == 0
        told.setdefault(outcome, len(told))
        names.append(case.name if is_sample else pytest.param(case.name, marks=pytest.mark.long))
    return names


ENVIRONMENT = "canary-in-the-environment"
SCRATCH = "canary-in-the-scratch-folder"
OTHER = "canary-in-another-collection"
READERS = ("PlanFunction", "ScanFunction", "ValidateFunction", "LabelFunction", "ConvertFunction", "AssembleFunction")
PATIENCE_SECONDS = 300.0
IN_FLIGHT = 4
"""Files at once: more would only wait for this machine's processors, and their steps time out."""


@dataclass(frozen=True)
class Dropped:
    """The hostile files by the names of their cases, and the other collection's file that they must not reach."""

    hostile: dict[str, Drop]
    other: Drop


@pytest.fixture(scope="module")
def dropped(dock: Dock, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dropped]:
    folder = tmp_path_factory.mktemp("hostile")
    parameters: list[Any] = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {each.params.get("name") for each in parameters if each}
    cases = [case for case in CASES.values() if case.name in wanted]
    for case in cases:
        case.build(folder / f"{case.name}.h5ad")
    other = builders.make_h5ad(folder / "other.h5ad", uns={"title": OTHER}, obs={"secret": OTHER})
    # What is lawful goes through every converter.
    dock.api.put_collection("hostile", required_formats=[name for name, each in FORMATS.items() if not each.companion])
    with ExitStack() as planted:
        _plant(dock, planted, _canary_file(folder / "canary.h5ad"))
        secret = dock.drop(other, "other/secret.h5ad")
        drops: dict[str, Drop] = {}
        under_way = [secret]
        for case in cases:
            drops[case.name] = dock.drop(folder / f"{case.name}.h5ad", f"hostile/{case.name}.h5ad")
            under_way.append(drops[case.name])
            _wait_until_at_most(dock, under_way, IN_FLIGHT - 1)
        _wait_until_at_most(dock, under_way, 0)
        yield Dropped(drops, secret)


def _plant(dock: Dock, planted: ExitStack, canary: bytes) -> None:
    """Puts canaries into the environment and, before each invocation, into the /tmp of whoever handles data."""
    files = {CANARY_FILE: SCRATCH.encode() * 100, ABSOLUTE_FILE: canary}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    before = (
        "import base64, pathlib; "
        f"[pathlib.Path(name).write_bytes(base64.b64decode(content)) for name, content in {encoded!r}.items()]"
    )
    for reader in READERS:
        variables = dock.functions.get_function_configuration(FunctionName=dock.function(reader))["Environment"]
        environment = {"Variables": {**variables["Variables"], "CELLDOCK_CANARY": ENVIRONMENT * 100}}
        planted.enter_context(dock.changed(reader, Environment=environment))
        planted.enter_context(dock.wrapped(reader, before))


def _canary_file(path: Path) -> bytes:
    """An HDF5 file whose elements, wherever a link into it may point, hold the canary's bytes."""
    with h5py.File(path, "w") as file:
        text = SCRATCH.encode() * 10
        file["obsm/X_umap"] = np.frombuffer(text[:160], "f4").reshape(20, 2)
        file["X"] = np.frombuffer(text[:200], "u1").reshape(20, 10)
    return path.read_bytes()


def _wait_until_at_most(dock: Dock, under_way: list[Drop], count: int) -> None:
    """Waits for files to end, in whatever order they do, and takes those out that have."""

    def few() -> bool:
        under_way[:] = [drop for drop in under_way if not _ended(dock, drop)]
        return len(under_way) <= count

    if len(under_way) > count:
        wait_for(few, f"the ends of {[drop.key for drop in under_way]}", PATIENCE_SECONDS)


def _ended(dock: Dock, drop: Drop) -> bool:
    version = dock.version(drop)
    return version is not None and version["state"] in TERMINAL_STATES


@pytest.mark.parametrize("name", _sampled(case for case in CASES.values() if case.codes))
def test_a_hostile_file_is_invalid_with_a_reason_and_a_hint(dock: Dock, dropped: Dropped, name: str) -> None:
    case, drop = CASES[name], dropped.hostile[name]
    version = dock.finished(drop)
    assert version["state"] == "INVALID", version.get("failure")
    findings = [finding for finding in dock.report(drop)["findings"] if finding["code"] in case.codes]

    assert findings, f"its submitter was told {dock.codes(drop)}"
    assert all(finding["message"] and finding["suggestion"] for finding in findings)
    assert case.stage == "rules" or dock.codes(drop) <= case.codes
    assert dock.execution_status(drop) == "SUCCEEDED", "a rejected file is a correct outcome"
    assert dock.answer(drop)["artifacts"] == []
    assert version["report"], "the report's place is on the record"
    assert dock.read_json(dock.inbox, version["report"])["valid"] is False


@pytest.mark.parametrize("name", _sampled(case for case in CASES.values() if case.stage == "processed"))
def test_an_odd_but_lawful_file_is_processed(dock: Dock, dropped: Dropped, name: str) -> None:
    drop = dropped.hostile[name]
    version = dock.finished(drop)
    assert version["state"] != "FAILED", version["failure"]
    assert version["state"] == "READY", dock.codes(drop)
    assert {artifact["state"] for artifact in dock.answer(drop)["artifacts"]} <= {"CONVERTED", "SKIPPED"}


def test_no_canary_is_in_any_object_of_another_submission(dock: Dock, dropped: Dropped) -> None:
    searched = 0
    for bucket in (dock.inbox, dock.artifacts, dock.public):
        for key in dock.keys(bucket):
            body = dock.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            if key == dropped.other.key:
                assert _canaries(body) == [OTHER], "a canary that is there is found"
            elif dropped.other.version_id not in key:
                assert not _canaries(body), f"{bucket}/{key}"
            searched += 1
    assert searched > 2 * len(dropped.hostile)


def test_no_canary_is_in_the_catalog(dock: Dock, dropped: Dropped) -> None:
    pages = dock.stack.client("dynamodb").get_paginator("scan").paginate(TableName=dock.outputs["Table"])
    items = [item for page in pages for item in page["Items"]]
    assert len(items) > len(dropped.hostile)
    assert not _canaries(json.dumps(items, default=str).encode())


def test_no_canary_is_in_an_execution(dock: Dock, dropped: Dropped) -> None:
    for drop in dropped.hostile.values():
        answer = dock.sfn.describe_execution(executionArn=dock.execution(drop))
        assert not _canaries(json.dumps(answer, default=str).encode()), drop.key


def test_no_canary_is_in_a_log(dock: Dock, dropped: Dropped) -> None:
    lines = list(_log_lines(dock))
    assert len(lines) > len(dropped.hostile)
    assert not [line for line in lines if _canaries(line.encode())]


def _canaries(body: bytes) -> list[str]:
    """The canaries in an object, also where it is deflated."""
    texts = [body]
    with suppress(zlib.error):
        texts.append(zlib.decompress(body, wbits=zlib.MAX_WBITS | 32))
    return [canary for canary in (ENVIRONMENT, SCRATCH, OTHER) if any(canary.encode() in text for text in texts)]


def _log_lines(dock: Dock) -> Iterator[str]:
    logs: Any = dock.stack.client("logs")
    for groups in logs.get_paginator("describe_log_groups").paginate():
        for group in groups["logGroups"]:
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in page["events"])


def test_all_missing_columns_are_told_in_one_round(dock: Dock, tmp_path: Path) -> None:
    file = builders.make_h5ad(tmp_path / "missing.h5ad", drop=["sex_ontology_term_id", "donor_id"])
    drop = dock.drop(file, "bad/missing.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert {"obs.sex_ontology_term_id.missing", "obs.donor_id.missing"} <= dock.codes(drop)


def test_names_from_a_file_are_escaped_in_its_report(dock: Dock, tmp_path: Path) -> None:
    with h5py.File(builders.make_h5ad(tmp_path / "odd.h5ad", drop=["sex_ontology_term_id"]), "r+") as file:
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "Sex_<script>alert(1)<script>"]
        file["obs"]["Sex_<script>alert(1)<script>"] = file["obs/is_primary_data"][...]
    drop = dock.drop(tmp_path / "odd.h5ad", "bad/odd.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    raw = dock.s3.get_object(Bucket=dock.inbox, Key=(dock.version(drop) or {})["report"])["Body"].read()
    assert b"<script>" not in raw
