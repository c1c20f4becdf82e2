"""Ontology terms in obs: wrong ones, obsolete ones, those of another species, badly joined lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.parity.bases import Data, put
from tests.parity.mutations.registry import changes

ASSAY = "assay_ontology_term_id"
CELL_TYPE = "cell_type_ontology_term_id"
STAGE = "development_stage_ontology_term_id"
DISEASE = "disease_ontology_term_id"
ETHNICITY = "self_reported_ethnicity_ontology_term_id"
SEX = "sex_ontology_term_id"
TISSUE = "tissue_ontology_term_id"

# What is no term of any ontology: a typo, a label, another spelling, spaces, a word that is allowed elsewhere.
_UNKNOWN: Mapping[str, Sequence[str]] = {
    ASSAY: ("EFO:9999999", "10x 3' v3", "EFO_0009922", "efo:0009922", "EFO:0009922 ", "EFO:0010183 (sci-plex)", "na"),
    CELL_TYPE: ("CL:9999999", "T cell", "CL_0000084", "CL:84", " CL:0000084", "Unknown", "CL:0000084 || CL:0000066"),
    STAGE: ("HsapDv:9999999", "adult", "HsapDv:3", "Unknown", "HsapDv:0000003\n"),
    DISEASE: ("MONDO:9999999", "normal", "healthy", "unknown", "PATO:461", "MONDO:0004604 || normal"),
    ETHNICITY: ("HANCESTRO:9999999", "Greek", "European", "Unknown", "HANCESTRO:0580 || unknown"),
    SEX: ("PATO:9999999", "female", "F", "Unknown"),
    TISSUE: ("UBERON:9999999", "blood", "unknown", "UBERON:0000178 (organoid)", "CL:0000057 (cell culture)", "na"),
}
# Terms that exist and that the column does not take.
_NOT_ALLOWED: Mapping[str, Sequence[str]] = {
    ASSAY: ("EFO:0000001", "EFO:0002772", "EFO:0010183", "EFO:0010961", "CL:0000084", "EFO:0001702"),
    CELL_TYPE: ("CL:0000255", "CL:0000257", "CL:0000548", "EFO:0009922", "UBERON:0000178", "ZFA:0009166", "na"),
    STAGE: ("HsapDv:0000001", "HsapDv:0000000", "MmusDv:0000003", "UBERON:0000113", "na"),
    DISEASE: ("MONDO:0000001", "PATO:0000383", "CL:0000084", "PATO:0000461 || MONDO:0004604"),
    ETHNICITY: ("HANCESTRO:0601", "HANCESTRO:0602", "HANCESTRO:0004", "na", "CL:0000084"),
    SEX: ("PATO:0000461", "PATO:0001894", "PATO:0020000", "na", "CL:0000084"),
    TISSUE: ("UBERON:0001062", "CL:0000084", "CVCL_0001", "ZFA:0001262", "FBbt:00007337", "WBbt:0006750"),
}
_OBSOLETE: Mapping[str, Sequence[str]] = {
    ASSAY: ("EFO:0009310",),
    CELL_TYPE: ("CL:0000003", "CL:0000002"),
    STAGE: ("HsapDv:0000004", "HsapDv:0000080"),
    DISEASE: ("MONDO:0000002", "MONDO:0000003", "MONDO:0000010 || MONDO:0004604"),
    ETHNICITY: ("HANCESTRO:0029", "HANCESTRO:0003"),
    SEX: ("PATO:0000053",),
    TISSUE: ("UBERON:0000027", "UBERON:0000000"),
}
_ALLOWED: Mapping[str, Sequence[str]] = {
    ASSAY: ("EFO:0008931", "EFO:0008995", "EFO:0022604"),
    CELL_TYPE: ("unknown", "CL:0000000", "CL:4023077"),
    STAGE: ("unknown", "HsapDv:0000246", "HsapDv:0000264"),
    DISEASE: ("MONDO:0021178", "MONDO:0004604", "MONDO:0004604 || MONDO:0043004 || MONDO:0800349 || MONDO:1030008"),
    ETHNICITY: ("unknown", "HANCESTRO:0019", "AfPO:0000389", "AfPO:0000389 || HANCESTRO:0580"),
    SEX: ("unknown", "PATO:0001340", "PATO:0000384"),
    TISSUE: ("UBERON:0002048", "UBERON:0000922", "UBERON:0000955"),
}
_LISTS: Mapping[str, Sequence[str]] = {
    DISEASE: ("MONDO:0043004 || MONDO:0004604", "MONDO:0004604 || MONDO:0004604"),
    ETHNICITY: ("HANCESTRO:0590 || HANCESTRO:0580", "HANCESTRO:0580 || HANCESTRO:0580"),
}
# Lists that are no lists, since what stands between the terms is not ` || `.
_SEPARATORS: Mapping[str, Sequence[str]] = {
    DISEASE: (
        "MONDO:0004604,MONDO:0043004",
        "MONDO:0004604||MONDO:0043004",
        "MONDO:0004604 ||MONDO:0043004",
        "MONDO:0004604 || ",
    ),
    ETHNICITY: ("HANCESTRO:0580,HANCESTRO:0590", "HANCESTRO:0580 | HANCESTRO:0590", "HANCESTRO:0580;HANCESTRO:0590"),
}
_FAULTS = ("term_unknown", "term_not_allowed", "term_obsolete", "cell_line", "list")


def _register(name: str, column: str, values: Sequence[str], *faults: str, base: str = "human") -> None:
    codes = [f"obs.{column}.{fault}" for fault in faults]
    label = f"{name}-{column.removesuffix('_ontology_term_id')}"

    @changes(label, *codes, base=base, values=values)
    def _(data: Data, value: str) -> None:
        put(data, column, value, [0, 5] if column != ASSAY else slice(None))


for _column, _values in _UNKNOWN.items():
    _register("obs-term-unknown", _column, _values, *_FAULTS)
for _column, _values in _NOT_ALLOWED.items():
    _register("obs-term-not-allowed", _column, _values, *_FAULTS)
for _column, _values in _OBSOLETE.items():
    _register("obs-term-obsolete", _column, _values, "term_obsolete")
for _column, _values in _ALLOWED.items():
    _register("obs-term-allowed", _column, _values)
for _column, _values in _LISTS.items():
    _register("obs-list-order", _column, _values, "list")
for _column, _values in _SEPARATORS.items():
    _register("obs-list-separator", _column, _values, *_FAULTS)

# Each species with the terms of its own, and of others: (base, column, allowed, not allowed).
_SPECIES: Sequence[tuple[str, str, Sequence[str], Sequence[str]]] = (
    ("mouse", STAGE, ("unknown", "MmusDv:0000110"), ("MmusDv:0000001", "HsapDv:0000003", "UBERON:0000113")),
    ("mouse", ETHNICITY, (), ("unknown", "HANCESTRO:0019")),
    ("mouse", CELL_TYPE, ("CL:0000066",), ("ZFA:0009166", "FBbt:00049192", "WBbt:0008611")),
    (
        "zebrafish",
        STAGE,
        ("unknown",),
        ("ZFS:0000000", "ZFS:0100000", "ZFA:0000001", "HsapDv:0000003", "UBERON:0000113"),
    ),
    ("zebrafish", CELL_TYPE, ("CL:0000066", "unknown"), ("ZFA:0009000", "ZFA:0001262", "FBbt:00049192", "na")),
    (
        "zebrafish",
        TISSUE,
        ("UBERON:0000178",),
        ("ZFA:0100000", "ZFA:0001093", "ZFA:0009000", "ZFA:0009166", "FBbt:00007337"),
    ),
    ("fruit_fly", STAGE, ("unknown",), ("FBdv:00007012", "FBdv:00005259", "FBdv:00007014", "HsapDv:0000003")),
    ("fruit_fly", CELL_TYPE, ("CL:0000066",), ("FBbt:00007002", "FBbt:00007001", "WBbt:0008611")),
    ("fruit_fly", TISSUE, ("UBERON:0000178",), ("FBbt:10000000", "FBbt:00007002", "FBbt:00007294", "WBbt:0006750")),
    (
        "roundworm",
        STAGE,
        ("unknown", "WBls:0000669"),
        ("WBls:0000803", "WBls:0000804", "WBls:0000001", "HsapDv:0000003"),
    ),
    ("roundworm", CELL_TYPE, ("CL:0000066",), ("WBbt:0004017", "WBbt:0006803", "WBbt:0000100", "ZFA:0009166")),
    ("roundworm", SEX, ("PATO:0001340", "unknown"), ("PATO:0000383", "na")),
    (
        "roundworm",
        TISSUE,
        ("UBERON:0000178",),
        (
            "WBbt:0005766",
            "WBbt:0007849",
            "WBbt:0007850",
            "WBbt:0008595",
            "WBbt:0004017",
            "WBbt:0006803",
            "WBbt:0002702",
        ),
    ),
    (
        "macaque",
        STAGE,
        ("unknown", "UBERON:0000066"),
        ("UBERON:0000105", "UBERON:0000071", "HsapDv:0000003", "MmusDv:0000003"),
    ),
    ("macaque", ETHNICITY, (), ("unknown", "HANCESTRO:0019")),
    (
        "culture",
        TISSUE,
        ("CL:0000066", "CL:0000000", "unknown"),
        ("UBERON:0000178", "CL:0000255", "CVCL_0001", "na", "ZFA:0009166"),
    ),
    ("organoid", TISSUE, ("UBERON:0014374",), ("UBERON:0000922", "CL:0000057", "UBERON:0001062")),
    ("cell_line", TISSUE, ("CVCL_0002",), ("CVCL:0001", "CVCL_ZZZZZ", "UBERON:0000178", "na", "unknown")),
    ("cell_line", STAGE, (), ("unknown", "HsapDv:0000003")),
    ("cell_line", SEX, (), ("unknown", "PATO:0000383")),
    ("cell_line", ETHNICITY, (), ("unknown", "HANCESTRO:0019")),
    ("visium", CELL_TYPE, (), ("CL:0000084", "na")),
)
for _base, _column, _allowed, _refused in _SPECIES:
    if _allowed:
        _register(f"{_base}-term-allowed", _column, _allowed, base=_base)
    _register(f"{_base}-term-refused", _column, _refused, *_FAULTS, "off_tissue", base=_base)


@changes("obs-cell-type-na-for-some", f"obs.{CELL_TYPE}.cell_line", base="cell_line", values=("CL:0000084", "unknown"))
def _na_for_some(data: Data, value: str) -> None:
    put(data, CELL_TYPE, value, [1])


@changes("obs-cell-line-without-na", base="cell_line", values=("CL:0000084", "unknown"))
def _no_na(data: Data, value: str) -> None:
    put(data, CELL_TYPE, value, slice(data.n_obs // 2))


@changes("obs-assays-several", values=("EFO:0008931", "EFO:0009899"))
def _assays(data: Data, value: str) -> None:
    put(data, ASSAY, value, [3])


@changes(
    "obs-assays-mixed-with-spatial", f"obs.{ASSAY}.mixed", base=("slide_seq", "visium_joined"), values=("EFO:0008994",)
)
def _mixed(data: Data, value: str) -> None:
    put(data, ASSAY, value, [3])


@changes("obs-organism-strain", base="mouse", values=("NCBITaxon:35531", "NCBITaxon:10091"))
def _strain(data: Data, value: str) -> None:
    data.uns["organism_ontology_term_id"] = value
