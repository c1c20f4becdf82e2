"""What each function of the last build unzips to, with its layers, against Lambda's limit; as a Markdown table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".aws-sam" / "build"
# 250 MiB, function and layers together, unzipped: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LIMIT = 262_144_000


@dataclass(frozen=True, slots=True)
class Load:
    """What one function carries: bytes on disk of its own code and of each of its layers, by logical id."""

    function: str
    code: int
    layers: Mapping[str, int]

    @property
    def total(self) -> int:
        """Code and layers together."""
        return self.code + sum(self.layers.values())


@dataclass(frozen=True, slots=True)
class Built:
    """A `sam build`: the folder of each layer by logical id, and what each function carries, heaviest first."""

    layers: Mapping[str, Path]
    loads: tuple[Load, ...]


def built(folder: Path) -> Built:
    """Reads a `sam build` back from its template.

    Raises:
        ValueError: something that the template names is not in the build.
    """
    template = yaml_parse((folder / "template.yaml").read_text())
    resources: dict[str, Any] = template["Resources"]
    shared = template.get("Globals", {}).get("Function", {}).get("Layers", [])
    layers = {
        name: folder / resource["Properties"]["ContentUri"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::LayerVersion"
    }
    sizes = {name: _bytes(path) for name, path in layers.items()}
    loads: list[Load] = []
    for name, resource in resources.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        carried = [reference["Ref"] for reference in shared + resource["Properties"].get("Layers", [])]
        if unknown := [layer for layer in carried if layer not in layers]:
            raise ValueError(f"{name} names layers that the build does not hold: {', '.join(unknown)}")
        code = _bytes(folder / resource["Properties"]["CodeUri"])
        loads.append(Load(name, code, {layer: sizes[layer] for layer in carried}))
    # Not by the total: a changed line of code must not reorder the table.
    return Built(layers, tuple(sorted(loads, key=lambda load: (-sum(load.layers.values()), load.function))))


def table(found: Sequence[Load]) -> str:
    """A Markdown table: one row a function, one column a layer, in MB (10⁶ bytes)."""
    layers = sorted({layer for load in found for layer in load.layers})
    rows = [["function", "code", *layers, "sum", "of the limit"]]
    for load in found:
        carried = [_megabytes(load.layers[layer]) if layer in load.layers else "" for layer in layers]
        share = f"{load.total / LIMIT:.0%}"
        rows.append([load.function, _megabytes(load.code), *carried, _megabytes(load.total), share])
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_row(row, widths) for row in (rows[0], rule, *rows[1:]))


def _row(cells: list[str], widths: list[int]) -> str:
    first, *rest = cells
    padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    return f"| {' | '.join(padded)} |"


def _bytes(tree: Path) -> int:
    if not tree.is_dir():
        raise ValueError(f"{tree} is not built")
    return sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def main() -> None:
    found = built(BUILD).loads
    print(table(found))
    if heavy := [load.function for load in found if load.total > LIMIT]:
        sys.exit(f"over Lambda's limit of {LIMIT:,} bytes: {', '.join(heavy)}")


if __name__ == "__main__":
    main()
