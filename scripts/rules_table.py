"""Writes down which rule checks which requirement of the schema, and what both validators disagree about.

Rewrites docs/schema-rules.md from `schema/requirements/*.json`, the rules that each version applies, and the messages
in tests/parity/examples.json; and the table in docs/schema-parity.md from tests/parity/decided.json. With `--check` it
changes nothing and fails where a page is stale.

    python scripts/rules_table.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from celldock.schema import Schema, load_schema, schema_versions

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "layers" / "celldock" / "celldock" / "schema" / "requirements"
EXAMPLES = ROOT / "tests" / "parity" / "examples.json"
DECIDED = ROOT / "tests" / "parity" / "decided.json"
RULES_PAGE = Path("docs/schema-rules.md")
PARITY_PAGE = Path("docs/schema-parity.md")
BEYOND = "Beyond the text"
"""The group of what celldock checks besides the requirements of the schema's text."""

_BLOCK = re.compile(r"(<!-- decisions -->\n).*?(<!-- /decisions -->)", re.DOTALL)
_INTRODUCTION = """# Requirements and rules

Every requirement of the schema, version by version: the code of the findings that check it, what `cellxgene-schema`
does about it, and one finding as a submitter reads it. Where no software can check a requirement, the reason stands in
its place. Codes that end in *(warning)* leave a file valid.

This page is written by `scripts/rules_table.py`, from `schema/requirements/` and the rules that each version applies,
`schema/versions/`, both below `layers/celldock/celldock/`.
"""

type Peer = Literal["checked", "partly", "warning", "unchecked"]


class Requirement(BaseModel):
    """One requirement of the schema, in a sentence of our own.

    Attributes:
        id: a few words with dashes, unique in its version.
        section: the anchor of the section that asks for it.
        peer: what cellxgene-schema does: checks it, checks it in part, only warns, or nothing.
        codes: of the findings that check it.
        outside: codes that no rule of the version has: of files that are refused before, and of fragment files.
        reason: why no software can check it, where there are no codes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    requirement: str
    section: str
    peer: Peer
    codes: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    reason: str = ""


class Group(BaseModel):
    """The requirements of one part of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    requirements: tuple[Requirement, ...]


class Requirements(BaseModel):
    """All requirements of one version of the schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    groups: tuple[Group, ...]

    def of_the_text(self) -> list[Requirement]:
        """Those that the schema's text makes."""
        return [each for group in self.groups if group.title != BEYOND for each in group.requirements]

    def all(self) -> list[Requirement]:
        """Those, and what celldock checks besides."""
        return [each for group in self.groups for each in group.requirements]


def load_requirements(version: str) -> Requirements:
    """The requirements of a version; raises FileNotFoundError."""
    return Requirements.model_validate_json((REQUIREMENTS / f"{version}.json").read_bytes())


def render_rules() -> str:
    """The page of requirements and rules."""
    kept = json.loads(EXAMPLES.read_bytes())
    pages = [
        _render_version(version, {code: example["message"] for code, example in kept[version].items()})
        for version in reversed(schema_versions())
    ]
    return "\n".join([_INTRODUCTION, *pages])


def render_decisions(page: str) -> str:
    """The page on parity, with its table drawn anew."""
    decisions = json.loads(DECIDED.read_bytes())["decisions"]
    heading = ["| celldock | version | the schema says | so |", "|---|---|---|---|"]
    table = "\n".join([*heading, *map(_decision_row, decisions)])
    return _BLOCK.sub(lambda block: f"{block[1]}{table}\n{block[2]}", page)


def _decision_row(decision: Mapping[str, Any]) -> str:
    versions = decision.get("versions", ["7.1.0"])
    url = load_schema(versions[0]).url
    sentence = f"“{decision['sentence']}” ([text]({url}#{decision['section']}))"
    codes = " ".join(f"`{code}`" for code in decision.get("codes", ()))
    return _row(decision["celldock"], ", ".join(versions), sentence, f"{decision['why']} {codes}".strip())


def _render_version(version: str, examples: Mapping[str, str]) -> str:
    requirements, schema = load_requirements(version), load_schema(version)
    asked = requirements.of_the_text()
    unchecked = sum(bool(each.reason) for each in asked)
    lines = [f"## Schema {version}", "", f"{len(asked)} requirements; {unchecked} that no software can check.", ""]
    for group in requirements.groups:
        lines += [
            f"### {group.title}",
            "",
            "| requirement | codes | cellxgene-schema | an example |",
            "|---|---|---|---|",
        ]
        lines += [_requirement_row(each, schema, examples) for each in group.requirements]
        lines.append("")
    return "\n".join(lines)


def _requirement_row(requirement: Requirement, schema: Schema, examples: Mapping[str, str]) -> str:
    warnings = {applied.code for applied in schema.rules if applied.severity == "warning"}
    codes = [f"`{code}`{' *(warning)*' if code in warnings else ''}" for code in requirement.codes]
    codes += [f"`{code}`" for code in requirement.outside]
    example = next((examples[code] for code in requirement.codes if code in examples), "")
    text = f"[{requirement.requirement}]({schema.url}#{requirement.section})"
    return _row(text, "<br>".join(codes) or f"*{requirement.reason}*", requirement.peer, example)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;').replace('\n', ' ') for cell in cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if both pages are now current, 1 if `--check` found a stale one."""
    parser = argparse.ArgumentParser(description="Writes docs/schema-rules.md and the table of docs/schema-parity.md")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is stale")
    options = parser.parse_args(arguments)
    parity = (ROOT / PARITY_PAGE).read_text(encoding="utf-8")
    stale = 0
    for page, text in ((RULES_PAGE, render_rules()), (PARITY_PAGE, render_decisions(parity))):
        path = ROOT / page
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            print(f"{page} is stale: run scripts/rules_table.py", file=sys.stderr)
            stale = 1
        else:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
