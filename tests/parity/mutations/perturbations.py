"""Genetic perturbations and experimental conditions, in obs and uns."""

from __future__ import annotations

from typing import Any

from tests.parity.bases import Data, put
from tests.parity.mutations.registry import changes

CONDITION = "experimental_condition_ontology_term_id"
GUIDE = "genetic_perturbation_id"
STRATEGY = "genetic_perturbation_strategy"
GUIDES = "genetic_perturbations"
_FAULTS = [f"obs.{CONDITION}.{fault}" for fault in ("term_unknown", "term_obsolete", "term_not_allowed", "list")]
_BAD_CONDITIONS = (
    "CHEBI:9999999999",
    "CHEBI:24431",
    "CHEBI:23367",
    "CHEBI:36342",
    "CHEBI:50906",
    "CHEBI:1",
    "EFO:0009922",
    "uniprot:XXXXXX",
    "UniProt:P05112",
    "anti-CHEBI:16412",
    "anti-EFO:0001702",
    "aspirin",
    "unknown",
    "EFO:0001702 || CHEBI:16412",
    "CHEBI:16412 || CHEBI:16412",
    "CHEBI:16412 || na",
    "CHEBI:16412,EFO:0001702",
)
_CONDITIONS = (
    "CHEBI:41774",
    "EFO:0001702",
    "EFO:0002755",
    "EFO:0002757",
    "EFO:0002756",
    "uniprot:P08575",
    "anti-uniprot:P08575",
    "CHEBI:16412 || CHEBI:41774 || EFO:0001702 || EFO:0002757 || anti-uniprot:Q99467 || uniprot:P05112",
)


@changes("condition-refused", *_FAULTS, base="perturbed", values=_BAD_CONDITIONS)
def _condition(data: Data, value: str) -> None:
    put(data, CONDITION, value, [12])


@changes("condition-allowed", base="perturbed", values=_CONDITIONS)
def _condition_allowed(data: Data, value: str) -> None:
    put(data, CONDITION, value, [12])


@changes("condition-all-na", f"obs.{CONDITION}.all_na", base=("perturbed", "human"))
def _condition_all_na(data: Data, _: None) -> None:
    put(data, CONDITION, "na")


@changes("condition-dropped", base="perturbed")
def _condition_dropped(data: Data, _: None) -> None:
    del data.obs[CONDITION]


@changes(
    "condition-values-missing",
    f"obs.{CONDITION}.values_missing",
    f"obs.{STRATEGY}.values_missing",
    f"obs.{GUIDE}.values_missing",
    base="perturbed",
    values=(CONDITION, GUIDE, STRATEGY),
)
def _missing_values(data: Data, column: str) -> None:
    put(data, column, None, [12])


@changes(
    "guide-column-dropped",
    f"obs.{GUIDE}.missing",
    f"obs.{STRATEGY}.missing",
    f"obs.{STRATEGY}.not_expected",
    f"uns.{GUIDES}.not_expected",
    base="perturbed",
    values=(GUIDE, STRATEGY, (GUIDE, STRATEGY)),
)
def _column_dropped(data: Data, columns: str | tuple[str, ...]) -> None:
    data.obs = data.obs.drop(columns=[columns] if isinstance(columns, str) else list(columns))


@changes("guides-dropped", f"uns.{GUIDES}.missing", f"obs.{GUIDE}.not_expected", base="perturbed")
def _guides_dropped(data: Data, _: None) -> None:
    del data.uns[GUIDES]


@changes(
    "guides-type",
    f"uns.{GUIDES}.type",
    f"uns.{GUIDES}.missing",
    f"uns.{GUIDES}.not_expected",
    base="perturbed",
    values=("x", 1),
)
def _guides_type(data: Data, value: Any) -> None:
    data.uns[GUIDES] = value


@changes("guide-all-na", f"obs.{GUIDE}.all_na", base="perturbed")
def _guide_all_na(data: Data, _: None) -> None:
    put(data, GUIDE, "na")
    put(data, STRATEGY, "no perturbations")


@changes("guide-id-unknown", f"obs.{GUIDE}.id_unknown", base="perturbed", values=("g3", "g1 || g9", "G1", "g1,g2"))
def _guide_unknown(data: Data, value: str) -> None:
    put(data, GUIDE, value, [5])


@changes("guide-list", f"obs.{GUIDE}.list", base="perturbed", values=("g2 || g1", "g1 || g1"))
def _guide_list(data: Data, value: str) -> None:
    put(data, GUIDE, value, [5])


@changes("guide-organism", f"obs.{GUIDE}.organism", base="macaque")
def _guide_organism(data: Data, _: None) -> None:
    put(data, GUIDE, "na")
    put(data, GUIDE, "g1", [1])
    put(data, STRATEGY, "no perturbations")
    put(data, STRATEGY, "CRISPR knockout screen", [1])
    guide = {"protospacer_sequence": "ACGTACGTACGTACGTACGT", "protospacer_adjacent_motif": "3' NGG"}
    data.uns[GUIDES] = {"g1": {"role": "targeting", **guide}}


@changes(
    "strategy-words",
    f"obs.{STRATEGY}.not_allowed",
    base="perturbed",
    values=("knockout", "CRISPR Knockout Screen", "no perturbations"),
)
def _strategy(data: Data, value: str) -> None:
    put(data, STRATEGY, value, [5])


@changes(
    "strategy-without-guide",
    f"obs.{STRATEGY}.not_allowed",
    base="perturbed",
    values=("control", "CRISPR knockout screen"),
)
def _strategy_without_guide(data: Data, value: str) -> None:
    put(data, STRATEGY, value, [1])


@changes(
    "strategy-allowed",
    base="perturbed",
    values=("CRISPR activation screen", "CRISPR interference screen", "CRISPR knockout mutant"),
)
def _strategy_allowed(data: Data, value: str) -> None:
    put(data, STRATEGY, value, [5])


@changes("strategy-control-role", f"obs.{STRATEGY}.role", base="perturbed", values=("control",))
def _control(data: Data, value: str) -> None:
    put(data, STRATEGY, value, [5])


@changes("strategy-alone", f"obs.{STRATEGY}.not_expected", values=("no perturbations",))
def _strategy_alone(data: Data, value: str) -> None:
    put(data, STRATEGY, value)


# A guide's id, as it is renamed in obs and uns.
@changes("guide-id", f"uns.{GUIDES}.id", base="perturbed", values=("g 1", "g,1", "g'1", 'g"1', "gé"))
def _guide_id(data: Data, name: str) -> None:
    data.uns[GUIDES][name] = data.uns[GUIDES].pop("safe")
    put(data, GUIDE, name, slice(8, 10))


@changes("guide-id-allowed", base="perturbed", values=("g.1", "g-1_A", "g|1", "1", "n"))
def _guide_id_allowed(data: Data, name: str) -> None:
    _guide_id(data, name)


@changes("guide-named-na", f"uns.{GUIDES}.id", base="perturbed")
def _guide_named_na(data: Data, _: None) -> None:
    data.uns[GUIDES]["na"] = data.uns[GUIDES]["safe"]


def _field(data: Data, field: str, value: Any) -> None:
    if value is None:
        del data.uns[GUIDES]["g1"][field]
    else:
        data.uns[GUIDES]["g1"][field] = value


@changes("guide-role", f"uns.{GUIDES}.role", base="perturbed", values=(None, "Control", "target", 1))
def _role(data: Data, value: Any) -> None:
    _field(data, "role", value)


_PROTOSPACERS = (None, "ACGT", "ACGTACGTACGTA", "A" * 23, "ACGTACGTACGTACGTACGU", "acgtacgtacgtacgtacgt", 14)


@changes("guide-protospacer", f"uns.{GUIDES}.protospacer_sequence", base="perturbed", values=_PROTOSPACERS)
def _protospacer(data: Data, value: Any) -> None:
    _field(data, "protospacer_sequence", value)


@changes("guide-protospacer-allowed", base="perturbed", values=("A" * 14, "ACGTACGTACGTACGTACGTAC"))
def _protospacer_allowed(data: Data, value: str) -> None:
    _field(data, "protospacer_sequence", value)


_MOTIFS = (None, "NGG", "3'NGG", "3' ", "5' NGG", "3' ngg", "3' NGX", "3'  NGG", 3)


@changes("guide-motif", f"uns.{GUIDES}.protospacer_adjacent_motif", base="perturbed", values=_MOTIFS)
def _motif(data: Data, value: Any) -> None:
    _field(data, "protospacer_adjacent_motif", value)


@changes("guide-motif-allowed", base="perturbed", values=("3' NNGRRT", "3' TTTV"))
def _motif_allowed(data: Data, value: str) -> None:
    _field(data, "protospacer_adjacent_motif", value)


@changes("guide-extra-key", f"uns.{GUIDES}.extra_keys", base="perturbed", values=("note", "Role", "target_gene"))
def _extra(data: Data, key: str) -> None:
    _field(data, key, "x")


@changes(
    "guide-label",
    "labels.present",
    "file.labelled",
    base="perturbed",
    values=("derived_genomic_regions", "derived_features"),
)
def _label(data: Data, key: str) -> None:
    _field(data, key, {"ENSG00000141510": "TP53"} if key == "derived_features" else ["1:12345-12346(+)"])


@changes("guide-features", base="perturbed", values=("ENSG00000141510",))
def _features(data: Data, gene: str) -> None:
    _field(data, "intended_features", {gene: "x"})


_NO_GENES = ("TP53", "ENSG00000141510.17", "ENSMUSG00000004768")


@changes("guide-features-unknown", f"uns.{GUIDES}.intended_features", base="perturbed", values=_NO_GENES)
def _features_unknown(data: Data, gene: str) -> None:
    _field(data, "intended_features", {gene: "x"})
