"""The section of a spatial dataset as CELLxGENE Explorer shows it: the image below the cells, and where it lies.

The image is the fullres one of the library in uns['spatial'] if it can be shown, else the hires one. As the CELLxGENE
portal does it, it is cropped to the square in its middle, transparency becomes white, and it is turned upside down,
because Explorer's axis of y goes up. It becomes a Deep Zoom pyramid (`celldock.formats.deepzoom`) at `deepzoom/`, where
Explorer's client expects `spatial.dzi` and `spatial_files/` at the place that a deployment gives to images of a dataset
(`/spatial-deep-zoom/<the CXG's name>/`).

What the metadata say of it, under the key `spatial` of the CXG's array `uns`, is what Explorer's server reads:

    {<library>: {"image_properties": {"resolution": "fullres" or "hires", "crop_coords": [left, upper, right, lower],
                                      "width": pixels, "height": pixels},
                 "scalefactors": {"spot_diameter_fullres": …, "tissue_hires_scalef": …}}}

Without an image they are empty: cells are drawn alone then, as those of Slide-seq.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from celldock.errors import InvalidSubmission, NotFeasible
from celldock.formats.deepzoom import count_tiles, write_pyramid
from celldock.formats.protocol import FileRecord, Omission, Sink, Subject
from celldock.h5ad.damage import damaged
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import ElementHeader, Header
from celldock.h5ad.reader import ArrayReader, StoredArray, chunk_limit
from celldock.h5ad.unpacking import MAX_CHUNK, Wanted, unpacked

PYRAMID = "deepzoom/spatial"
"""Where the pyramid lies in the artifact: `deepzoom/spatial.dzi` and `deepzoom/spatial_files/`."""
MAX_SIDE: Final = 50_000
"""Pixels along an edge of the largest image that is shown: 52,000 tiles."""

_ROOT = "uns/spatial"
_IS_SINGLE = f"{_ROOT}/is_single"
_RESOLUTIONS = ("fullres", "hires")
_FACTORS = ("spot_diameter_fullres", "tissue_hires_scalef")
_RGB, _RGBA = 3, 4
_WHITE = 255
# A band of chunks may take a quarter of it: h5py gives an image of 40,000 × 40,000 pixels bands of 38 MB.
_BUDGET = 192 * 1024 * 1024
_BLOCK_BYTES = 16 * 1024 * 1024

type Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class SpatialPlan:
    """What the header says of the section: the path of its `library`, "" without one, and what is left out.

    The first of the `images` will be shown, unless its values forbid it.
    """

    library: str
    images: tuple[ElementHeader, ...]
    omitted: tuple[Omission, ...]

    @property
    def tiles(self) -> int:
        """Files that the image will become, which is about all of the work; 0 for none."""
        if not self.images:
            return 0
        left, upper, right, lower = _crop(self.images[0])
        return count_tiles(right - left, lower - upper)


@dataclass(frozen=True, slots=True)
class Spatial:
    """The JSON-able metadata, the files of the image, and what is left out."""

    metadata: dict[str, Any]
    records: tuple[FileRecord, ...]
    omitted: tuple[Omission, ...]


def plan_spatial(header: Header) -> SpatialPlan | None:
    """What can be shown, from the header alone; None for a file without uns['spatial']."""
    elements = {element.path: element for element in header.uns}
    root = elements.get(_ROOT)
    if root is None or root.kind != "dict":
        return None
    if not header.uns_complete:
        return SpatialPlan("", (), (Omission(_ROOT, "uns has more elements than are looked into"),))
    libraries = [path for path in elements if path.rpartition("/")[0] == _ROOT and path != _IS_SINGLE]
    if len(libraries) > 1:
        return SpatialPlan("", (), (Omission(_ROOT, f"of {len(libraries):,} libraries, none is the one to show"),))
    return _plan_library(libraries[0], elements) if libraries else SpatialPlan("", (), ())


def spatial_of(file: H5adFile, subject: Subject, sink: Sink, folder: Path) -> Spatial | None:
    """Writes the image into the sink, by way of the local `folder`; None for a file without uns['spatial'].

    `file` is the subject's source, opened. What cannot be shown is listed as omitted; damaged bytes raise
    InvalidSubmission. Equal files give equal files. Memory: 300 MB for the largest image.
    """
    plan = plan_spatial(subject.header)
    if plan is None or not plan.images:
        return Spatial({}, (), plan.omitted) if plan else None
    omitted = list(plan.omitted)
    try:
        _refuse_sections(file, subject.header, plan.library)
        factors = _factors(file, plan.library)
    except _NotShownError as error:
        return Spatial({}, (), (*omitted, error.omission))
    for image in plan.images:
        try:
            records = _write_image(file, subject, image, sink, folder)
        except _NotShownError as error:
            omitted.append(error.omission)
        else:
            library = {"image_properties": _properties(image), "scalefactors": factors}
            return Spatial({plan.library.removeprefix(f"{_ROOT}/"): library}, records, tuple(omitted))
    return Spatial({}, (), tuple(omitted))


class _NotShownError(Exception):
    """Something that only values tell keeps the image from being shown."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.omission = Omission(where, reason)


def _plan_library(library: str, elements: dict[str, ElementHeader]) -> SpatialPlan:
    images: list[ElementHeader] = []
    omitted: list[Omission] = []
    for name in _FACTORS:
        path = f"{library}/scalefactors/{name}"
        factor = elements.get(path)
        if factor is None or factor.kind != "scalar" or not factor.dtype.startswith(("float", "int", "uint")):
            return SpatialPlan(library, (), (Omission(path, "without this number, no image can be put in place"),))
    for resolution in _RESOLUTIONS:
        image = elements.get(f"{library}/images/{resolution}")
        if image is None:
            continue
        obstacle = _obstacle(image)
        if not obstacle:
            images.append(image)
        elif not images:
            omitted.append(Omission(image.path, obstacle))
    return SpatialPlan(library, tuple(images), tuple(omitted))


def _obstacle(image: ElementHeader) -> str:
    """Why an element can be no image to show; "" if it can."""
    if image.kind != "array" or not image.dtype.startswith(("float", "int", "uint")):
        return "it is no array of colors"
    if len(image.shape) != 3 or image.shape[2] not in (_RGB, _RGBA):
        return f"its shape {image.shape} is not that of rows, columns, and 3 or 4 colors"
    if min(image.shape) < 1:
        return "it has no pixels"
    if max(image.shape[:2]) > MAX_SIDE:
        return f"it has {max(image.shape[:2]):,} pixels along an edge, where {MAX_SIDE:,} are shown at most"
    return ""


def _crop(image: ElementHeader) -> tuple[int, int, int, int]:
    """The square in the middle: left, upper, right, lower, in pixels."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def _refuse_sections(file: H5adFile, header: Header, library: str) -> None:
    """Raises _NotShownError for a file that is more than one section: there is no image that all cells lie in."""
    if any(element.path == _IS_SINGLE for element in header.uns) and file.element(_IS_SINGLE) is False:
        raise _NotShownError(library, "the file says that it is more than one section")


def _factors(file: H5adFile, library: str) -> dict[str, float]:
    """The scale factors of a library. Raises _NotShownError for those that scale nothing."""
    factors: dict[str, float] = {}
    for name in _FACTORS:
        path = f"{library}/scalefactors/{name}"
        value = file.element(path)
        if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise _NotShownError(path, "it is no number above 0")
        factors[name] = float(value)
    return factors


def _properties(image: ElementHeader) -> dict[str, Any]:
    left, upper, right, lower = _crop(image)
    return {
        "resolution": image.path.rpartition("/")[2],
        "crop_coords": [left, upper, right, lower],
        "width": right - left,
        "height": lower - upper,
    }


def _write_image(
    file: H5adFile, subject: Subject, image: ElementHeader, sink: Sink, folder: Path
) -> tuple[FileRecord, ...]:
    """Raises _NotShownError for an image that only looks like one, before anything of it is written."""
    left, upper, right, lower = _crop(image)
    with _opened(file, subject, image, folder) as pixels:
        return write_pyramid(pixels.rows(), right - left, lower - upper, PYRAMID, sink, folder)


@contextmanager
def _opened(file: H5adFile, subject: Subject, image: ElementHeader, scratch: Path) -> Generator[_Pixels]:
    """The image, to be read. Raises _NotShownError for one that is stored in too large pieces or has no colors."""
    bare = replace(subject.header, x=None, raw_x=None, layers=())
    layout = file.layout(bare, [image.path]).columns[image.path]
    if layout.shape != image.shape or np.dtype(layout.dtype).name != image.dtype:
        raise damaged(image.path, "it is not what it says")
    stored = StoredArray(layout, subject.source.size, max_chunk=MAX_CHUNK)
    # Chunks fit, but not a band of them: then they are unpacked one by one.
    limit = chunk_limit(_BUDGET) if stored.band_bytes <= chunk_limit(_BUDGET) else 0
    wanted = {"image": Wanted(layout, limit, _crop(image)[1], _crop(image)[3])}
    try:
        with unpacked(subject.source, wanted, budget=_BUDGET, scratch=scratch) as (places, layouts):
            band = 1 if layouts["image"].chunks is None else stored.chunk_rows
            yield _Pixels(image, ArrayReader(places, layouts["image"], budget=_BUDGET), band)
    except NotFeasible as error:
        raise _NotShownError(image.path, error.message) from error
    except InvalidSubmission as error:
        if error.code != "file.chunk_too_large":
            raise
        raise _NotShownError(image.path, "it is stored in pieces that are too large to be read") from error


class _Pixels:
    """The rows of an image as Explorer wants them, read as many at a time as make whole bands of `band` rows.

    Raises _NotShownError for values that are no colors, which of other types than uint8 takes a look at all of them.
    """

    def __init__(self, image: ElementHeader, reader: ArrayReader, band: int) -> None:
        self._path = image.path
        self._reader = reader
        self._left, self._upper, self._right, self._lower = _crop(image)
        row_bytes = math.prod(image.shape[1:]) * reader.dtype.itemsize
        self._step = band * max(1, _BLOCK_BYTES // (row_bytes * band))
        self._scale = 1 if reader.dtype == np.uint8 else self._find_scale()

    def rows(self) -> Generator[Array]:
        """Blocks of rows, the lowest first: uint8, red, green and blue."""
        for start, stop in reversed(self._spans()):
            yield _opaque(self._colors(self._read(start, stop)))[::-1]

    def _spans(self) -> list[tuple[int, int]]:
        begin = self._upper // self._step * self._step
        edges = range(begin, self._lower, self._step)
        return [(max(edge, self._upper), min(edge + self._step, self._lower)) for edge in edges]

    def _read(self, start: int, stop: int) -> Array:
        # In one piece: what ends with a band keeps nothing of it.
        (block,) = self._reader.blocks(start, stop, stop - start)
        return block[:, self._left : self._right]

    def _find_scale(self) -> int:
        """What values are multiplied by to be colors from 0 to 255."""
        highest = 0
        for start, stop in self._spans():
            block = self._read(start, stop)
            low, high = block.min(), block.max()
            # No comparison holds for NaN.
            if not (low >= 0 and high <= _WHITE):
                reason = f"its values, as {low} and {high}, are not from 0 to {_WHITE}"
                raise _NotShownError(self._path, reason)
            highest = max(highest, high)
        return _WHITE if self._reader.dtype.kind == "f" and highest <= 1 else 1

    def _colors(self, block: Array) -> Array:
        if block.dtype.kind == "f":
            return np.rint(block.astype(np.float32) * self._scale).astype(np.uint8)
        return block.astype(np.uint8, copy=False)


def _opaque(block: Array) -> Array:
    """Red, green and blue as they look before white."""
    if block.shape[2] == _RGB:
        return block
    alpha = block[:, :, _RGB:].astype(np.uint16)
    # Rounded division by 255, as exact as that of floating-point numbers.
    total = block[:, :, :_RGB] * alpha + _WHITE * (_WHITE - alpha) + 128
    total += total >> 8
    return (total >> 8).astype(np.uint8)
