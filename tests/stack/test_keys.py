"""Whatever lands in the inbox is answered or, where that is right, ignored; keys arrive byte-exact."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_h5ad
from tests.dock import Dock, wait_for

LONG_NAME = "n" * (1024 - len("keys/") - len(".h5ad"))
ODD_NAMES = {
    "plus": "a+b",
    "space": "a b",
    "percent": "a%25b%2F",
    "nfc": unicodedata.normalize("NFC", "Zürich"),
    "nfd": unicodedata.normalize("NFD", "Zürich"),
    "html": "<script>alert(1)<",
    "quote": 'it\'s "x"',
    "longest": LONG_NAME,
}
SAMPLES = ("plus", "nfd", "html", "longest")
REJECTED = {
    "upper-case": "keys/x.H5AD",
    "gzip": "keys/x.h5ad.gz",
    "rds": "keys/x.rds",
    "exe": "keys/x.h5ad.exe",
    "no-collection": "x.h5ad",
    "too-deep": "keys/deep/x.h5ad",
    "dot-dot": "../x.h5ad",
    "leading-slash": "/keys/x.h5ad",
    "double-slash": "keys//x.h5ad",
    "newline": "keys/a\nb.h5ad",
    "collection": "Bad Collection!/x.h5ad",
    "no-name": "keys/.h5ad",
}
IGNORED = {"folder": "keys/folder/", "our-own": "_reports/keys/x.h5ad/v/1/report.json"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid file that takes no time: here only names matter."""
    return make_h5ad(tmp_path_factory.mktemp("keys") / "small.h5ad")


@pytest.mark.parametrize(
    "kind", [kind if kind in SAMPLES else pytest.param(kind, marks=pytest.mark.long) for kind in ODD_NAMES]
)
def test_an_odd_but_lawful_name_arrives_byte_exact(dock: Dock, small: Path, kind: str) -> None:
    drop = dock.drop(small, f"keys/{ODD_NAMES[kind]}.h5ad")
    version = dock.finished(drop)
    assert version["state"] == "READY"
    assert version["key"] == drop.key
    assert dock.answer(drop)["dataset"]["name"] == ODD_NAMES[kind]


@pytest.mark.parametrize("kind", REJECTED)
def test_a_key_that_does_not_fit_gets_a_rejection_report(dock: Dock, small: Path, kind: str) -> None:
    drop = dock.drop(small, REJECTED[kind])
    report = wait_for(lambda: _rejection(dock, drop.key), f"the rejection of {drop.key!r}")
    assert report["valid"] is False
    (finding,) = report["findings"]
    assert finding["code"].startswith("key.")
    assert finding["message"]
    assert finding["suggestion"]
    assert dock.executions_of(drop) == []


def test_our_own_outputs_and_folders_are_ignored(dock: Dock, small: Path) -> None:
    drops = [dock.drop(b"", key) for key in IGNORED.values()]
    sentinel = dock.drop(small, "keys/after-the-ignored.h5ad")
    dock.finished(sentinel)
    time.sleep(1)
    for drop in drops:
        assert dock.executions_of(drop) == []
        assert _rejection(dock, drop.key) is None
    assert dock.read_json(dock.inbox, (dock.version(sentinel) or {})["report"])["valid"] is True


def _rejection(dock: Dock, key: str) -> dict[str, Any] | None:
    """The report of the refused key, found as a person would: among the rejections."""
    for name in dock.keys(dock.inbox, "_reports/"):
        if "~" in name:
            report = dock.read_json(dock.inbox, name)
            if report["file"].get("key") == key:
                return report
    return None
