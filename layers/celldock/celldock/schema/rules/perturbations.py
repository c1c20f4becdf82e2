"""Rules about uns['genetic_perturbations']: the guides that obs['genetic_perturbation_id'] refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from celldock.h5ad.elements import Element
from celldock.report import Finding
from celldock.schema.reference import Reference
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.genes import without_version
from celldock.schema.rules.uns import describe
from celldock.schema.words import Noun

_KEY = "genetic_perturbations"
_PATH = f"uns/{_KEY}"
_COLUMN = "genetic_perturbation_id"
_FEATURES = "intended_features"
_GUIDES = Noun("guide", "guides")
_ENTRIES = Noun("entry", "entries")
_SHOWN = 60

type Guide = Mapping[str, Element]


@rule("uns.genetic_perturbations.missing")
def perturbations_missing(context: Context) -> Iterator[Finding]:
    """The guides are there if obs refers to some."""
    if context.uns_header(_KEY) is None and _COLUMN in _obs_columns(context):
        yield context.finding(
            _PATH,
            f"obs has {_COLUMN}, but uns has no {_KEY}, which says what each of these ids is.",
            suggestion=f"Add adata.uns[{_KEY!r}]: a dictionary of role, protospacer_sequence and "
            "protospacer_adjacent_motif for each id.",
        )


@rule("uns.genetic_perturbations.not_expected")
def perturbations_not_expected(context: Context) -> Iterator[Finding]:
    """The guides are not there if obs has no column that refers to them."""
    if context.uns_header(_KEY) is not None and _COLUMN not in _obs_columns(context):
        yield context.finding(
            _PATH,
            f"uns has {_KEY}, but obs has no {_COLUMN}, which says what each cell got.",
            suggestion=f"Add adata.obs[{_COLUMN!r}], or remove adata.uns[{_KEY!r}].",
        )


@rule("uns.genetic_perturbations.type")
def perturbations_type(context: Context) -> Iterator[Finding]:
    """The guides are a dictionary of dictionaries."""
    header = context.uns_header(_KEY)
    if header is None:
        raise Skip
    if header.kind != "dict":
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] is {describe(header)}, where a dictionary is required.",
            suggestion="Give a dictionary of role, protospacer_sequence and protospacer_adjacent_motif for each id.",
        )
        return
    wrong = [name for name, guide in _items(context).items() if not isinstance(guide, Mapping)]
    if wrong:
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] has {_GUIDES.of(len(wrong))} whose value is no dictionary.",
            count=len(wrong),
            examples=wrong,
            suggestion="Give each a dictionary of role, protospacer_sequence and protospacer_adjacent_motif. A slash "
            "in an id makes two levels of it.",
        )


@rule("uns.genetic_perturbations.id")
def perturbation_ids(context: Context, *, pattern: str, words: str, forbidden: Sequence[str]) -> Iterator[Finding]:
    """Ids match a regular expression, which `words` put into words, and are none of the `forbidden`."""
    wrong = [name for name in _items(context) if name in forbidden or not re.fullmatch(pattern, name)]
    if wrong:
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] has {_GUIDES.of(len(wrong))} whose id is not {words}.",
            count=len(wrong),
            examples=wrong,
            suggestion=f"Rename them there and in obs[{_COLUMN!r}], {wrong[0]!r} to {_plain_id(wrong[0])!r}.",
        )


@rule("uns.genetic_perturbations.{key}")
def perturbation_text(context: Context, *, key: str, pattern: str, words: str) -> Iterator[Finding]:
    """A text that each guide has matches a regular expression, which `words` put into words."""
    guides = _guides(context)
    missing = [name for name, guide in guides.items() if key not in guide]
    if missing:
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] has {_GUIDES.of(len(missing))} without {key}.",
            count=len(missing),
            examples=missing,
            suggestion=f"Add it to each: {words}.",
        )
    wrong = {name: guide[key] for name, guide in guides.items() if key in guide and not _matches(guide[key], pattern)}
    if wrong:
        name, value = next(iter(wrong.items()))
        mended = _mended(value, pattern)
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] has {_GUIDES.of(len(wrong))} whose {key} is not {words}.",
            count=len(wrong),
            examples=[f"{name}: {_shown(value)}" for name, value in wrong.items()],
            suggestion=f"Write {_shown(value)} of {name} as {mended!r}." if mended else f"Give {words}.",
        )


@rule("uns.genetic_perturbations.extra_keys")
def perturbation_keys(context: Context, *, keys: Sequence[str], labels: Sequence[str]) -> Iterator[Finding]:
    """Guides have no other keys than these. `labels` are keys that another rule refuses."""
    extra: dict[str, int] = {}
    guides = _guides(context)
    for guide in guides.values():
        for key in guide.keys() - {*keys, *labels}:
            extra[key] = extra.get(key, 0) + 1
    if extra:
        having = sum(not guide.keys() <= {*keys, *labels} for guide in guides.values())
        yield context.finding(
            _PATH,
            f"uns[{_KEY!r}] has {_GUIDES.of(having)} with keys that the schema does not know.",
            count=having,
            examples=_GUIDES.examples(extra),
            suggestion=f"Remove them, or move them to a key of uns of their own; a guide may have {', '.join(keys)}.",
        )


@rule("uns.genetic_perturbations.intended_features")
def perturbation_features(context: Context, *, shared: Sequence[str]) -> Iterator[Finding]:
    """The genes that a guide is meant for are a dictionary from ids, of the organism or a `shared` set, to names."""
    guides = _guides(context)
    given = {name: guide[_FEATURES] for name, guide in guides.items() if _FEATURES in guide}
    features = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    genes = context.reference.genes({gene for some in features.values() for gene in some})
    own = _gene_sets(context)
    wrong = [f"{name}: {_shown(value)}" for name, value in given.items() if name not in features]
    for name, some in features.items():
        for gene, label in some.items():
            known = gene in genes and (own is None or genes[gene].organism in {*own, *shared})
            if not known or not isinstance(label, str):
                wrong.append(f"{name}: {gene}")
    if wrong:
        yield context.finding(
            _PATH,
            f"The {_FEATURES} in uns[{_KEY!r}] have {_ENTRIES.of(len(wrong))} other than the id and name of one of the "
            "organism's genes.",
            count=len(wrong),
            examples=wrong,
            suggestion=_suggest_genes(context.reference, [gene for some in features.values() for gene in some])
            or "Give a dictionary from Ensembl ids, without version, to the genes' names.",
        )


def _items(context: Context) -> Guide:
    """What lies below the key; raises Skip if there is nothing, or something else, as another rule tells.

    Raises Skip also for more than can be read: the header has not even their names then.
    """
    if not context.header.uns_complete:
        raise Skip
    found = context.uns(_KEY)
    if not isinstance(found, Mapping):
        raise Skip
    return found


def _guides(context: Context) -> dict[str, Guide]:
    return {name: guide for name, guide in _items(context).items() if isinstance(guide, Mapping)}


def _obs_columns(context: Context) -> list[str]:
    return [column.name for column in context.frame("obs").columns]


def _matches(value: Element, pattern: str) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _mended(value: Element, pattern: str) -> str:
    """The text that a value most likely stands for: in other case, DNA in place of RNA, or with the strand's end."""
    if not isinstance(value, str) or len(value) > _SHOWN:
        return ""
    plain = " ".join(value.split())
    letters = re.sub(r"^[35]\s*['’′`]?\s*-?\s*", "", plain).upper()
    forms = (plain, plain.lower(), plain.upper(), letters.replace("U", "T"), f"3' {letters}")
    return next((form for form in forms if re.fullmatch(pattern, form)), "")


def _shown(value: Element) -> str:
    if isinstance(value, str | bool | int | float) or value is None:
        text = repr(value)
        return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return "no text"


def _plain_id(name: str) -> str:
    """An id that a schema accepts, close to the one given."""
    return re.sub(r"[^A-Za-z0-9_.:+-]+", "_", name, flags=re.ASCII).strip("_") + ("_1" if name == "na" else "")


def _gene_sets(context: Context) -> set[str] | None:
    """The organism of the file and those above it; None where it is not known, as another rule tells."""
    try:
        organism = context.uns("organism_ontology_term_id")
    except Skip:
        return None
    term = context.reference.term(organism) if isinstance(organism, str) else None
    return {term.id, *term.ancestors} if term else None


def _suggest_genes(reference: Reference, names: Sequence[str]) -> str:
    plain = {name: without_version(name) for name in names}
    known = reference.genes(plain.values())
    versioned = [name for name in names if name != plain[name] and plain[name] in known]
    return f"Leave versions out: {versioned[0]} is {plain[versioned[0]]}." if versioned else ""
