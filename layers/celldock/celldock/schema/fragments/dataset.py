"""The fragment file of one dataset, checked with the cells and the organism of the h5ad file that it lies beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from celldock.errors import InvalidSubmission
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import Header
from celldock.h5ad.source import ByteSource
from celldock.report import Finding
from celldock.schema.facts import Tables
from celldock.schema.fragments.checking import Cells, Limits, check_fragments
from celldock.schema.fragments.rules import FragmentRules, Genome, load_fragment_rules
from celldock.schema.loading import Schema
from celldock.schema.reference import Reference, open_reference
from celldock.schema.validation import stated_schema

_BLOCK_ROWS = 65_536
_NOT_READ = frozenset({"fragments.unreadable", "fragments.too_large"})


@dataclass(frozen=True, slots=True)
class FragmentsVerdict:
    """What was found in a fragment file; `checked` are the codes of the checks that ran to their end."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]


def validate_fragments(
    source: ByteSource,
    fragments: ByteSource,
    schema: Schema,
    *others: Schema,
    header: Header,
    scratch: Path,
    limits: Limits | None = None,
    passed_over: str = "",
) -> FragmentsVerdict:
    """Checks the fragment file `fragments` of the h5ad file `source`, by the version of the schema that it is in.

    `schema` and `others` are as in `celldock.schema.validate`; `header` comes from a plan, whose guard has let the file
    pass. `passed_over` names an older fragment file beside it, which was not looked at. `scratch` and `limits` are as
    in `check_fragments`. What is wrong with the h5ad file itself is not told here, but what keeps its cells from being
    read is. Memory: that of `check_fragments`, and a block of names. Raises what the sources raise.
    """
    try:
        schema, organism = _facts(source, header, schema, others)
        rules = load_fragment_rules(schema.version)
        if rules is None:
            return FragmentsVerdict((_not_taken(fragments, schema),), ())
        genome = _genome(rules, organism, open_reference(schema.version)) if organism else None
        cells = _cells(source, header)
        found = check_fragments(fragments, rules, genome=genome, cells=cells, scratch=scratch, limits=limits)
    except InvalidSubmission as error:
        return FragmentsVerdict((Finding.refusal(error, schema_url=schema.url),), ())
    was_read = _NOT_READ.isdisjoint(finding.code for finding in found)
    if passed_over:
        found.append(_two_files(fragments, rules, passed_over))
    return FragmentsVerdict(tuple(found), tuple(sorted(rules.sections)) if was_read else ())


def _facts(source: ByteSource, header: Header, schema: Schema, others: Sequence[Schema]) -> tuple[Schema, str]:
    """The schema by which the file is judged, and the term of its organism; "" where it says none."""
    with open_h5ad(source) as file:
        tables = Tables(file, header)
        schema = stated_schema(tables, others) or schema
        rules = load_fragment_rules(schema.version)
        found = tables.element_header(rules.organism) if rules else None
        value = tables.element(found.path) if found else None
    return schema, value if isinstance(value, str) else ""


def _genome(rules: FragmentRules, organism: str, reference: Reference) -> Genome | None:
    term = reference.term(organism)
    return rules.genome(organism, term.ancestors if term else ())


def _cells(source: ByteSource, header: Header) -> Cells:
    """The file is opened for each look at its cells, and not held open for as long as the fragments take."""
    frame = replace(header.obs, columns=())

    def blocks() -> Iterator[list[str]]:
        with open_h5ad(source) as file:
            for start, stop in iter_blocks(frame.length, _BLOCK_ROWS):
                yield file.index(frame, start, stop).tolist()

    def names(rows: Sequence[int]) -> list[str]:
        with open_h5ad(source) as file:
            return [str(file.index(frame, row, row + 1)[0]) for row in rows]

    return Cells(blocks, names)


def _not_taken(fragments: ByteSource, schema: Schema) -> Finding:
    return Finding(
        code="fragments.not_expected",
        severity="error",
        where=fragments.name,
        message=f"A fragment file lies beside the dataset, but version {schema.version} of the schema takes none.",
        suggestion="Delete the fragment file and submit the .h5ad file again.",
        schema_url=schema.url,
    )


def _two_files(fragments: ByteSource, rules: FragmentRules, passed_over: str) -> Finding:
    code = "fragments.two_files"
    return Finding(
        code=code,
        severity="warning",
        where=fragments.name,
        message=f"Two fragment files lie beside the dataset: {fragments.name} was taken as the newer one, and "
        f"{passed_over} was not looked at.",
        suggestion="Delete the one that is not meant; if it is the one that was taken, submit the .h5ad file again.",
        schema_url=f"{rules.url}#{rules.sections[code]}",
    )
