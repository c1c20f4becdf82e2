"""A small figure of line charts, side by side, as SVG: logarithmic x, linear y from zero."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 64, 34, 40  # margins of a panel
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito's: told apart by all eyes
_INK, _GRID = "#333", "#ddd"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: `lines` are (x, y) points by name, `x` ascending; all panels of a figure give a name one colour."""

    title: str
    x_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def draw(panels: Sequence[Panel]) -> str:
    """The SVG document."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    width = _WIDTH * len(panels)
    body = [
        f'<g transform="translate({_WIDTH * index} 0)">\n' + "\n".join(_panel(panel, colours)) + "\n</g>"
        for index, panel in enumerate(panels)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}"'
            f' height="{_HEIGHT}" font-family="sans-serif" font-size="11" fill="{_INK}">',
            f'<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, colours: Mapping[str, str]) -> Iterator[str]:
    points = [point for line in panel.lines.values() for point in line]
    low, high = math.log10(min(x for x, _ in points)), math.log10(max(x for x, _ in points))
    step = _step(max(y for _, y in points))
    top = math.ceil(max(y for _, y in points) / step) * step
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - low) / ((high - low) or 1)
        return round(_LEFT + along * (right - _LEFT), 1), round(bottom - y / top * (bottom - _TOP), 1)

    yield _text(_LEFT, 18, panel.title, "start", weight="bold")
    for mark in range(round(top / step) + 1):
        _, y = place(10**low, mark * step)
        yield f'<path d="M{_LEFT} {y}H{right}" stroke="{_GRID}"/>'
        yield _text(_LEFT - 6, y + 4, f"{mark * step:,g}", "end")
    for x in sorted({x for x, _ in points}):
        yield _text(place(x, 0)[0], bottom + 16, f"{x:,.0f}", "middle")
    yield _text((_LEFT + right) / 2, bottom + 32, panel.x_label, "middle")
    for name, line in panel.lines.items():
        places = [place(*point) for point in line]
        path = "L".join(f"{x} {y}" for x, y in places)
        yield f'<path d="M{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        yield from (f'<circle cx="{x}" cy="{y}" r="3" fill="{colours[name]}"/>' for x, y in places)
    yield from _labels({name: place(*line[-1]) for name, line in panel.lines.items()}, colours)


def _labels(ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> Iterator[str]:
    """Each line's name at its end, moved up where it would cover another."""
    free = math.inf
    for name, (x, y) in sorted(ends.items(), key=lambda item: -item[1][1]):
        free = min(y, free)
        yield _text(x + 8, free + 4, name, "start", colour=colours[name])
        free -= 13


def _step(highest: float) -> float:
    """A round distance between marks, of which the highest value needs three to six."""
    power = 10 ** math.floor(math.log10(highest))
    return next(power * part for part in (0.2, 0.5, 1, 2) if highest / (power * part) <= 6)


def _text(x: float, y: float, words: str, anchor: str, *, weight: str = "normal", colour: str = _INK) -> str:
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" fill="{colour}">{escape(words)}</text>'
