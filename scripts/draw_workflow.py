"""Draws the workflow from its definition, so that the picture cannot drift from what runs.

Rewrites what stands between `<!-- workflow:diagram -->` or `<!-- workflow:states -->` and its closing
`<!-- /workflow:… -->` in README.md and docs/*.md. With `--check` it changes nothing and fails where a page is stale.

    python scripts/draw_workflow.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEFINITION = Path("statemachine/ingest.asl.json")

_BLOCK = re.compile(r"(<!-- workflow:(?P<kind>\w+) -->\n).*?(<!-- /workflow:(?P=kind) -->)", re.DOTALL)
_SHAPES = {
    "Task": '["{}"]',
    "Pass": '[/"{}"/]',
    "Choice": '{{"{}"}}',
    "Succeed": '(["{}"])',
    "Fail": '[["{}"]]',
}


def draw_diagram(definition: dict[str, Any]) -> str:
    """The machine as a mermaid flowchart: solid arrows are the way on, dotted ones are caught errors."""
    return "\n".join(["```mermaid", "flowchart TD", *_draw_states(definition, "    "), "```"])


def list_states(definition: dict[str, Any]) -> str:
    """The machine as a Markdown table: each state, what runs it and what it does, by its own Comment."""
    rows = ["| state | by | does |", "|---|---|---|"]
    for name, state, depth in walk(definition):
        rows.append(f"| {'⤷ ' * depth}{name} | {_resource(state)} | {state['Comment']} |")
    return "\n".join(rows)


def walk(machine: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Each state with its name and depth, those inside a Map directly after it."""
    for name, state in machine["States"].items():
        yield name, state, depth
        if "ItemProcessor" in state:
            yield from walk(state["ItemProcessor"], depth + 1)


def render(page: str, definition: dict[str, Any]) -> str:
    """The page with all of its blocks drawn anew."""
    blocks = {"diagram": draw_diagram, "states": list_states}
    return _BLOCK.sub(lambda block: f"{block[1]}{blocks[block['kind']](definition)}\n{block[3]}", page)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if every page is (now) current, 1 if `--check` found a stale one or no page has a block."""
    parser = argparse.ArgumentParser(description="Draw the workflow into the pages that show it.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is stale")
    check = parser.parse_args(arguments).check
    definition = json.loads((ROOT / DEFINITION).read_text())
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    pages = [document for document in documents if _BLOCK.search(document.read_text())]
    if not pages:
        print("no page shows the workflow", file=sys.stderr)
        return 1
    stale = [page for page in pages if render(page.read_text(), definition) != page.read_text()]
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'stale: run scripts/draw_workflow.py' if check else 'redrawn'}")
        if not check:
            page.write_text(render(page.read_text(), definition))
    return 1 if check and stale else 0


def _draw_states(machine: dict[str, Any], indent: str) -> Iterator[str]:
    for name, state in machine["States"].items():
        if state["Type"] == "Map":
            yield f'{indent}subgraph {_id(name)}["{name}"]'
            yield from _draw_states(state["ItemProcessor"], indent + "    ")
            yield f"{indent}end"
        else:
            yield f"{indent}{_id(name)}{_SHAPES[state['Type']].format(name)}"
    for name, state in machine["States"].items():
        for arrow, target in _arrows(state):
            yield f"{indent}{_id(name)} {arrow} {_id(target)}"


def _arrows(state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Next" in state:
        yield "-->", state["Next"]
    for choice in state.get("Choices", []):
        yield "-- yes -->", choice["Next"]
    if "Default" in state:
        yield "-- no -->", state["Default"]
    for target in dict.fromkeys(catcher["Next"] for catcher in state.get("Catch", [])):
        yield "-.->", target


def _resource(state: dict[str, Any]) -> str:
    if state["Type"] == "Map":
        return "Distributed Map" if state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED" else "Map"
    if state["Type"] != "Task":
        return state["Type"]
    function = state["Parameters"].get("FunctionName")
    if function is None:
        service, action = state["Resource"].split(":")[-2:]
        return f"{service}:{action}"
    return f"`{function.removeprefix('${').removesuffix('Function}').lower()}`"


def _id(name: str) -> str:
    # The prefix keeps a name apart from mermaid's keywords, the suffix `Publish?` apart from `Publish`.
    return "s" + name.replace("?", "_choice")


if __name__ == "__main__":
    sys.exit(main())
