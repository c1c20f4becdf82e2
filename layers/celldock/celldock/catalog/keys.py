"""Names: what an uploaded key means, and where everything that celldock writes about it lies.

A key is opaque Unicode from a stranger. It is compared and stored exactly as S3 holds it: never decoded, never
normalised, never turned into a local path.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

REPORTS_PREFIX = "_reports/"
SUFFIX = ".h5ad"

FRAGMENTS = "fragments"
"""The kind of companion that is the fragment file of an ATAC dataset."""

CURATION = "curation"
"""The kind of companion that says what is done to the file before it is validated."""

COMPANION_SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        FRAGMENTS: (".fragments.tsv.bgz", ".fragments.tsv.gz"),
        CURATION: (".curation.yaml", ".curation.yml"),
    }
)
"""How the key of each kind of companion ends, in place of `.h5ad`; of two that came at once the first one counts."""

_COLLECTION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION_ID = re.compile(r"[A-Za-z0-9._~+=-]{1,1024}")
_SEQUENCER_DIGITS = 64
_MAX_KEY_BYTES = 1024
_MAX_REPORT_KEY_BYTES = 1000
_SHORTENED_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SubmissionKey:
    """An upload that starts a run: `<collection>/<name>.h5ad`."""

    key: str
    collection: str
    name: str

    @property
    def dataset(self) -> str:
        """The dataset's id, `<collection>/<name>`."""
        return f"{self.collection}/{self.name}"

    def companion_keys(self, kind: str) -> tuple[str, ...]:
        """The keys at which a companion of this upload may lie; S3 knows none of more than 1,024 bytes."""
        keys = (self.dataset + suffix for suffix in COMPANION_SUFFIXES[kind])
        return tuple(key for key in keys if len(key.encode("utf-8", "surrogatepass")) <= _MAX_KEY_BYTES)


@dataclass(frozen=True, slots=True)
class CompanionKey:
    """An upload that belongs to the `.h5ad` of the same name: `<collection>/<name>.fragments.tsv.gz`, for one."""

    key: str
    collection: str
    name: str
    kind: str

    @property
    def submission(self) -> SubmissionKey:
        """The upload that it belongs to, which may be there or not."""
        return SubmissionKey(f"{self.collection}/{self.name}{SUFFIX}", self.collection, self.name)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An upload that is answered with a report and starts nothing."""

    key: str
    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An object that is nobody's submission: our own output, or a folder marker."""

    key: str
    reason: str


UploadKey = SubmissionKey | CompanionKey | Rejection | Ignored


def parse_upload_key(key: str, size: int | None = None) -> UploadKey:
    """Decides what an object in the inbox is, from its key alone (and from `size`, in bytes, for a folder marker).

    Example:
        >>> parse_upload_key("atlas/lung 1.h5ad").dataset
        'atlas/lung 1'
        >>> parse_upload_key("atlas/lung.fragments.tsv.gz").kind
        'fragments'
        >>> parse_upload_key("atlas/lung.rds").code
        'key.rds'
    """
    if key.startswith(REPORTS_PREFIX):
        return Ignored(key, "our own report")
    if key.endswith("/") and size == 0:
        return Ignored(key, "folder marker")
    return _unsafe(key) or _misplaced(key) or _companion(key) or _wrong_kind(key) or _parse(key)


def parse_submission_key(key: str) -> SubmissionKey | None:
    """The submission that `key` names, or None where it names none."""
    found = parse_upload_key(key)
    return found if isinstance(found, SubmissionKey) else None


def split_dataset(dataset: str) -> SubmissionKey | None:
    """The submission key of a dataset's id `<collection>/<name>`, or None where it is no lawful id."""
    return parse_submission_key(dataset + SUFFIX)


def is_collection(name: str) -> bool:
    """Whether `name` may name a collection."""
    return _COLLECTION.fullmatch(name) is not None


def is_version_id(version_id: str) -> bool:
    """Whether S3 could have given out this version id.

    `null` is what an unversioned bucket gives every object: it pins nothing, so it is none.
    """
    return _VERSION_ID.fullmatch(version_id) is not None and version_id not in {"null", ".", ".."}


def _unsafe(key: str) -> Rejection | None:
    """What no part of celldock may ever mistake for a path or a line."""
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in key):
        return Rejection(
            key,
            "key.control_character",
            "The key contains a control character, such as a line break or a tab.",
            "Rename the file without control characters and upload it again.",
        )
    parts = key.split("/")
    if any(part == "" for part in parts[:-1]):
        return Rejection(
            key,
            "key.empty_segment",
            "The key starts with a slash or contains two slashes in a row.",
            "Upload to <collection>/<name>.h5ad, with one slash and none at the start.",
        )
    if any(part in {".", ".."} or part.removesuffix(SUFFIX) in {".", ".."} for part in parts):
        return Rejection(
            key,
            "key.dot_segment",
            "A part of the key is a lone dot or two dots.",
            "Upload to <collection>/<name>.h5ad; neither part may be '.' or '..'.",
        )
    return None


def _misplaced(key: str) -> Rejection | None:
    slashes = key.count("/")
    if slashes == 0:
        return Rejection(
            key,
            "key.no_collection",
            "The file lies at the top of the bucket and belongs to no collection.",
            "Upload it to <collection>/<name>.h5ad.",
        )
    if slashes > 1:
        return Rejection(
            key,
            "key.depth",
            f"The key has {slashes} slashes; a submission has exactly one, after its collection.",
            "Upload it to <collection>/<name>.h5ad, without folders below the collection.",
        )
    collection = key.partition("/")[0]
    if not is_collection(collection):
        return Rejection(
            key,
            "key.collection",
            "The collection's name is not allowed.",
            "A collection is 1 to 63 characters of a-z, 0-9, '.', '_' and '-', and starts with a letter or a digit.",
        )
    return None


def _companion(key: str) -> CompanionKey | Rejection | None:
    """What accompanies an h5ad file, and what was meant to; None for any other key."""
    collection, _, rest = key.partition("/")
    for kind, suffixes in COMPANION_SUFFIXES.items():
        for suffix in suffixes:
            if rest.endswith(suffix):
                name = rest.removesuffix(suffix)
                return CompanionKey(key, collection, name, kind) if _is_name(name) else _no_name(key, suffix)
            if rest.lower().endswith(suffix):
                return Rejection(
                    key,
                    "key.suffix_case",
                    "The file's extension is not in lower case.",
                    f"Rename the file so that it ends in '{suffix}' and upload it again.",
                )
    return _almost_fragments(key) or _almost_curation(key)


def _almost_fragments(key: str) -> Rejection | None:
    """A fragment file, or what lies beside one, that has not the name of a companion."""
    lowered = key.lower()
    if lowered.endswith(("fragments.tsv.gz.tbi", "fragments.tsv.bgz.tbi")):
        return Rejection(
            key,
            "key.fragments_index",
            "An index of a fragment file is not taken in: celldock makes one itself.",
            "There is nothing to do: upload the fragment file alone.",
        )
    if lowered.endswith("fragments.tsv"):
        return Rejection(
            key,
            "key.fragments_uncompressed",
            "The fragment file is not compressed.",
            "Compress it (bgzip, or gzip) and upload it as <collection>/<name>.fragments.tsv.gz.",
        )
    if lowered.endswith(("fragments.tsv.gz", "fragments.tsv.bgz", "fragments.bed.gz")):
        return Rejection(
            key,
            "key.fragments_name",
            "The name of the fragment file does not tell which .h5ad file it belongs to.",
            "Name it as the .h5ad file, with '.fragments.tsv.gz' in place of '.h5ad', and upload it again.",
        )
    return None


def _almost_curation(key: str) -> Rejection | None:
    """A config for curation that has not the name of a companion."""
    if key.lower().endswith(("curation.yaml", "curation.yml", "curation.json")):
        return Rejection(
            key,
            "key.curation_name",
            "The name of the config for curation does not tell which .h5ad file it belongs to.",
            "Name it as the .h5ad file, with '.curation.yaml' in place of '.h5ad', and upload it again.",
        )
    return None


def _wrong_kind(key: str) -> Rejection | None:
    lowered = key.lower()
    if key.endswith(SUFFIX):
        return None
    if lowered.endswith(SUFFIX):
        return Rejection(
            key,
            "key.suffix_case",
            "The file's extension is not in lower case.",
            "Rename the file so that it ends in '.h5ad' and upload it again.",
        )
    if lowered.endswith((".h5ad.gz", ".h5ad.bz2", ".h5ad.xz", ".h5ad.zst", ".h5ad.zip")):
        return Rejection(
            key,
            "key.compressed",
            "The h5ad file is compressed as a whole.",
            "Decompress it (gunzip, unzip, …) and upload the .h5ad file itself; h5ad compresses its data inside.",
        )
    if lowered.endswith((".rds", ".rda", ".rdata")):
        return Rejection(
            key,
            "key.rds",
            "The file is an R object, not an AnnData file.",
            'Convert it to h5ad (in R: anndataR::write_h5ad(object, "name.h5ad")) and upload that.',
        )
    return Rejection(
        key,
        "key.extension",
        "Only AnnData files that end in '.h5ad' are accepted.",
        "Save the data with anndata's write_h5ad and upload the .h5ad file.",
    )


def _parse(key: str) -> SubmissionKey | Rejection:
    collection, _, rest = key.partition("/")
    name = rest.removesuffix(SUFFIX)
    return SubmissionKey(key, collection, name) if name else _no_name(key, SUFFIX)


def _is_name(name: str) -> bool:
    """Whether a dataset may be called so; what is refused in any part of a key has been refused before."""
    return name not in {"", ".", ".."}


def _no_name(key: str, suffix: str) -> Rejection:
    return Rejection(
        key,
        "key.name",
        f"The file has no name before '{suffix}'.",
        "Give the file a name and upload it again.",
    )


def execution_name(bucket: str, key: str, version_id: str, run: int) -> str:
    """The name of a run's execution: the same for every redelivery of the same upload (≤ 80 characters)."""
    digest = hashlib.sha256("\0".join((bucket, key, version_id)).encode()).hexdigest()
    return f"{digest[:40]}-{run}"


def is_sequencer(sequencer: str) -> bool:
    """Whether S3 could have given out this sequencer: up to 64 hexadecimal digits."""
    return re.fullmatch(rf"[0-9A-Fa-f]{{1,{_SEQUENCER_DIGITS}}}", sequencer) is not None


def pad_sequencer(sequencer: str) -> str:
    """A sequencer in the form in which two of the same key compare as strings.

    Source: Amazon S3 user guide, "Event message structure": right-pad the shorter one with zeros, then compare.
    """
    return sequencer.upper().ljust(_SEQUENCER_DIGITS, "0")


def report_key(key: str, version_id: str, run: int) -> str:
    """Where the report on an upload lies in the inbox bucket.

    A key that is no submission's or companion's, or too long to be repeated inside another key, becomes one
    percent-encoded, shortened segment with a hash; theirs always have two segments, so that the two cannot collide.
    """
    name = f"{REPORTS_PREFIX}{key}/{version_id}/{run}/report.json"
    is_taken_in = isinstance(parse_upload_key(key), SubmissionKey | CompanionKey)
    if is_taken_in and len(name.encode()) <= _MAX_REPORT_KEY_BYTES:
        return name
    return f"{REPORTS_PREFIX}{_shorten(key)}/{version_id}/{run}/report.json"


def curation_key(report: str) -> str:
    """Where the record of a curation lies: beside the report on the same run."""
    return report.removesuffix("report.json") + "curation.json"


def _shorten(key: str) -> str:
    # surrogatepass: a lone surrogate cannot come from S3, yet must not stop the report on a key that holds one.
    raw = key.encode("utf-8", "surrogatepass")
    encoded = quote(raw, safe="")[:_SHORTENED_CHARACTERS]
    # Do not end in half of an escape.
    encoded = re.sub(r"%[0-9A-F]?$", "", encoded)
    return f"{encoded}~{hashlib.sha256(raw).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step's place in the work area, relative to its run: its folder, and its manifest, which is written last."""

    name: str
    manifest: str


CURATE = Step("curate", "curate/manifest.json")
PLAN = Step("plan", "plan/manifest.json")
CHECK_FRAGMENTS = Step("fragments", "fragments/manifest.json")
VALIDATE = Step("validate", "validate/manifest.json")


def scan_step(index: int) -> Step:
    """The step of one partition of the scan."""
    name = f"scan/parts/{index:05d}"
    return Step(name, f"{name}.json")


def convert_step(format_name: str) -> Step:
    """The step that makes one format: its artifact as a whole."""
    return Step(f"convert/{format_name}", f"convert/{format_name}/manifest.json")


def artifact_files(format_name: str) -> str:
    """The folder of a format's files, relative to its run, with its final slash: the artifact's root."""
    return f"convert/{format_name}/files/"


def artifact_manifest(format_name: str) -> str:
    """Where the document lies whose SHA-256 is the artifact's checksum, relative to its run."""
    return f"convert/{format_name}/artifact.json"


def step_manifest_beside(artifact_manifest_key: str) -> str:
    """The key of the step's manifest that an artifact's manifest lies beside: it pins the artifact's objects."""
    return artifact_manifest_key.removesuffix("artifact.json") + "manifest.json"


def part_step(format_name: str, index: int) -> Step:
    """The step of one partition of a format."""
    name = f"convert/{format_name}/parts/{index:05d}"
    return Step(name, f"{name}.json")


def run_prefix(version_id: str, run: int) -> str:
    """The folder of a run in the artifacts bucket, with its final slash."""
    return f"work/{version_id}/{run}/"


def public_prefix(publication_id: str, format_name: str) -> str:
    """The folder of a format's published copy in the public bucket, with its final slash."""
    return f"public/{publication_id}/{format_name}/"
