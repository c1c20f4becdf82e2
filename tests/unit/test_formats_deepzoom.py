"""A Deep Zoom pyramid is whole by its own description, and its tiles are the image as Pillow decodes and shrinks it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from celldock.errors import TransientError
from celldock.formats.deepzoom import count_tiles, write_pyramid
from celldock.formats.protocol import FileRecord
from celldock.formats.sink import LocalSink
from tests.images import NAMESPACE, make_image

SIZES = [(1, 1), (3, 5), (254, 254), (255, 509), (256, 1), (601, 300)]


def cut(image: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (image[start : start + rows] for start in range(0, len(image), rows))


def write(image: np.ndarray, folder: Path, rows: int = 100) -> tuple[FileRecord, ...]:
    scratch = folder.with_name(f"{folder.name}-scratch")
    scratch.mkdir()
    height, width = image.shape[:2]
    records = write_pyramid(cut(image, rows), width, height, "a/slide", LocalSink(folder, scratch), scratch)
    assert list(scratch.iterdir()) == []
    return records


def shrunk(image: Image.Image) -> list[Image.Image]:
    """All levels as Pillow makes them, the smallest first."""
    levels = [image]
    while max(levels[-1].size) > 1:
        levels.append(levels[-1].reduce(2))
    return levels[::-1]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_tile_that_the_description_promises_is_there_and_shows_its_part(
    width: int, height: int, tmp_path: Path
) -> None:
    image = make_image(height, width)

    records = write(image, tmp_path / "out")

    root = ElementTree.parse(tmp_path / "out/a/slide.dzi").getroot()
    size = root.find(f"{NAMESPACE}Size")
    assert root.tag == f"{NAMESPACE}Image"
    assert size is not None
    assert (size.get("Width"), size.get("Height")) == (str(width), str(height))
    edge, overlap, suffix = int(root.get("TileSize", "")), int(root.get("Overlap", "")), root.get("Format")
    promised = {"a/slide.dzi"}
    for number, level in enumerate(shrunk(Image.fromarray(image))):
        for left in range(0, level.width, edge):
            for upper in range(0, level.height, edge):
                path = f"a/slide_files/{number}/{left // edge}_{upper // edge}.{suffix}"
                promised.add(path)
                box = (max(0, left - overlap), max(0, upper - overlap))
                box += (min(level.width, left + edge + overlap), min(level.height, upper + edge + overlap))
                assert_shows(tmp_path / "out" / path, level.crop(box))
    assert {record.path for record in records} == promised
    assert {str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.*")} == promised
    assert len(records) == count_tiles(width, height) + 1
    assert records[-1].path == "a/slide.dzi"


def assert_shows(tile: Path, expected: Image.Image) -> None:
    with Image.open(tile) as found, Image.open(as_jpeg(expected)) as kept:
        assert (found.format, found.mode, found.size) == ("JPEG", "RGB", expected.size)
        assert_near(np.asarray(found, int), np.asarray(kept, int))


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected)
    assert difference.mean() < 1
    assert difference.max() < 12


def as_jpeg(image: Image.Image) -> io.BytesIO:
    """What JPEG keeps of an image: little of one that is shrunk to few pixels, all different."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return file


def test_the_tiles_of_the_last_level_are_the_image(tmp_path: Path) -> None:
    image = make_image(300, 500)

    write(image, tmp_path / "out")

    for column, (left, right) in enumerate([(0, 255), (253, 500)]):
        with Image.open(tmp_path / f"out/a/slide_files/9/{column}_0.jpeg") as tile:
            assert_near(np.asarray(tile, int), image[:255, left:right])


def test_equal_images_give_equal_files_in_whichever_blocks_they_come(tmp_path: Path) -> None:
    image = make_image(520, 300)

    whole = write(image, tmp_path / "whole", rows=len(image))

    assert write(image, tmp_path / "single", rows=1) == whole
    assert write(image, tmp_path / "some", rows=255) == whole


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([np.zeros((9, 20, 3), np.uint8)], id="a row too few"),
        pytest.param([np.zeros((9, 20, 3), np.uint8), np.zeros((2, 20, 3), np.uint8)], id="a row too many"),
        pytest.param([np.zeros((10, 19, 3), np.uint8)], id="narrower"),
        pytest.param([np.zeros((10, 20, 4), np.uint8)], id="four colors"),
        pytest.param([np.zeros((10, 20, 3), np.float32)], id="no bytes"),
    ],
)
def test_blocks_that_do_not_make_up_the_image_are_refused(blocks: Sequence[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image"):
        write_pyramid(blocks, 20, 10, "slide", LocalSink(tmp_path / "out", tmp_path), tmp_path)
    assert not (tmp_path / "out/slide.dzi").exists()


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without pixels"):
        write_pyramid([], 0, 0, "slide", LocalSink(tmp_path / "out", tmp_path), tmp_path)


class FailingSink(LocalSink):
    """Loses the connection at one tile."""

    def put(self, path: str, local: Path) -> FileRecord:
        if path.endswith("9/1_1.jpeg"):
            raise TransientError("Gone.", code="sink.gone")
        return super().put(path, local)


def test_a_tile_that_cannot_be_stored_fails_the_pyramid(tmp_path: Path) -> None:
    sink = FailingSink(tmp_path / "out", tmp_path)

    with pytest.raises(TransientError):
        write_pyramid([make_image(400, 400)], 400, 400, "slide", sink, tmp_path)
    assert not (tmp_path / "out/slide.dzi").exists()


class ForgetfulSink:
    """Keeps nothing."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def put(self, path: str, local: Path) -> FileRecord:
        return FileRecord(path, local.stat().st_size, "")

    def join(self, path: str, pieces: Sequence[str]) -> Any:
        raise NotImplementedError


def test_memory_does_not_grow_with_the_height_of_an_image(tmp_path: Path) -> None:
    width, height = 600, 25_000
    rows = (np.full((250, width, 3), start % 250, np.uint8) for start in range(0, height, 250))

    tracemalloc.start()
    try:
        records = write_pyramid(rows, width, height, "slide", ForgetfulSink(tmp_path), tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(records) == count_tiles(width, height) + 1
    # Strips of all levels take 1 MB and the tiles that wait at most 13 MB, where the image has 45 MB.
    assert peak < 22_000_000
