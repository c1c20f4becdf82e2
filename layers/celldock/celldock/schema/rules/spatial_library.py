"""Rules about the library of a Visium section: its images, told by their headers alone, and its scale factors.

A part of the library is named by its own key; `inside` is the key of what it lies in, "" for the library itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from celldock.h5ad.headers import ElementHeader
from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.spatial import MAX_LIBRARIES, by_assay, libraries, uns_below

_LIBRARY = "library"
_SOURCES = {
    "images": "Add a dictionary with the image tissue_hires_image.png as 'hires'.",
    "hires": "Read tissue_hires_image.png, which Space Ranger wrote, as an array of uint8.",
    "fullres": "Add the microscope's image that Space Ranger was given, as an array of uint8.",
    "scalefactors": "Add a dictionary with spot_diameter_fullres and tissue_hires_scalef of scalefactors_json.json.",
    "spot_diameter_fullres": "It stands in scalefactors_json.json, which Space Ranger wrote.",
    "tissue_hires_scalef": "It stands in scalefactors_json.json, which Space Ranger wrote.",
}
_CHANNELS = (3, 4)


@rule("uns.spatial.library.type")
def library_type(context: Context, *, visium: str) -> Iterator[Finding]:
    """A library is a dictionary."""
    for name, library in _libraries(context, visium):
        if library.kind != "dict":
            yield context.finding(
                library.path,
                f"uns['spatial'][{name!r}] should be the section's library, a dictionary with its images and scale "
                f"factors, but it is {_word(library)}.",
                suggestion=f"Leave it out, del adata.uns['spatial'][{name!r}], and add the library.",
            )


@rule("uns.spatial.{part}.missing")
def library_part_missing(context: Context, *, visium: str, part: str, inside: str = "") -> Iterator[Finding]:
    """A library has a part."""
    for outer, path in _insides(context, visium, inside):
        if part not in outer:
            near = [key for key in outer if key.casefold() == part.casefold() or part in key]
            yield context.finding(
                f"uns/{path}/{part}",
                f"The {inside or 'library'} of the Visium section {'have' if inside else 'has'} no {part!r}.",
                suggestion=f"If {near[0]!r} is it, rename it to {part!r}." if near else _SOURCES[part],
            )


@rule("uns.spatial.{part}.type")
def library_part_type(context: Context, *, visium: str, part: str) -> Iterator[Finding]:
    """A part of a library is a dictionary."""
    for found in _parts(context, visium, part, ""):
        if found.kind != "dict":
            yield context.finding(
                found.path,
                f"{part!r} of the Visium section should be a dictionary, but it is {_word(found)}.",
                suggestion=_SOURCES[part],
            )


@rule("uns.spatial.{part}.extra_keys")
def library_extra_keys(context: Context, *, visium: str, part: str, allowed: Sequence[str]) -> Iterator[Finding]:
    """A library, or a part of it, holds nothing else than what is allowed."""
    for outer, path in _insides(context, visium, "" if part == _LIBRARY else part):
        extra = [key for key in outer if key not in allowed]
        if extra:
            keys = "".join(f"[{key!r}]" for key in path.split("/"))
            yield context.finding(
                f"uns/{path}",
                f"The {part} of the Visium section may hold {' and '.join(map(repr, allowed))} and nothing else.",
                count=len(extra),
                examples=extra,
                suggestion=f"Leave out what else there is: del adata.uns{keys}[{extra[0]!r}].",
            )


@rule("uns.spatial.{image}.type")
def image_type(context: Context, *, visium: str, image: str) -> Iterator[Finding]:
    """An image is an array of uint8."""
    for found in _parts(context, visium, image, "images"):
        if found.kind != "array" or found.dtype != "uint8":
            is_array = found.kind == "array"
            yield context.finding(
                found.path,
                f"The {image} image is {f'an array of {found.dtype}' if is_array else _word(found)}, where an array of "
                "uint8 is required: colors from 0 to 255.",
                suggestion=_to_uint8(found.dtype) if is_array else _SOURCES[image],
            )


@rule("uns.spatial.{image}.shape")
def image_shape(context: Context, *, visium: str, image: str) -> Iterator[Finding]:
    """An image has rows, columns, and three or four colors."""
    for found in _parts(context, visium, image, "images"):
        shape = found.shape
        if found.kind != "array" or (len(shape) == len(_CHANNELS) + 1 and shape[-1] in _CHANNELS):
            continue
        yield context.finding(
            found.path,
            f"The {image} image has the shape {' × '.join(map(str, shape))}, but rows × columns × 3 colors, or 4 with "
            "transparency, are required.",
            suggestion="Its colors come first: numpy.moveaxis(image, 0, -1) puts them last."
            if len(shape) == len(_CHANNELS) + 1 and shape[0] in _CHANNELS
            else "Turn it into a color image: numpy.stack([image] * 3, axis=-1)."
            if len(shape) == len(_CHANNELS)
            else _SOURCES[image],
        )


@rule("uns.spatial.{image}.size")
def image_size(
    context: Context, *, visium: str, image: str, pixels: int, pixels_by_assay: Mapping[str, int]
) -> Iterator[Finding]:
    """The longer side of an image has as many pixels as Space Ranger gives it for the assay."""
    for found in _parts(context, visium, image, "images"):
        expected = by_assay(context, pixels_by_assay, pixels)
        size = max(found.shape[:2], default=0)
        if found.kind == "array" and len(found.shape) >= len(_CHANNELS) and size != expected:
            yield context.finding(
                found.path,
                f"The longer side of the {image} image has {size:,} pixels, but {expected:,} are required for this "
                "assay.",
                suggestion="Use the file tissue_hires_image.png as Space Ranger wrote it, neither resized nor cropped; "
                "and check that assay_ontology_term_id names the right kind of Visium.",
            )


@rule("uns.spatial.{part}.type")
def scalefactor_type(context: Context, *, visium: str, part: str) -> Iterator[Finding]:
    """A scale factor is a floating-point number, as Python has it: of 64 bits."""
    for found in _parts(context, visium, part, "scalefactors"):
        if (found.kind, found.dtype) != ("scalar", "float64"):
            number = found.kind == "scalar" and found.dtype.startswith(("int", "uint", "float"))
            yield context.finding(
                found.path,
                f"{part!r} is {_word(found)}, where a floating-point number is required.",
                suggestion="Write it as Python's float: float(value)." if number else _SOURCES[part],
            )


def _libraries(context: Context, visium: str) -> list[tuple[str, ElementHeader]]:
    """The first few libraries; there should be one."""
    return list(libraries(context, visium).items())[:MAX_LIBRARIES]


def _insides(context: Context, visium: str, inside: str) -> Iterator[tuple[dict[str, ElementHeader], str]]:
    """What each library holds, or the part `inside` of it; and where in uns that is.

    Libraries and parts that are no dictionary are left out: other rules tell of them.
    """
    for name, library in _libraries(context, visium):
        path, header = f"spatial/{name}", library
        if inside and header.kind == "dict":
            found = uns_below(context, path).get(inside)
            if found is None:
                continue
            path, header = f"{path}/{inside}", found
        if header.kind == "dict":
            yield uns_below(context, path), path


def _parts(context: Context, visium: str, part: str, inside: str) -> Iterator[ElementHeader]:
    """That part of each library, where it is there."""
    for outer, _ in _insides(context, visium, inside):
        if part in outer:
            yield outer[part]


def _to_uint8(dtype: str) -> str:
    if dtype.startswith("float"):
        return "If its values are from 0 to 1: (image * 255).round().astype('uint8')."
    return "If its values are from 0 to 255: image.astype('uint8')."


def _word(header: ElementHeader) -> str:
    """What an element is, in words."""
    if header.kind == "scalar":
        return "a text" if header.dtype == "str" else f"one value of type {header.dtype}"
    words = {
        "array": f"an array of {header.dtype}",
        "frame": "a data frame",
        "sparse": "a sparse matrix",
        "null": "None",
    }
    return words.get(header.kind, "a dictionary" if header.kind == "dict" else f"of the kind {header.kind}")
