"""A starter config for a file: what the schema asks for, what the file has of it, and what may stand for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from celldock.curation.columns import stated_organism
from celldock.curation.config import Config, Curation
from celldock.curation.config import Genes as GenesConfig
from celldock.curation.dropping import frames_of
from celldock.curation.fields import ORGANISM, Place, SchemaField, SchemaFields, fields_of
from celldock.curation.genes import map_genes
from celldock.curation.ledger import CurationRefused, Ledger
from celldock.curation.mapping import texts_of
from celldock.curation.renaming import author_name
from celldock.curation.terms import UnresolvedError, resolve
from celldock.curation.written import commented, quoted
from celldock.errors import InvalidSubmission
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import ColumnHeader, Header
from celldock.scan import ScanResult
from celldock.scan.defects import DefectKind
from celldock.schema import Schema
from celldock.schema.facts import ColumnFacts, Tables, TooManyValuesError, Value
from celldock.schema.reference import Reference
from celldock.schema.rules.terms import named
from celldock.schema.words import ROWS

SCHEMA_FILE = "celldock-curation.schema.json"
_TEXTS = ("categorical", "string", "nullable-string")
_COUNTS = ("counts", "raw", "raw_counts", "count")
_MOST_VALUES = 200
"""Values of a column that are written out, each with a line of its own."""
_PROBED_VALUES = 4
_PROBED_COLUMNS = 12
_SHARE = 0.3
_TELLING = 4
"""Letters of a text that can be said to be like another."""
_NAME_COUNTS = 0.1
_PRIMARY = "is_primary_data"
_CELL_TYPE = "cell_type_ontology_term_id"
_TELLING_NAMES = ("celltype", "annot", "label", "cluster", "louvain", "leiden")
"""What columns of cell types, or of clusters that stand for them, are often called, the most telling first."""


def starter_config(
    file: H5adFile, header: Header, scan: ScanResult | None, schema: Schema, reference: Reference
) -> str:
    """A config in YAML with comments: it is to be filled in where it has `""`, and says all else as it is found.

    `scan` is what a scan of the values found; without it, names alone say where counts may be. What the config leaves
    open is for its reader to say: nothing is guessed but what a comment tells. Raises InvalidSubmission for what is
    damaged.
    """
    starter = _Starter(file, header, scan, schema, reference)
    return "".join(f"{line}\n" for line in starter.lines())


@dataclass(frozen=True, slots=True)
class _Genes:
    """Where the genes of a file are named: how many of var's are known, and of which organism they are."""

    names: str = "index"
    known: int = 0
    organism: str = ""
    are_ids: bool = False


class _Starter:
    """Writes the config of one file, section by section."""

    def __init__(
        self, file: H5adFile, header: Header, scan: ScanResult | None, schema: Schema, reference: Reference
    ) -> None:
        self._file = file
        self._header = header
        self._scan = scan
        self._schema = schema
        self._reference = reference
        self._fields: SchemaFields = fields_of(schema.version)
        self._tables = Tables(file, header)
        self._known: dict[str, Value] = {}
        self._stated = stated_organism(file, header, Curation(Config()), schema, reference) or ""
        self._genes = self._find_genes()
        if organism := self._stated or self._genes.organism:
            self._known |= {ORGANISM: organism, f"uns/{ORGANISM}": organism}

    def lines(self) -> Iterator[str]:
        """The config's lines."""
        cells, genes = ROWS["obs"].of(self._header.n_obs), ROWS["var"].of(self._header.n_vars)
        yield f"# yaml-language-server: $schema={SCHEMA_FILE}"
        yield f'# {cells} × {genes}. Fill in each "", and delete what you do not need; then run celldock curate.'
        yield "# A label (T cell) may stand for an id (CL:0000084). Original columns stay in the file."
        yield f"schema_version: {quoted(self._schema.version)}"
        yield "unmapped: error # values that a map does not have: error, keep or unknown"
        yield ""
        yield "uns:"
        yield from self._uns()
        yield ""
        yield "obs:"
        yield from self._obs()
        yield ""
        yield from self._of_genes()
        yield ""
        yield from self._matrices()
        yield from self._renamed()

    def _uns(self) -> Iterator[str]:
        for name, field in self._fields.known["uns"].items():
            if not field.required:
                continue
            if self._tables.element_header(f"uns/{name}") is not None:
                yield f"  # {name}: the file has it"
            elif name == "schema_version":
                continue
            elif name == ORGANISM and self._genes.organism:
                yield f"  {name}: {quoted(self._genes.organism)} # {self._why_organism()}"
            else:
                yield f'  {name}: "" # required'
        if self._header.obsm and self._tables.element_header("uns/default_embedding") is None:
            first = next((array.key for array in self._header.obsm if array.key.startswith("X_")), "")
            if first and "default_embedding" in self._fields.known["uns"]:
                yield f"  # default_embedding: {quoted(first)}"

    def _why_organism(self) -> str:
        label = commented(named(self._reference, self._genes.organism))
        if self._genes.are_ids:
            return f"of the genes' ids: {label}"
        return f"make sure: {label} has most of the genes' symbols, but organisms share many"

    def _obs(self) -> Iterator[str]:
        names = [column.name for column in self._header.obs.columns]
        yield f"  # Columns of obs: {commented(', '.join(names))}"
        required = [field for field in self._fields.known["obs"].values() if field.required]
        for field in required:
            if field.name in names:
                yield f"  # {field.name}: the file has it"
        missing = [field for field in required if field.name not in names]
        found = self._columns_of(missing)
        for field in missing:
            yield from self._field(field, found.get(field.name))

    def _field(self, field: SchemaField, column: ColumnHeader | None) -> Iterator[str]:
        """One field: a map of a column that seems to hold it, or one value for all cells that is to be filled in."""
        facts = self._facts(column) if column is not None else None
        if facts is not None and (field.has_terms or field.words or field.holds == "boolean"):
            yield f"  {field.name}: # of a column that may hold it: make sure, or write one value for all cells"
            yield f"    {quoted(facts.header.name)}:"
            for value, cells in list(facts.used.items()):
                yield self._mapped(field, texts_of(value, facts.header.dtype)[0], cells)
            if facts.missing:
                yield f"      # missing in {ROWS['obs'].of(facts.missing)}: see unmapped"
        elif column is not None:
            yield f"  {field.name}: {{column: {quoted(column.name)}}} # make sure that this is right"
        elif field.name == _PRIMARY:
            yield f"  {field.name}: true # false for cells that are in another dataset already"
        elif field.name == ORGANISM and self._genes.organism:
            yield f"  {field.name}: {quoted(self._genes.organism)} # {self._why_organism()}"
        else:
            yield f'  {field.name}: "" # required: {self._hint(field)}'

    def _mapped(self, field: SchemaField, text: str, cells: int) -> str:
        rows = ROWS["obs"].of(cells)
        key = f"      {quoted(text)}: "
        if field.holds == "boolean":
            word = text.strip().casefold()
            return f"{key}{word if word in ('true', 'false') else quoted('')} # {rows}"
        try:
            value = resolve(self._reference, field, text, self._known).value
        except UnresolvedError as error:
            # What is allowed in general would be the same in each line.
            near = "" if error.suggestion.startswith("Allowed") else error.suggestion
            return f'{key}"" # {rows}{". " if near else ""}{commented(near)}'
        label = commented(named(self._reference, value)) if field.has_terms else ""
        return f"{key}{quoted(value)} # {rows}{'. ' if label else ''}{label}"

    def _hint(self, field: SchemaField) -> str:
        if field.words:
            return commented(" or ".join(field.words))
        if field.has_terms:
            words = [word for word in ("unknown", "na") if field.allows_word(word)]
            return commented(f"a term of {' or '.join(field.ontologies)}{''.join(f' or {word}' for word in words)}")
        return "one value for all cells, or {column: NAME}"

    def _columns_of(self, missing: list[SchemaField]) -> dict[str, ColumnHeader]:
        """The column that each field may be made of: by what it holds, or else by its name."""
        columns = [column for column in self._header.obs.columns if column.kind != "unsupported"]
        texts = [column for column in columns if column.kind in _TEXTS][:_PROBED_COLUMNS]
        shares = [(self._share(field, column), field, column) for field in missing for column in texts]
        found: dict[str, ColumnHeader] = {}
        for share, field, column in sorted(shares, key=lambda each: -each[0]):
            if share > _SHARE and field.name not in found and column not in found.values():
                found[field.name] = column
        for field in missing:
            named_so = [each for each in columns if self._fields.meant("obs", each.name) == field.name]
            if field.name == _CELL_TYPE:
                named_so += [each for word in _TELLING_NAMES for each in texts if word in each.name.casefold()]
            free = [each for each in named_so if each not in found.values()]
            if free:
                found.setdefault(field.name, free[0])
        return found

    def _share(self, field: SchemaField, column: ColumnHeader) -> float:
        """How many of a column's most frequent values are terms of a field, from 0 to 1; one that is near counts half.

        A column that has the name of the field's labels is the first choice among equals.
        """
        facts = self._facts(column)
        if facts is None or not field.has_terms:
            return 0.0
        used = facts.used
        some = [str(value) for value in sorted(used, key=lambda value: -used[value])[:_PROBED_VALUES]]
        named_so = self._fields.meant("obs", column.name) == field.name
        return sum(self._fits(field, text) for text in some) / max(len(some), 1) + _NAME_COUNTS * named_so

    def _fits(self, field: SchemaField, text: str) -> float:
        if text in field.spelling.literals or len(text) < _TELLING:
            return 0.0
        if self._resolves(field, text):
            return 1.0
        # Only names of cell types are as free as that, and to look for others takes seconds.
        near = field.name == _CELL_TYPE and self._reference.nearest_labels(text, field.ontologies[:1])
        return 0.5 if near else 0.0

    def _facts(self, column: ColumnHeader) -> ColumnFacts | None:
        """The values of a column; None for one with more than are written out."""
        if column.categories is not None and column.categories > _MOST_VALUES:
            return None
        try:
            facts = self._tables.column(column, self._header.n_obs)
        except TooManyValuesError:
            return None
        return facts if len(facts.used) <= _MOST_VALUES else None

    def _find_genes(self) -> _Genes:
        """Where most of var's genes have names that are known: in the index, or in a column of text."""
        texts = [column.name for column in self._header.var.columns if column.kind in _TEXTS][:_PROBED_COLUMNS]
        best = _Genes()
        for names in ["index", *texts]:
            found = self._genes_in(names)
            if found.known > best.known:
                best = found
            if best.known * 2 > self._header.n_vars:
                break
        return best

    def _genes_in(self, names: str) -> _Genes:
        curation = Curation(Config(genes=GenesConfig(names=names, unknown="drop")))
        try:
            genes = map_genes(self._file, self._header, curation, self._reference, Ledger(), organism=self._stated)
        except (CurationRefused, InvalidSubmission):
            return _Genes(names)
        mapping = genes.mappings[self._header.var.path]
        place: Place = "uns" if ORGANISM in self._fields.known["uns"] else "obs"
        wanted = self._fields.known[place][ORGANISM]
        own = [each for each in genes.facts.organisms if self._resolves(wanted, each)]
        return _Genes(names, len(mapping.kept), own[0] if len(own) == 1 else "", mapping.names == mapping.ids)

    def _resolves(self, field: SchemaField, text: str) -> bool:
        try:
            resolve(self._reference, field, text, self._known)
        except UnresolvedError:
            return False
        return True

    def _of_genes(self) -> Iterator[str]:
        known, total = self._genes.known, ROWS["var"].of(self._header.n_vars)
        kind = "ids of the schema's annotations" if self._genes.are_ids else "symbols or other names, which become ids"
        yield f"# Of {total} {known:,} are known by {kind}."
        yield "genes:"
        yield f"  names: {quoted(self._genes.names)} # index, or a column of var"
        yield "  unknown: error # or drop: genes that the schema does not know"

    def _matrices(self) -> Iterator[str]:
        header = self._header
        matrices = [each for each in (header.x, header.raw_x, *header.layers) if each is not None]
        counts = [each.path for each in matrices if self._has_counts(each.path)]
        for each in matrices:
            whole = " whole numbers: counts, it seems" if each.path in counts else ""
            yield f"# {commented(_name(each.path))}: {each.encoding}, {each.dtype}{whole}"
        layer = next((path for path in counts if path.startswith("layers/")), "")
        if layer and header.raw_x is None and "X" not in counts:
            yield "matrices:"
            yield f"  raw.X: {quoted(_name(layer))}"
        else:
            yield "# matrices: # where a matrix is to come from, as in"
            yield "#   raw.X: layers.counts"

    def _has_counts(self, path: str) -> bool:
        """Whether a matrix holds counts, as far as that is known."""
        scan = self._scan.matrix(path) if self._scan is not None else None
        if scan is None:
            return path.rpartition("/")[2].casefold() in _COUNTS
        kinds = (DefectKind.NON_INTEGER, DefectKind.NEGATIVE, DefectKind.NAN)
        return bool(scan.nonzeros) and not any(scan.defects[kind].values for kind in kinds)

    def _renamed(self) -> Iterator[str]:
        """What the schema keeps the names of, which will be called otherwise."""
        for place, frame in frames_of(self._header):
            taken = {column.name for column in frame.columns}
            for name in [column.name for column in frame.columns if self._fields.is_reserved(place, column.name)]:
                yield f"# {place}.{commented(name)} will be called {commented(author_name(name, taken))}"


def _name(path: str) -> str:
    """A matrix as a config names it."""
    return path.replace("/", ".", 1)
