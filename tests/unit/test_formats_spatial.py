"""The image of a section becomes what Explorer shows, or is left out with the reason; nothing else suffers from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata.io import write_elem
from PIL import Image

from celldock.errors import InvalidSubmission
from celldock.formats import spatial
from celldock.formats.protocol import Omission, Subject
from celldock.formats.sink import LocalSink
from celldock.formats.spatial import MAX_SIDE, Spatial, SpatialPlan, plan_spatial, spatial_of
from celldock.h5ad.file import open_h5ad, read_header
from celldock.h5ad.headers import ElementHeader, Header
from celldock.h5ad.source import LocalSource
from tests.builders import make_h5ad
from tests.images import make_image

FACTORS = {"spot_diameter_fullres": 89.5, "tissue_hires_scalef": 0.17}
LIBRARY = "uns/spatial/section"
HIRES, FULLRES = f"{LIBRARY}/images/hires", f"{LIBRARY}/images/fullres"
NO_NUMBER = "without this number, no image can be put in place"


@pytest.fixture(scope="session")
def bare_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file without uns['spatial']."""
    return make_h5ad(tmp_path_factory.mktemp("spatial") / "bare.h5ad", n_obs=2, n_vars=2).read_bytes()


type Make = Callable[..., Path]


@pytest.fixture
def make(bare_file: bytes, tmp_path: Path) -> Make:
    """Makes files with `uns['spatial']` as it is given, or with one library of these images."""

    def make(
        value: Mapping[str, Any] | None = None, *, name: str = "a", single: bool = True, **images: np.ndarray
    ) -> Path:
        path = tmp_path / f"{name}.h5ad"
        path.write_bytes(bare_file)
        library = {"images": images, "scalefactors": FACTORS}
        with h5py.File(path, "r+") as file:
            write_elem(file["uns"], "spatial", value or {"is_single": single, "section": library})
        return path

    return make


def show(h5ad: Path, name: str = "out") -> Spatial | None:
    """What becomes of a file; the image goes to a folder beside it."""
    scratch = h5ad.with_name(f"{name}-scratch")
    scratch.mkdir()
    source = LocalSource(h5ad)
    with open_h5ad(source) as file:
        header = file.header()
        subject = Subject(source, header, file.layout(header, []))
        found = spatial_of(file, subject, LocalSink(h5ad.with_name(name), scratch), scratch)
    assert list(scratch.iterdir()) == []
    return found


def shown(h5ad: Path, name: str = "out") -> Spatial:
    """The same for a file whose image is shown."""
    found = show(h5ad, name)
    assert found is not None
    assert found.metadata
    return found


def last_tile(h5ad: Path, name: str = "out") -> np.ndarray:
    """The image of up to 254 pixels, as it is shown at full size."""
    tiles = h5ad.with_name(name).glob("deepzoom/spatial_files/*/0_0.jpeg")
    with Image.open(max(tiles, key=lambda tile: int(tile.parent.name))) as image:
        return np.asarray(image, int)


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 2


@pytest.mark.parametrize(
    ("height", "width", "crop"), [(120, 201, [40, 0, 160, 120]), (200, 91, [0, 54, 91, 145]), (80, 80, [0, 0, 80, 80])]
)
def test_the_square_in_the_middle_is_shown_upside_down(
    height: int, width: int, crop: list[int], make: Make, tmp_path: Path
) -> None:
    image = make_image(height, width)
    side = min(height, width)

    found = shown(make(hires=image))

    properties = {"resolution": "hires", "crop_coords": crop, "width": side, "height": side}
    assert found.metadata == {"section": {"image_properties": properties, "scalefactors": FACTORS}}
    assert found.omitted == ()
    left, upper, right, lower = crop
    assert_near(last_tile(tmp_path / "a"), image[upper:lower, left:right][::-1])


def test_the_files_are_those_that_the_client_asks_for(make: Make, tmp_path: Path) -> None:
    found = shown(make(hires=make_image(300, 300)))

    paths = {record.path for record in found.records}
    assert {"deepzoom/spatial.dzi", "deepzoom/spatial_files/0/0_0.jpeg", "deepzoom/spatial_files/9/1_1.jpeg"} <= paths
    assert paths == {str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.*")}
    assert all((tmp_path / "out" / record.path).stat().st_size == record.bytes for record in found.records)


def test_the_larger_image_is_preferred(make: Make, tmp_path: Path) -> None:
    found = shown(make(hires=make_image(20, 20), fullres=make_image(90, 100)[::-1]))

    assert found.metadata["section"]["image_properties"]["resolution"] == "fullres"
    assert found.metadata["section"]["image_properties"]["height"] == 90
    assert_near(last_tile(tmp_path / "a"), make_image(90, 100)[:, 5:95])


def test_the_smaller_image_stands_in_for_a_larger_one_that_cannot_be_shown(make: Make, tmp_path: Path) -> None:
    h5ad = make(hires=make_image(60, 60), fullres=make_image(90, 90)[:, :, 0])

    found = shown(h5ad)

    assert found.metadata["section"]["image_properties"]["resolution"] == "hires"
    reason = "its shape (90, 90) is not that of rows, columns, and 3 or 4 colors"
    assert found.omitted == (Omission(FULLRES, reason),)
    assert_near(last_tile(tmp_path / "a"), make_image(60, 60)[::-1])


def test_so_it_does_where_only_values_tell_that_it_cannot(make: Make, tmp_path: Path) -> None:
    found = shown(make(hires=make_image(60, 60), fullres=make_image(90, 90).astype(np.uint16) + 1000))

    assert found.metadata["section"]["image_properties"]["width"] == 60
    assert [omission.where for omission in found.omitted] == [FULLRES]
    assert_near(last_tile(tmp_path / "a"), make_image(60, 60)[::-1])


def test_what_is_transparent_becomes_white(make: Make, tmp_path: Path) -> None:
    image = make_image(100, 100, 4)
    image[..., 3] = np.linspace(0, 255, 100).astype(np.uint8)
    white = Image.new("RGB", (100, 100), "white")
    white.paste(Image.fromarray(image), (0, 0), Image.fromarray(image))

    shown(make(hires=image))

    assert_near(last_tile(tmp_path / "a"), np.asarray(white, int)[::-1])


def as_share(image: np.ndarray) -> np.ndarray:
    return (image / 255).astype(np.float32)


def as_big_endian(image: np.ndarray) -> np.ndarray:
    return image.astype(">i8")


@pytest.mark.parametrize(
    "store",
    [as_share, as_big_endian, *(pytest.param(kind, marks=pytest.mark.long) for kind in (np.float64, np.float16))],
)
def test_colors_of_another_type_are_the_same_colors(
    store: Callable[[np.ndarray], np.ndarray], make: Make, tmp_path: Path
) -> None:
    image = make_image(70, 70)
    stored = store(image)
    assert stored.dtype != np.uint8

    found = shown(make(hires=stored, name="b"), "other")

    assert found.records == shown(make(hires=image)).records


def with_image(file: h5py.File, image: np.ndarray, **storage: Any) -> None:
    del file[HIRES]
    dataset = file.create_dataset(HIRES, data=image, **storage)
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


STORAGES: Mapping[str, Mapping[str, Any]] = {
    "in one piece": {},
    "in bands": {"chunks": (16, 200, 3), "compression": "gzip"},
    "in small chunks": {"chunks": (7, 30, 1), "compression": "lzf", "shuffle": True},
    "in bands that are too large": {"chunks": (200, 20, 3), "compression": "gzip"},
    "in one chunk that is too large": {"chunks": (200, 200, 3), "compression": "gzip"},
}


def test_it_does_not_matter_how_the_image_is_stored(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spatial, "_BUDGET", 4 * 40_000)
    monkeypatch.setattr(spatial, "_BLOCK_BYTES", 12_000)
    image = make_image(200, 200)
    h5ad = make(hires=image)
    expected = shown(h5ad)

    for name, storage in STORAGES.items():
        with h5py.File(h5ad, "r+") as file:
            with_image(file, image, **storage)
        assert shown(h5ad, name).records == expected.records, name


def test_an_image_in_chunks_that_cannot_be_unpacked_is_left_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial, "_BUDGET", 4 * 40_000)
    h5ad = make(hires=make_image(200, 200))
    with h5py.File(h5ad, "r+") as file:
        with_image(file, make_image(200, 200), chunks=(200, 200, 3), compression="lzf")

    expected = (Omission(HIRES, "it is stored in pieces that are too large to be read"),)
    assert show(h5ad) == Spatial({}, (), expected)


NOT_COLORS = "are not from 0 to 255"


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 4, 3), 256, np.uint16),
        np.full((4, 4, 3), math.nan, np.float32),
        pytest.param(np.full((4, 4, 3), -1, np.int8), marks=pytest.mark.long),
        pytest.param(np.full((4, 4, 3), math.inf, np.float64), marks=pytest.mark.long),
    ],
)
def test_values_that_are_no_colors_are_left_out(image: np.ndarray, make: Make, tmp_path: Path) -> None:
    found = show(make(hires=image))

    assert found is not None
    assert (found.metadata, found.records) == ({}, ())
    assert [(omission.where, NOT_COLORS in omission.reason) for omission in found.omitted] == [(HIRES, True)]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [0.0, *(pytest.param(each, marks=pytest.mark.long) for each in (math.nan, math.inf))])
def test_scale_factors_that_scale_nothing_leave_the_image_out(value: float, make: Make) -> None:
    library = {"images": {"hires": make_image(9, 9)}, "scalefactors": {**FACTORS, "tissue_hires_scalef": value}}

    found = show(make({"is_single": True, "section": library}))

    where = f"{LIBRARY}/scalefactors/tissue_hires_scalef"
    assert found == Spatial({}, (), (Omission(where, "it is no number above 0"),))


def test_several_sections_have_no_image(make: Make) -> None:
    expected = (Omission(LIBRARY, "the file says that it is more than one section"),)

    assert show(make(single=False, hires=make_image(9, 9))) == Spatial({}, (), expected)


def test_a_file_of_beads_has_neither_image_nor_omission(make: Make) -> None:
    assert show(make({"is_single": True})) == Spatial({}, (), ())


def test_a_file_that_is_not_spatial_has_nothing(bare_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    path.write_bytes(bare_file)

    assert show(path) is None


def test_damaged_bytes_are_no_omission(make: Make) -> None:
    h5ad = make(hires=make_image(9, 9))
    with h5py.File(h5ad, "r+") as file:
        with_image(file, make_image(50, 50), chunks=(50, 50, 3), compression="gzip")
        offset = file[HIRES].id.get_chunk_info(0).byte_offset
    content = bytearray(h5ad.read_bytes())
    content[offset + 20 : offset + 40] = bytes(20)
    h5ad.write_bytes(content)

    with pytest.raises(InvalidSubmission, match="damaged"):
        show(h5ad)


def element(path: str, kind: Any = "dict", shape: tuple[int, ...] = (), dtype: str = "") -> ElementHeader:
    return ElementHeader(path, kind, shape, dtype)


def image_header(path: str, *shape: int, dtype: str = "uint8") -> ElementHeader:
    return element(path, "array", shape, dtype)


def factor_header(name: str, dtype: str = "float64") -> ElementHeader:
    return element(f"{LIBRARY}/scalefactors/{name}", "scalar", (), dtype)


@pytest.fixture(scope="session")
def header(bare_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Header:
    path = tmp_path_factory.mktemp("spatial") / "bare.h5ad"
    path.write_bytes(bare_file)
    return read_header(LocalSource(path))


def planned(header: Header, *uns: ElementHeader) -> SpatialPlan:
    plan = plan_spatial(replace(header, uns=(element("uns/spatial"), *uns)))
    assert plan is not None
    return plan


NUMBERS = (factor_header("spot_diameter_fullres", "float32"), factor_header("tissue_hires_scalef", "int64"))


def test_the_plan_tells_from_the_header_what_will_be_shown(header: Header) -> None:
    plan = planned(header, element(LIBRARY), image_header(FULLRES, 700, 300, 4), image_header(HIRES, 9, 9, 3), *NUMBERS)

    assert [image.path for image in plan.images] == [FULLRES, HIRES]
    assert (plan.library, plan.tiles, plan.omitted) == (LIBRARY, 13, ())


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (image_header(HIRES, 20, 20), "its shape (20, 20) is not that of rows, columns, and 3 or 4 colors"),
        (image_header(HIRES, 20, 20, 2), "its shape (20, 20, 2) is not that of rows, columns, and 3 or 4 colors"),
        (image_header(HIRES, 3, 20, 20), "its shape (3, 20, 20) is not that of rows, columns, and 3 or 4 colors"),
        (image_header(HIRES, 0, 20, 3), "it has no pixels"),
        (image_header(HIRES, 2, MAX_SIDE + 1, 3), "it has 50,001 pixels along an edge, where 50,000 are shown at most"),
        (image_header(HIRES, 20, 20, 3, dtype="str"), "it is no array of colors"),
        (image_header(HIRES, 20, 20, 3, dtype="bool"), "it is no array of colors"),
        (image_header(HIRES, 20, 20, 3, dtype="complex64"), "it is no array of colors"),
        (element(HIRES, "scalar", (), "float64"), "it is no array of colors"),
        (element(HIRES, "sparse", (20, 20), "float64"), "it is no array of colors"),
        (element(HIRES), "it is no array of colors"),
    ],
)
def test_what_is_no_image_is_left_out(image: ElementHeader, reason: str, header: Header) -> None:
    plan = planned(header, element(LIBRARY), image, *NUMBERS)

    assert (plan.images, plan.tiles) == ((), 0)
    assert plan.omitted == (Omission(HIRES, reason),)


@pytest.mark.parametrize(
    "factors",
    [
        pytest.param(NUMBERS[:1], id="missing"),
        pytest.param((NUMBERS[0], factor_header("tissue_hires_scalef", "str")), id="a text"),
        pytest.param((NUMBERS[0], factor_header("tissue_hires_scalef", "bool")), id="a truth value"),
        pytest.param((NUMBERS[0], replace(NUMBERS[1], kind="array", shape=(1,))), id="an array"),
    ],
)
def test_an_image_that_cannot_be_put_in_place_is_left_out(factors: tuple[ElementHeader, ...], header: Header) -> None:
    plan = planned(header, element(LIBRARY), image_header(HIRES, 20, 20, 3), *factors)

    assert plan.images == ()
    assert plan.omitted == (Omission(f"{LIBRARY}/scalefactors/tissue_hires_scalef", NO_NUMBER),)


def test_of_several_libraries_none_is_shown(header: Header) -> None:
    other = element("uns/spatial/other")

    plan = planned(header, element(LIBRARY), image_header(HIRES, 20, 20, 3), *NUMBERS, other)

    assert plan.omitted == (Omission("uns/spatial", "of 2 libraries, none is the one to show"),)


def test_a_library_without_images_is_no_omission(header: Header) -> None:
    assert planned(header, element(LIBRARY), *NUMBERS).omitted == ()


def test_what_the_header_does_not_list_is_not_shown(header: Header) -> None:
    uns = (element("uns/spatial"), element(LIBRARY), image_header(HIRES, 20, 20, 3), *NUMBERS)

    plan = plan_spatial(replace(header, uns=uns, uns_complete=False))

    assert plan is not None
    assert plan.images == ()
    assert plan.omitted == (Omission("uns/spatial", "uns has more elements than are looked into"),)


def test_text_under_that_name_is_nothing_spatial(header: Header) -> None:
    assert plan_spatial(replace(header, uns=(element("uns/spatial", "scalar", (), "str"),))) is None
