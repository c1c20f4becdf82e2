"""Deep Zoom: an image as a pyramid of JPEG tiles, of which a viewer fetches those that it shows.

Level 0 has one pixel, each next one twice as many along both axes, the last the image itself. A level is cut into tiles
of 254 × 254 pixels, which reach one pixel into their neighbours. `<name>.dzi` tells sizes, tiles lie at
`<name>_files/<level>/<column>_<row>.jpeg`. So has libvips' `dzsave` it, and OpenSeadragon reads it.

Format: https://learn.microsoft.com/previous-versions/windows/silverlight/dotnet-windows-silverlight/cc645077(v=vs.95)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from celldock.formats.protocol import FileRecord, Sink

TILE = 254
"""Pixels along an edge of a tile, without overlaps. Even: a row of tiles makes whole rows of the level below."""
OVERLAP = 1
"""Pixels that a tile reaches into each neighbour."""
QUALITY = 75
"""Of the JPEG tiles; colors have half of the resolution."""

_SUFFIX = "jpeg"
_CHANNELS = 3
# Most of storing a tile is waiting for an answer.
_PARALLEL = 8
_WAITING = 64

type Array = np.ndarray[Any, Any]


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of all levels, in pixels, from the level of one pixel up to the image itself."""
    sizes = [(width, height)]
    while max(sizes[-1]) > 1:
        width, height = -(-width // 2), -(-height // 2)
        sizes.append((width, height))
    return sizes[::-1]


def count_tiles(width: int, height: int) -> int:
    """The tiles of an image on all levels."""
    return sum(_tiles(width) * _tiles(height) for width, height in level_sizes(width, height))


def write_pyramid(
    rows: Iterable[Array], width: int, height: int, name: str, sink: Sink, folder: Path
) -> tuple[FileRecord, ...]:
    """Writes an image of `width` × `height` pixels as `<name>.dzi` and its tiles; returns all files, the `.dzi` last.

    `rows` are blocks of rows, from the top: uint8 of shape (any, width, 3), red, green and blue. `folder` is a local
    one for tiles in the making. Equal images give equal bytes, in whichever blocks they come. Several threads put tiles
    into the sink. Memory: two strips of 256 rows of the image, a block, and 13 MB of tiles that wait. Raises ValueError
    for blocks that do not make up the image, and what the sink raises.
    """
    if min(width, height) < 1:
        raise ValueError("an image without pixels")
    seen = 0
    with _Tiles(sink, folder, f"{name}_files") as tiles:
        level: _Level | None = None
        for number, size in enumerate(level_sizes(width, height)):
            level = _Level(number, size, level, tiles)
        assert level is not None
        for block in rows:
            seen += len(block)
            if block.shape[1:] != (width, _CHANNELS) or block.dtype != np.uint8 or seen > height:
                raise ValueError(f"a block of shape {block.shape}, {block.dtype}, is none of this image")
            level.feed(block)
            # Not to be held while the next one is read.
            del block
        if seen < height:
            raise ValueError(f"{seen} rows of an image of {height}")
        records = tiles.finish()
    local = folder / "dzi"
    local.write_bytes(_descriptor(width, height))
    records.append(sink.put(f"{name}.dzi", local))
    local.unlink()
    return tuple(records)


class _Level:
    """One level, of which a row of tiles is held at a time; what it has shown of the image goes on to the one below."""

    def __init__(self, number: int, size: tuple[int, int], below: _Level | None, tiles: _Tiles) -> None:
        self._number = number
        self._width, self._height = size
        self._below = below
        self._tiles = tiles
        self._row = 0
        self._held = 0
        self._strip = np.empty((min(TILE + 2 * OVERLAP, self._height), self._width, _CHANNELS), np.uint8)

    def feed(self, rows: Array) -> None:
        """Takes the next rows of the level, and writes the tiles that they complete."""
        taken = 0
        while self._row < _tiles(self._height):
            begin, end = _span(self._row, self._height)
            part = rows[taken : taken + end - begin - self._held]
            self._strip[self._held : self._held + len(part)] = part
            taken += len(part)
            self._held += len(part)
            if self._held < end - begin:
                return
            self._finish_row(begin, end)

    def _finish_row(self, begin: int, end: int) -> None:
        strip = self._strip[: end - begin]
        for column in range(_tiles(self._width)):
            left, right = _span(column, self._width)
            self._tiles.add(f"{self._number}/{column}_{self._row}.{_SUFFIX}", strip[:, left:right])
        if self._below is not None:
            first = self._row * TILE - begin
            self._below.feed(_halved(strip[first : first + TILE]))
        self._row += 1
        following = strip[_span(self._row, self._height)[0] - begin :]
        self._held = len(following)
        self._strip[: self._held] = following


class _Tiles:
    """Encodes tiles and puts them into the sink, several at once."""

    def __init__(self, sink: Sink, folder: Path, prefix: str) -> None:
        self._sink = sink
        self._folder = folder
        self._prefix = prefix
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="tiles")
        self._waiting: deque[Future[FileRecord]] = deque()
        self._records: list[FileRecord] = []

    def __enter__(self) -> _Tiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, path: str, pixels: Array) -> None:
        """Takes a copy of the pixels; waits while too many tiles are underway."""
        while len(self._waiting) >= _WAITING:
            self._records.append(self._waiting.popleft().result())
        self._waiting.append(self._pool.submit(self._put, path, pixels.copy()))

    def finish(self) -> list[FileRecord]:
        """Waits for all tiles, and returns them in the order in which they were added."""
        while self._waiting:
            self._records.append(self._waiting.popleft().result())
        return self._records

    def _put(self, path: str, pixels: Array) -> FileRecord:
        # Of no use to whoever only plans, and not in the layer of those.
        from PIL import Image

        local = self._folder / path.replace("/", "-")
        Image.fromarray(pixels).save(local, "JPEG", quality=QUALITY, subsampling="4:2:0")
        record = self._sink.put(f"{self._prefix}/{path}", local)
        local.unlink()
        return record


def _tiles(length: int) -> int:
    return -(-length // TILE)


def _span(tile: int, length: int) -> tuple[int, int]:
    """Where a tile begins and ends along an axis of `length` pixels, with its overlaps."""
    return max(0, tile * TILE - OVERLAP), min((tile + 1) * TILE + OVERLAP, length)


def _halved(rows: Array) -> Array:
    """Half as many pixels along both axes: means of four, at an odd edge of two or one."""
    odd = [(0, length % 2) for length in rows.shape[:2]]
    if any(after for _, after in odd):
        rows = np.pad(rows, [*odd, (0, 0)], mode="edge")
    total = rows[0::2, 0::2].astype(np.uint16)
    for part in (rows[0::2, 1::2], rows[1::2, 0::2], rows[1::2, 1::2]):
        total += part
    total += 2
    total >>= 2
    return total.astype(np.uint8)


def _descriptor(width: int, height: int) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008"'
        f' Format="{_SUFFIX}" Overlap="{OVERLAP}" TileSize="{TILE}">\n'
        f'  <Size Height="{height}" Width="{width}"/>\n'
        "</Image>\n"
    ).encode()
