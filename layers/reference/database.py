"""The layout of a reference database, and how it is written. docs/reference-data.md describes the tables."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import batched, groupby
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

TABLES = """
create table meta(kind text, name text, value text not null, primary key(kind, name)) without rowid;
create table terms(first text primary key, block blob not null);
create table closures(number integer primary key, ancestors text not null);
create table searched(id text primary key) without rowid;
create table organisms(number integer primary key, id text not null);
create table biotypes(number integer primary key, name text not null);
create table genes(
    id text primary key, symbol text, shared integer not null, organism integer not null, biotype integer not null,
    length integer not null
) without rowid;
"""
TERMS_OF_A_BLOCK = 256


class Term(NamedTuple):
    """A term of an ontology, with all its ancestors."""

    id: str
    label: str
    obsolete: bool = False
    replaced_by: str | None = None
    ancestors: Collection[str] = ()


class Gene(NamedTuple):
    """A gene of the reference; `symbol` is the id where the gene has none."""

    id: str
    symbol: str
    organism: str
    biotype: str
    length: int


class Writer:
    """Writes one database in one `with` block. Of all ancestors that terms have, the `named` ones are kept."""

    def __init__(self, path: Path, named: Iterable[str]) -> None:
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._named = frozenset(named)
        self._closures: dict[str, int] = {}
        self._contents = hashlib.sha256()

    def __enter__(self) -> Self:
        self._database.executescript(f"pragma journal_mode=off; pragma synchronous=off; begin; {TABLES}")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self._database.execute("commit")
            self._database.execute("vacuum")
        self._database.close()

    def add_terms(self, terms: Mapping[str, Term], searched: Iterable[str] = ()) -> None:
        """Adds all terms of all ontologies, sorted and packed into blocks.

        Where `searched` names terms of an ontology, labels are looked for among these alone.
        """
        for _, ontology in groupby(sorted(terms), key=lambda name: name.replace("_", ":").partition(":")[0]):
            for names in batched(ontology, TERMS_OF_A_BLOCK, strict=False):
                text = "\n".join([*_shortened(names), *(self._fields(terms[name], terms) for name in names)]).encode()
                self._contents.update(text)
                self._insert("terms", [(names[0], zlib.compress(text, 9))])
        closures = [(number, ancestors) for ancestors, number in self._closures.items()]
        self._contents.update(repr(closures).encode())
        self._insert("closures", closures)
        self._insert("searched", ((name,) for name in sorted(searched)))

    def _fields(self, term: Term, terms: Mapping[str, Term]) -> str:
        """Label and closure; of an obsolete term also what replaces it, or nothing."""
        if "\t" in term.label or "\n" in term.label:
            raise ValueError(f"the label of {term.id} has a tab or a line break")
        named = " ".join(sorted(self._named.intersection(term.ancestors)))
        fields = [term.label, str(self._closures.setdefault(named, len(self._closures)))]
        if term.obsolete:
            fields.append(_replacement(term, terms))
        return "\t".join(fields)

    def add_genes(self, genes: Iterable[Gene]) -> None:
        """Adds all genes. A symbol that several genes of an organism have is marked as shared."""
        found = sorted(genes)
        holders = Counter((gene.organism, gene.symbol) for gene in found)
        organisms = {name: number for number, name in enumerate(sorted({gene.organism for gene in found}))}
        biotypes = {name: number for number, name in enumerate(sorted({gene.biotype for gene in found}))}
        self._insert("organisms", ((number, name) for name, number in organisms.items()))
        self._insert("biotypes", ((number, name) for name, number in biotypes.items()))
        rows = [
            (
                gene.id,
                None if gene.symbol == gene.id else gene.symbol,
                int(holders[gene.organism, gene.symbol] > 1),
                organisms[gene.organism],
                biotypes[gene.biotype],
                gene.length,
            )
            for gene in found
        ]
        for gene in found:
            self._contents.update(repr(tuple(gene)).encode())
        self._insert("genes", rows)

    def describe(
        self,
        schema_version: str,
        ontologies: Mapping[str, str],
        gene_sets: Iterable[Mapping[str, str]],
        sources: Mapping[str, str],
    ) -> None:
        """Says what the database holds, from where, and the SHA-256 over all its terms and genes."""
        rows = [("schema", "version", schema_version), ("contents", "sha256", self._contents.hexdigest())]
        rows += [("ontology", name, version) for name, version in ontologies.items()]
        rows += [("genes", gene_set["organism"], gene_set["version"]) for gene_set in gene_sets]
        rows += [("source", name, pin) for name, pin in sources.items()]
        self._insert("meta", sorted(rows))

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        columns = len(self._database.execute(f"select * from {table} limit 0").description)
        self._database.executemany(f"insert into {table} values ({', '.join('?' * columns)})", rows)


def _shortened(names: Iterable[str]) -> Iterator[str]:
    """Sorted ids, each as how many letters it shares with the one before ("0" none, "1" one, ":" ten), and the rest."""
    before = ""
    for name in names:
        pairs = enumerate(zip(before, name, strict=False))
        shared = next((at for at, (one, other) in pairs if one != other), min(len(before), len(name)))
        yield chr(ord("0") + shared) + name[shared:]
        before = name


def _replacement(term: Term, terms: Mapping[str, Term]) -> str:
    """The term in use that takes an obsolete one's place, also over several steps; empty if the database holds none."""
    passed: set[str] = set()
    while term.obsolete:
        passed.add(term.id)
        if term.replaced_by is None or term.replaced_by not in terms or term.replaced_by in passed:
            return ""
        term = terms[term.replaced_by]
    return term.id
