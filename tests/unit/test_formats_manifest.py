"""The manifest stands for an artifact: the same files give the same checksum, and any change gives another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.formats.manifest import Manifest, make_manifest
from celldock.formats.protocol import FileRecord, FormatPlan, Omission, Part, Partition

PLAN = FormatPlan("cells", "1", True, "", (Partition(0, 0, 10),), (Omission("obs/odd", "no type"),))
FIRST = FileRecord("a/1", 3, "aa")
SECOND = FileRecord("a/2", 4, "bb")


def test_the_document_names_format_versions_files_and_omissions() -> None:
    manifest = make_manifest(PLAN, [SECOND, FIRST])

    assert json.loads(manifest.to_bytes()) == {
        "manifest_version": 1,
        "format": "cells",
        "version": "1",
        "celldock": __version__,
        "files": [{"path": "a/1", "bytes": 3, "sha256": "aa"}, {"path": "a/2", "bytes": 4, "sha256": "bb"}],
        "omitted": [{"where": "obs/odd", "reason": "no type"}],
    }
    assert manifest.bytes == 7
    assert manifest.sha256 == hashlib.sha256(manifest.to_bytes()).hexdigest()


def test_the_order_in_which_files_arrive_does_not_change_the_checksum() -> None:
    assert make_manifest(PLAN, [SECOND, FIRST]).sha256 == make_manifest(PLAN, [FIRST, SECOND]).sha256


@pytest.mark.parametrize("changed", [replace(FIRST, path="a/0"), replace(FIRST, bytes=9), replace(FIRST, sha256="cc")])
def test_any_change_of_a_file_changes_the_checksum(changed: FileRecord) -> None:
    assert make_manifest(PLAN, [changed, SECOND]).sha256 != make_manifest(PLAN, [FIRST, SECOND]).sha256


def test_a_manifest_comes_back_from_its_bytes() -> None:
    manifest = make_manifest(PLAN, [FIRST, SECOND])

    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_a_document_of_another_version_is_refused() -> None:
    document = json.loads(make_manifest(PLAN, [FIRST]).to_bytes()) | {"manifest_version": 2}

    with pytest.raises(ServiceFault) as refusal:
        Manifest.from_bytes(canonical_json(document))

    assert refusal.value.code == "manifest.version"


def test_one_path_twice_is_refused() -> None:
    with pytest.raises(ServiceFault):
        make_manifest(PLAN, [FIRST, replace(SECOND, path=FIRST.path)])


def test_canonical_json_is_one_sequence_of_bytes_for_one_document() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == b'{"a":null,"b":[1,"\\u00e9"]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_a_part_comes_back_from_json() -> None:
    part = Part(Partition(3, 768, 1024), (FIRST, SECOND))

    assert Part.from_json(json.loads(json.dumps(part.to_json()))) == part
