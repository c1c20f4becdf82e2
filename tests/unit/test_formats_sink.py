"""A sink stores whole files, and only inside its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from celldock.errors import ServiceFault
from celldock.formats.protocol import FileRecord
from celldock.formats.sink import LocalSink


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def sink(tmp_path: Path) -> LocalSink:
    return LocalSink(tmp_path / "out", tmp_path)


def test_a_file_is_stored_with_its_size_and_digest(sink: LocalSink, made: Path, tmp_path: Path) -> None:
    record = sink.put("deep/er/file.bin", made)

    assert record == FileRecord("deep/er/file.bin", 7, hashlib.sha256(b"content").hexdigest())
    assert (tmp_path / "out" / "deep/er/file.bin").read_bytes() == b"content"
    assert made.exists()


def test_the_same_path_again_replaces_the_file_and_leaves_nothing_beside_it(
    sink: LocalSink, made: Path, tmp_path: Path
) -> None:
    sink.put("file.bin", made)
    made.write_bytes(b"newer")

    record = sink.put("file.bin", made)

    assert record.sha256 == hashlib.sha256(b"newer").hexdigest()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file.bin"]
    assert (tmp_path / "out" / "file.bin").read_bytes() == b"newer"


def test_files_that_were_put_become_one(sink: LocalSink, made: Path, tmp_path: Path) -> None:
    sink.put("parts/1", made)
    made.write_bytes(b"-and more")
    sink.put("parts/2", made)

    record = sink.join("whole.bin", ["parts/1", "parts/2", "parts/1"])

    content = b"content-and morecontent"
    assert record == FileRecord("whole.bin", len(content), hashlib.sha256(content).hexdigest())
    assert (tmp_path / "out" / "whole.bin").read_bytes() == content
    with pytest.raises(ServiceFault):
        sink.join("whole.bin", ["../made"])


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/etc/x", "../x", "a/../../x", "a//x", "a/", "./a", "a\\..\\x", "a\0b", "a\nb"]
)
def test_a_path_that_could_leave_the_folder_is_refused(sink: LocalSink, made: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(ServiceFault) as refusal:
        sink.put(path, made)

    assert refusal.value.code == "sink.path"
    assert not (tmp_path / "out").exists()


def test_a_link_out_of_the_folder_is_not_followed(sink: LocalSink, made: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ServiceFault):
        sink.put("link/file.bin", made)

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_copy_that_fails_leaves_the_older_file_whole(sink: LocalSink, made: Path, tmp_path: Path) -> None:
    sink.put("file.bin", made)

    with pytest.raises(FileNotFoundError):
        sink.put("file.bin", tmp_path / "missing")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file.bin"]
    assert (tmp_path / "out" / "file.bin").read_bytes() == b"content"
