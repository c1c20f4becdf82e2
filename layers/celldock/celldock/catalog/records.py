"""The items of the catalog as typed records: one model for each entity, and the names of its keys.

A record is what an item of the one table says, no more: `Model.model_validate(plain item)` reads it, and attributes
that a later release writes are ignored. Who may change what lies in the store (`celldock.cloud.table`).
"""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from celldock.catalog.keys import (
    CURATION,
    SubmissionKey,
    execution_name,
    is_collection,
    is_sequencer,
    is_version_id,
    parse_submission_key,
)
from celldock.catalog.states import ArtifactState, Publication, VersionState
from celldock.errors import ServiceFault

DATASET_PREFIX = "DATASET#"
DATASET_SK = "DATASET"
VERSION_PREFIX = "VERSION#"
ARTIFACT_INFIX = "#ARTIFACT#"
COLLECTION_PREFIX = "COLLECTION#"
COLLECTION_SK = "COLLECTION"
OPEN_PK = "OPEN"

FIRST_RUN = 1

DEFAULT_SCHEMA_VERSIONS = ("7.1.0",)
DEFAULT_REQUIRED_FORMATS = ("cells",)

CollectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
FormatName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
SchemaVersion = Literal["7.1.0", "2.0.0"]


class Record(BaseModel):
    """What every item has besides its own attributes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pk: str
    sk: str
    revision: int = 0
    created_at: str = ""
    changed_at: str = ""


class Dataset(Record):
    """A dataset: a name that versions are uploaded under, and which of them the world sees."""

    entity: Literal["dataset"] = "dataset"
    collection: str
    name: str
    latest_version: str = ""
    latest_sequencer: str = ""
    published: bool = False
    published_version: str = ""
    publication_id: str = ""

    @property
    def dataset(self) -> str:
        """The dataset's id, `<collection>/<name>`."""
        return f"{self.collection}/{self.name}"


class PlanSummary(BaseModel):
    """What the plan found, in cells, genes and stored elements; `key` is the plan's place in the artifacts bucket.

    `seconds` is how long the run is expected to take.
    """

    model_config = ConfigDict(extra="ignore")

    key: str = ""
    n_obs: int = 0
    n_vars: int = 0
    nnz: int = 0
    seconds: int = 0


class Verdict(BaseModel):
    """What validation came to."""

    model_config = ConfigDict(extra="ignore")

    valid: bool
    errors: int = 0
    warnings: int = 0
    schema_version: str = ""


class Curated(BaseModel):
    """What a config for curation came to: changes made, and where the record of them lies in the inbox bucket.

    `bytes` is the size of the curated file, 0 where the config was refused.
    """

    model_config = ConfigDict(extra="ignore")

    record: str
    changes: int = 0
    bytes: int = 0


class Failure(BaseModel):
    """Why a run ended without an outcome: the step, the error's name and a shortened cause."""

    model_config = ConfigDict(extra="ignore")

    step: str = ""
    error: str = ""
    cause: str = ""


class Companion(BaseModel):
    """A file beside an upload, pinned to the object version that was current when the run was claimed.

    `passed_over` is the key of another one of its kind, an older one, which does not count; "" for none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    version_id: str
    size: int
    etag: str
    passed_over: str = ""

    @property
    def file_name(self) -> str:
        """The key without its collection."""
        return self.key.rpartition("/")[2]


class Version(Record):
    """One uploaded version of a dataset: one S3 object version and what became of it.

    `run` is the number of the run that owns it, `last_run` the highest that intake has handed out beyond that, 0 for
    none. `companions` are those of `run`, by kind; `stopped` is the execution that `run` pushed aside, "" for none.
    """

    entity: Literal["version"] = "version"
    state: VersionState
    step: str = ""
    run: int = FIRST_RUN
    last_run: int = 0
    execution: str = ""
    stopped: str = ""
    bucket: str
    key: str
    version_id: str
    sequencer: str
    size: int = 0
    etag: str = ""
    companions: dict[str, Companion] = {}
    publish_requested: bool = False
    required_formats: tuple[str, ...] = ()
    schema_versions: tuple[str, ...] = ()
    pre_analysis: bool = False
    supersedes: str = ""
    curation: Curated | None = None
    plan: PlanSummary | None = None
    verdict: Verdict | None = None
    report: str = ""
    failure: Failure | None = None
    publication: Publication = Publication.PRIVATE
    publication_id: str = ""
    received_at: str = ""

    def next_run(self) -> RunInput:
        """The input of the first run whose number nobody has had."""
        return RunInput(
            bucket=self.bucket,
            key=self.key,
            version_id=self.version_id,
            sequencer=self.sequencer,
            run=max(self.run, self.last_run) + 1,
        )


class Checksum(BaseModel):
    """A checksum of an artifact: `type` is FULL_OBJECT or COMPOSITE, `value` is lower-case hex."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    algorithm: str = "SHA256"
    type: str = "FULL_OBJECT"
    value: str = ""


class Artifact(Record):
    """The outcome of one derivative format of one version."""

    entity: Literal["artifact"] = "artifact"
    format: str
    state: ArtifactState
    version_id: str
    run: int
    version: str = ""
    uri: str = ""
    files: int = 0
    bytes: int = 0
    checksum: Checksum = Checksum()
    manifest_key: str = ""
    reason: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the artifact can be published: converted, with a checksum and a manifest."""
        return self.state == ArtifactState.CONVERTED and bool(self.checksum.value and self.manifest_key)


class Collection(Record):
    """What a collection's owner has set; `Collection.default` is one that nobody has touched."""

    entity: Literal["collection"] = "collection"
    title: str = ""
    publish_policy: Literal["hold", "auto"] = "hold"
    schema_versions: tuple[str, ...] = DEFAULT_SCHEMA_VERSIONS
    required_formats: tuple[str, ...] = DEFAULT_REQUIRED_FORMATS
    pre_analysis: bool = False

    @classmethod
    def default(cls, collection: str) -> Collection:
        """A collection without an item: hold until asked, the newest schema, the first format."""
        return cls(pk=collection_pk(collection), sk=COLLECTION_SK)

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self.pk.removeprefix(COLLECTION_PREFIX)


class RunInput(BaseModel):
    """The canonical input of an execution: equal for every redelivery of the same upload's event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: Annotated[str, StringConstraints(min_length=3, max_length=63)]
    key: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    version_id: str
    sequencer: str
    run: Annotated[int, Field(ge=1)]

    @property
    def execution_name(self) -> str:
        """The name that its execution has, and no other."""
        return execution_name(self.bucket, self.key, self.version_id, self.run)

    @model_validator(mode="after")
    def _names_a_submission(self) -> Self:
        if parse_submission_key(self.key) is None:
            raise ValueError("the key names no submission")
        if not is_version_id(self.version_id) or not is_sequencer(self.sequencer):
            raise ValueError("the version id or the sequencer cannot be S3's")
        return self

    @property
    def submission_key(self) -> SubmissionKey:
        """What the key names; a run's input cannot be made with a key that names no submission."""
        parsed = parse_submission_key(self.key)
        assert parsed is not None
        return parsed

    def log_keys(self) -> dict[str, str]:
        """What identifies the submission in a log line; nothing of its data."""
        key = self.submission_key
        return {"collection": key.collection, "dataset": key.dataset, "version_id": self.version_id}


class Submission(BaseModel):
    """What Claim hands to every later step: the upload, pinned, and the run that owns it. `step` is the run's first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bucket: str
    key: str
    version_id: str
    sequencer: str
    run: int
    execution: str
    collection: str
    name: str
    dataset: str
    pk: str
    sk: str
    size: int
    etag: str
    publish: bool
    required_formats: tuple[str, ...]
    # A run that an older release claimed has none.
    schema_versions: Annotated[tuple[str, ...], Field(min_length=1)] = DEFAULT_SCHEMA_VERSIONS
    pre_analysis: bool = False
    companions: dict[str, Companion] = {}
    step: str = "Plan"

    @property
    def is_curated(self) -> bool:
        """Whether the steps from Plan on work on the file that Curate makes of the upload."""
        return CURATION in self.companions

    @property
    def content(self) -> str:
        """What decides the bytes that the steps from Plan on see: of equal contents, work may be taken over."""
        return f"{self.version_id}+{self.companions[CURATION].version_id}" if self.is_curated else self.version_id

    @property
    def input(self) -> RunInput:
        """The input of the execution that this submission runs in."""
        return RunInput(
            bucket=self.bucket, key=self.key, version_id=self.version_id, sequencer=self.sequencer, run=self.run
        )

    def log_keys(self) -> dict[str, str]:
        """What identifies the submission in a log line; nothing of its data."""
        return {**self.input.log_keys(), "execution": self.execution}


def first_step(companions: Container[str]) -> str:
    """The step that a run begins with, which has companions of these kinds."""
    return "Curate" if CURATION in companions else "Plan"


def dataset_pk(dataset: str) -> str:
    """The partition key of a dataset and of all of its versions and artifacts."""
    return DATASET_PREFIX + dataset


def version_sk(version_id: str) -> str:
    """The sort key of a version."""
    return VERSION_PREFIX + version_id


def artifact_sk(version_id: str, format_name: str) -> str:
    """The sort key of an artifact."""
    return f"{VERSION_PREFIX}{version_id}{ARTIFACT_INFIX}{format_name}"


def collection_pk(collection: str) -> str:
    """The partition key of a collection."""
    if not is_collection(collection):
        raise ServiceFault(f"{collection!r} cannot name a collection.", code="collection.name")
    return COLLECTION_PREFIX + collection


def timestamp(moment: datetime | None = None) -> str:
    """A time as the catalog writes it: ISO 8601, UTC, milliseconds, `Z`."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
