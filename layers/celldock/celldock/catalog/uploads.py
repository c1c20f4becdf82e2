"""The event that starts it all: an object was created in the inbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from celldock.catalog.keys import CompanionKey, SubmissionKey, is_sequencer, is_version_id, parse_upload_key
from celldock.catalog.records import FIRST_RUN, RunInput


class ObjectCreated(BaseModel):
    """One object version that arrived. `key` is exactly what S3 holds; `size` in bytes."""

    model_config = ConfigDict(frozen=True)

    bucket: Annotated[str, StringConstraints(min_length=3, max_length=63)]
    key: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    size: Annotated[int, Field(ge=0)]
    etag: str
    version_id: str
    sequencer: str

    @field_validator("version_id")
    @classmethod
    def _pins_a_version(cls, version_id: str) -> str:
        if not is_version_id(version_id):
            raise ValueError("not a version id of a versioned bucket")
        return version_id

    @field_validator("sequencer")
    @classmethod
    def _is_hexadecimal(cls, sequencer: str) -> str:
        if not is_sequencer(sequencer):
            raise ValueError("not a sequencer")
        return sequencer

    def log_keys(self) -> dict[str, str]:
        """What identifies the upload in a log line; nothing of its data."""
        parsed = parse_upload_key(self.key)
        submission = parsed.submission if isinstance(parsed, CompanionKey) else parsed
        is_named = isinstance(submission, SubmissionKey)
        named = {"collection": submission.collection, "dataset": submission.dataset} if is_named else {}
        return {"key": self.key, "version_id": self.version_id, **named}

    def first_run(self) -> RunInput:
        """The input of the run that this upload starts."""
        return RunInput(
            bucket=self.bucket,
            key=self.key,
            version_id=self.version_id,
            sequencer=self.sequencer,
            run=FIRST_RUN,
        )


def read_upload_event(event: Mapping[str, Any]) -> ObjectCreated | None:
    """The upload that an EventBridge event of S3 tells of; None for events that are not about an upload.

    Raises:
        ValueError: nothing that S3 sends; also pydantic's ValidationError, which is one.
    """
    if event.get("Event") == "s3:TestEvent":
        return None
    if event.get("source") != "aws.s3":
        raise ValueError("the message is no event of Amazon S3")
    if event.get("detail-type") != "Object Created":
        return None
    detail = _mapping(event.get("detail"))
    created, bucket = _mapping(detail.get("object")), _mapping(detail.get("bucket"))
    return ObjectCreated.model_validate(
        {
            "bucket": bucket.get("name"),
            "key": created.get("key"),
            # S3 leaves the size out of an empty object's event.
            "size": created.get("size", 0),
            "etag": created.get("etag", ""),
            "version_id": created.get("version-id"),
            "sequencer": created.get("sequencer"),
        }
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("the event of Amazon S3 lacks a part")
    return cast("Mapping[str, Any]", value)
