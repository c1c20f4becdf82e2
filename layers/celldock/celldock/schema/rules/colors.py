"""Rules about uns['<column>_colors']: a color for each category of a column of obs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from celldock.h5ad.headers import ColumnHeader, ElementHeader
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.registry import Context, rule
from celldock.schema.rules.uns import describe, nearest
from celldock.schema.words import Noun

_SUFFIX = "_colors"
_COLORS = Noun("color", "colors")
_HEX = re.compile(r"#[0-9a-f]{6}", re.ASCII | re.IGNORECASE)
_SHORT_HEX = re.compile(r"#[0-9a-f]{3}", re.ASCII | re.IGNORECASE)
_LONG_HEX = re.compile(r"#[0-9a-f]{8}", re.ASCII | re.IGNORECASE)

# https://www.w3.org/TR/css-color-4/#named-colors
_WORDS = (
    "aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet brown "
    "burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan "
    "darkgoldenrod darkgray darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred "
    "darksalmon darkseagreen darkslateblue darkslategray darkslategrey darkturquoise darkviolet deeppink "
    "deepskyblue dimgray dimgrey dodgerblue firebrick floralwhite forestgreen fuchsia gainsboro ghostwhite gold "
    "goldenrod gray green greenyellow grey honeydew hotpink indianred indigo ivory khaki lavender lavenderblush "
    "lawngreen lemonchiffon lightblue lightcoral lightcyan lightgoldenrodyellow lightgray lightgreen lightgrey "
    "lightpink lightsalmon lightseagreen lightskyblue lightslategray lightslategrey lightsteelblue lightyellow "
    "lime limegreen linen magenta maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen "
    "mediumslateblue mediumspringgreen mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin "
    "navajowhite navy oldlace olive olivedrab orange orangered orchid palegoldenrod palegreen paleturquoise "
    "palevioletred papayawhip peachpuff peru pink plum powderblue purple rebeccapurple red rosybrown royalblue "
    "saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue slateblue slategray slategrey snow "
    "springgreen steelblue tan teal thistle tomato turquoise violet wheat white whitesmoke yellow yellowgreen "
)
_NAMED = frozenset(_WORDS.split())


@rule("uns.colors.column")
def colors_column(context: Context, *, labels: Sequence[str]) -> Iterator[Finding]:
    """Colors belong to a categorical column of obs. `labels` are columns whose colors another rule refuses."""
    columns = {column.name: column for column in context.frame("obs").columns}
    categorical = [name for name, column in columns.items() if column.kind == "categorical"]
    found = 0
    for header, name in _colors(context):
        column = columns.get(name)
        if name in labels or (column is not None and column.kind == "categorical"):
            continue
        found += 1
        near = nearest(name, categorical) if found <= MAX_EXAMPLES else ""
        yield context.finding(
            header.path,
            f"uns[{name + _SUFFIX!r}] belongs to the column {name!r}, which "
            + (f"is not categorical but of type {column.dtype}." if column else "obs does not have."),
            suggestion=f"Make it categorical: adata.obs[{name!r}] = adata.obs[{name!r}].astype('category')."
            if column
            else f"Rename it to {near + _SUFFIX!r}, if these are its colors."
            if near
            else f"Remove it: del adata.uns[{name + _SUFFIX!r}].",
        )


@rule("uns.colors.label_column")
def colors_label_column(context: Context, *, labels: Sequence[str]) -> Iterator[Finding]:
    """Colors do not belong to one of the columns `labels`, which the portal adds."""
    for header, name in _colors(context):
        if name in labels:
            yield context.finding(
                header.path,
                f"uns[{name + _SUFFIX!r}] belongs to the column {name!r}, which is added when the file is published.",
                suggestion=f"Give the colors to the terms: adata.uns['{name}_ontology_term_id{_SUFFIX}'].",
            )


@rule("uns.colors.type")
def colors_type(context: Context) -> Iterator[Finding]:
    """Colors are an array of texts."""
    for header, name in _colors(context):
        if header.kind != "array" or header.dtype != "str":
            yield context.finding(
                header.path,
                f"uns[{name + _SUFFIX!r}] is {describe(header)}, where an array of color names or codes is required.",
                suggestion=f"Set adata.uns[{name + _SUFFIX!r}] = numpy.array(['#1f77b4', …]), one color a category.",
            )


@rule("uns.colors.dimensions")
def colors_dimensions(context: Context) -> Iterator[Finding]:
    """The array of colors has one dimension."""
    for header, name in _colors(context):
        if header.kind == "array" and len(header.shape) != 1:
            yield context.finding(
                header.path,
                f"uns[{name + _SUFFIX!r}] has {len(header.shape)} dimensions, where a list of colors is required.",
                suggestion="Give each color as one text, such as '#1f77b4': matplotlib.colors.to_hex makes it.",
            )


@rule("uns.colors.count")
def colors_count(context: Context) -> Iterator[Finding]:
    """There is a color for each category of the column, unused categories too."""
    columns = {column.name: column for column in context.frame("obs").columns}
    for header, name in _colors(context):
        column = columns.get(name)
        categories = column.categories if column is not None else None
        if column is None or categories is None or header.kind != "array" or len(header.shape) != 1:
            continue
        if header.shape[0] < categories:
            unused = _unused(context, column)
            yield context.finding(
                header.path,
                f"uns[{name + _SUFFIX!r}] has {_COLORS.of(header.shape[0])}, but {name} has {categories:,} categories"
                + (f", of which {len(unused):,} are unused." if unused else "."),
                count=categories - header.shape[0],
                examples=unused,
                suggestion=f"Drop unused categories: adata.obs[{name!r}] = adata.obs[{name!r}].cat."
                "remove_unused_categories(), and give the others' colors in the order of the categories."
                if unused and categories - len(unused) <= header.shape[0]
                else "Add colors for the others, in the order of the categories.",
            )


@rule("uns.colors.model")
def colors_model(context: Context) -> Iterator[Finding]:
    """All colors of a column are CSS names, or all are # and six hexadecimal digits."""
    for header, name in _colors(context):
        if header.kind != "array" or header.dtype != "str":
            continue
        colors: list[str] = np.asarray(context.uns(name + _SUFFIX)).ravel().tolist()
        codes = [color for color in colors if _HEX.fullmatch(color)]
        names = [color for color in colors if color.lower() in _NAMED]
        if len(colors) in (len(codes), len(names)):
            continue
        others = [color for color in dict.fromkeys(colors) if not _HEX.fullmatch(color) and color.lower() not in _NAMED]
        yield context.finding(
            header.path,
            f"uns[{name + _SUFFIX!r}] has {_COLORS.of(len(others))} other than CSS names and # with six hex digits."
            if others
            else f"uns[{name + _SUFFIX!r}] mixes {len(names):,} names and {len(codes):,} codes, but must be one kind.",
            count=len(others) or min(len(names), len(codes)),
            examples=others or names[:MAX_EXAMPLES],
            suggestion=_suggest(others),
        )


def _colors(context: Context) -> Iterator[tuple[ElementHeader, str]]:
    """What of uns holds colors, and the column that they belong to."""
    for header in context.header.uns:
        key = header.path.removeprefix("uns/")
        if "/" not in key and key.endswith(_SUFFIX):
            yield header, key.removesuffix(_SUFFIX)


def _unused(context: Context, column: ColumnHeader) -> list[str]:
    return [str(value) for value in context.column("obs", column.name).unused]


def _suggest(others: Sequence[str]) -> str:
    for color in others[:MAX_EXAMPLES]:
        if _SHORT_HEX.fullmatch(color):
            return f"Write {color!r} as {'#' + ''.join(digit * 2 for digit in color[1:])!r}."
        if _LONG_HEX.fullmatch(color):
            return f"Leave opacity out: {color!r} is {color[:7]!r}."
        if near := nearest(color.lower().replace(" ", ""), sorted(_NAMED)):
            return f"The CSS color nearest to {color!r} is {near!r}."
    return "Write all of them as codes: [matplotlib.colors.to_hex(color) for color in colors]."
