"""One reference database: terms of ontologies and genes, read from SQLite as they are asked for.

The file is opened read-only where it lies, and little more than what was looked up is held in memory. How it is made,
and what is in it: docs/reference-data.md.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import batched
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from celldock.errors import ServiceFault
from celldock.schema.reference.nearest import FEW, Labels

_LONGEST_ID = 64
_LONGEST_LABEL = 2_000
_GENES_AT_ONCE = 5_000
_NOTHING_SHARED = "0"


@dataclass(frozen=True, slots=True)
class Term:
    """A term of an ontology.

    Attributes:
        id: `CL:0000540`, `CVCL_0030`.
        label: empty for some obsolete terms.
        obsolete: whether the ontology has given it up.
        replaced_by: the term in use that takes an obsolete one's place; None where the ontologies name none.
        ancestors: those that rules name, at any distance; the term itself is not among them.
    """

    id: str
    label: str
    obsolete: bool
    replaced_by: str | None
    ancestors: frozenset[str]


class Gene(NamedTuple):
    """A gene of an organism's gene set; a tuple, because files have tens of thousands.

    Attributes:
        id: without version, `ENSG00000141510`.
        symbol: the id, where the gene has none.
        organism: `NCBITaxon:9606`.
        biotype: `protein_coding`; in schema 2.0.0 `gene` or `spike-in`.
        length: in bases.
        symbol_shared: whether other genes of the organism have the same symbol.
    """

    id: str
    symbol: str
    organism: str
    biotype: str
    length: int | None
    symbol_shared: bool


class Reference:
    """The ontologies and genes of one schema version, in the file at `path`. Threads may share it.

    Attributes:
        schema_version: `7.1.0`.
        versions: ontology, or organism of a gene set → version.
        sources: the packages that they were taken from → version and hash.
        digest: SHA-256 over all terms and genes, in hexadecimal.

    Raises:
        ServiceFault: there is no such file, or it is no reference database.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ServiceFault(
                f"the reference data are missing: there is no {path}",
                code="reference.missing",
                where=str(path),
                hint="Build them: make setup",
            )
        try:
            # Immutable: whatever mounts it read-only leaves no room for locks, and nobody writes it.
            uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
            self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            meta = self._database.execute("select kind, name, value from meta").fetchall()
            closures = self._database.execute("select number, ancestors from closures").fetchall()
            self._organisms = dict[int, str](self._database.execute("select number, id from organisms"))
            self._biotypes = dict[int, str](self._database.execute("select number, name from biotypes"))
        except sqlite3.Error as error:
            raise ServiceFault(
                f"{path} is no reference database: {error}", code="reference.unreadable", where=str(path)
            ) from error
        about: dict[str, dict[str, str]] = {kind: {} for kind in ("schema", "contents", "ontology", "genes", "source")}
        for kind, name, value in meta:
            about[kind][name] = value
        self.schema_version = about["schema"]["version"]
        self.digest = about["contents"]["sha256"]
        self.versions: Mapping[str, str] = MappingProxyType(about["ontology"] | about["genes"])
        self.sources: Mapping[str, str] = MappingProxyType(about["source"])
        self._gene_sets = {organism: number for number, organism in self._organisms.items()}
        self._closures = {number: frozenset(str(ancestors).split()) for number, ancestors in closures}
        self._block = lru_cache(maxsize=64)(self._read_block)
        self._term = lru_cache(maxsize=1 << 14)(self._read_term)
        # A file's genes are asked for by several rules and labels, and those of raw.var are often those of var.
        self._genes = lru_cache(maxsize=12)(self._read_genes)
        self._labels = lru_cache(maxsize=16)(self._read_labels)
        self._symbols = lru_cache(maxsize=4)(self._read_symbols)

    def term(self, id_: str) -> Term | None:
        """The term of exactly that id; None if there is none."""
        return self._term(id_) if _may_exist(id_, _LONGEST_ID) else None

    def terms(self, ids: Iterable[str]) -> dict[str, Term]:
        """Those of the terms that there are, by id."""
        return {id_: term for id_ in ids if (term := self.term(id_)) is not None}

    def find_label(self, label: str, ontologies: Sequence[str]) -> list[Term]:
        """The terms of that label, ignoring case, in any of the ontologies: `CL`, `uniprot`, `CVCL`, as ids begin.

        Terms in use come first, then in the order of the ontologies.
        """
        if not _may_exist(label, _LONGEST_LABEL):
            return []
        found = [term for ontology in ontologies for term in self._labelled(ontology, label.casefold())]
        return sorted(found, key=lambda term: term.obsolete)

    def nearest_labels(self, label: str, ontologies: Sequence[str]) -> list[Term]:
        """A few terms in use whose labels are much like `label`, best first."""
        if not _may_exist(label, _LONGEST_LABEL):
            return []
        close = [found for ontology in ontologies for found in self._labels(ontology).nearest(label)]
        close.sort(key=lambda found: -found[0])
        return list(self.terms(id_ for _, id_ in close[:FEW]).values())

    def gene(self, id_: str) -> Gene | None:
        """The gene of exactly that id; None if no organism has one."""
        return self.genes([id_]).get(id_)

    def genes(self, ids: Iterable[str]) -> dict[str, Gene]:
        """Those of the genes that there are, by id."""
        found: dict[str, Gene] = {}
        for some in batched((id_ for id_ in ids if _may_exist(id_, _LONGEST_ID)), _GENES_AT_ONCE, strict=False):
            found |= self._genes(some)
        return found

    def find_symbol(self, symbol: str, organism: str) -> list[Gene]:
        """The organism's genes of that symbol, ignoring case; those written exactly so come first."""
        if not self.has_genes_of(organism):
            return []
        found = self.genes(self._symbols(organism).get(symbol.casefold(), ()))
        return sorted(found.values(), key=lambda gene: (gene.symbol != symbol, gene.id))

    def has_genes_of(self, organism: str) -> bool:
        """Whether there is a gene set of that organism (`NCBITaxon:9606`)."""
        return organism in self._gene_sets

    def _read_term(self, id_: str) -> Term | None:
        fields = self._fields(id_)
        return None if fields is None else self._parse(id_, fields)

    def _fields(self, id_: str) -> str | None:
        (first,) = self._database.execute("select max(first) from terms where first <= ?", (id_,)).fetchone()
        return None if first is None else self._block(first).get(id_)

    def _read_genes(self, ids: tuple[str, ...]) -> dict[str, Gene]:
        found: dict[str, Gene] = {}
        wanted = f"select * from genes where id in ({', '.join('?' * len(ids))})"
        for id_, symbol, shared, organism, biotype, length in self._database.execute(wanted, ids):
            named = self._organisms[organism], self._biotypes[biotype]
            found[id_] = Gene(id_, symbol or id_, *named, length, shared == 1)
        return found

    def _read_block(self, first: str) -> dict[str, str]:
        (block,) = self._database.execute("select block from terms where first = ?", (first,)).fetchone()
        return dict(_unpack(_text(block)))

    def _parse(self, id_: str, fields: str) -> Term:
        label, closure, *obsolete = fields.split("\t")
        return Term(
            id_, label, bool(obsolete), (obsolete[0] or None) if obsolete else None, self._closures[int(closure)]
        )

    def _labelled(self, ontology: str, label: str) -> Iterator[Term]:
        for text in self._texts(ontology):
            if f"\n{label}\t" in text.casefold():
                for id_, fields in _unpack(text):
                    if fields.partition("\t")[0].casefold() == label:
                        yield self._parse(id_, fields)

    def _read_labels(self, ontology: str) -> Labels:
        terms = ((id_, fields.split("\t")) for text in self._texts(ontology) for id_, fields in _unpack(text))
        return Labels([(id_, fields[0]) for id_, fields in terms if len(fields) == 2])

    def _texts(self, ontology: str) -> Iterator[str]:
        """The blocks in which labels of an ontology are looked for: all of them, or one of its common terms."""
        separator = "_" if ontology == "CVCL" else ":"
        bounds = (ontology + separator, ontology + chr(ord(separator) + 1))
        common = self._database.execute("select id from searched where id > ? and id < ?", bounds).fetchall()
        if common:
            fields = {id_: self._fields(id_) or "" for (id_,) in common}
            yield "\n".join([*(_NOTHING_SHARED + id_ for id_ in fields), *fields.values()])
            return
        for (block,) in self._database.execute("select block from terms where first > ? and first < ?", bounds):
            yield _text(block)

    def _read_symbols(self, organism: str) -> dict[str, list[str]]:
        """The ids of an organism's genes by symbol, without case."""
        symbols: dict[str, list[str]] = {}
        for id_, symbol in self._database.execute(
            "select id, symbol from genes where organism = ? and symbol is not null", (self._gene_sets[organism],)
        ):
            symbols.setdefault(symbol.casefold(), []).append(id_)
        return symbols


def _text(block: bytes) -> str:
    """A block of terms: a line for each id, then a line for each one's other fields."""
    return zlib.decompress(block).decode()


def _unpack(text: str) -> Iterator[tuple[str, str]]:
    """Ids and their fields. An id's first letter says how many letters it shares with the one before."""
    lines = text.split("\n")
    count = len(lines) // 2
    id_ = ""
    for short, fields in zip(lines[:count], lines[count:], strict=True):
        id_ = id_[: ord(short[0]) - ord(_NOTHING_SHARED)] + short[1:]
        yield id_, fields


def _may_exist(text: str, longest: int) -> bool:
    """Whether the database can hold `text`: neither too long nor with tabs, line breaks or lone surrogates."""
    if not 0 < len(text) <= longest or "\t" in text or "\n" in text:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
