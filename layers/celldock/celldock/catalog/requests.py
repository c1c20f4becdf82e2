"""What clients ask of the API, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from celldock.catalog.keys import SubmissionKey, split_dataset
from celldock.catalog.records import CollectionName, FormatName, SchemaVersion
from celldock.errors import InvalidSubmission


class DatasetRequest(BaseModel):
    """A dataset `id` (`<collection>/<name>`) and, where one is meant, a version of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    version: str | None = None

    @property
    def key(self) -> SubmissionKey:
        """The dataset's names.

        Raises:
            InvalidSubmission: the id can be no dataset's.
        """
        key = split_dataset(self.id)
        if key is None:
            raise InvalidSubmission(
                "The id is no dataset's.", code="request.id", hint="A dataset's id is <collection>/<name>."
            )
        return key


class CollectionRequest(BaseModel):
    """Settings of a collection; what is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: CollectionName
    title: Annotated[str, StringConstraints(max_length=500)] | None = None
    publish_policy: Literal["hold", "auto"] | None = None
    required_formats: Annotated[list[FormatName], Field(max_length=20)] | None = None
    schema_versions: Annotated[list[SchemaVersion], Field(min_length=1, max_length=20)] | None = None
    pre_analysis: bool | None = None

    def settings(self) -> dict[str, Any]:
        """The settings that were given."""
        return self.model_dump(exclude={"collection"}, exclude_none=True)


def read_query(query_string: str) -> DatasetRequest:
    """The request in a raw query string. Raises InvalidSubmission if it is none.

    Example:
        >>> read_query("id=atlas%2Flung%20%2B1").id
        'atlas/lung +1'
    """
    try:
        fields = parse_qs(query_string, keep_blank_values=True, errors="strict", max_num_fields=10)
    except ValueError:
        raise InvalidSubmission("The query cannot be read.", code="request.invalid") from None
    if any(len(values) > 1 for values in fields.values()):
        raise InvalidSubmission("A parameter was given twice.", code="request.invalid")
    return _read(DatasetRequest, {name: values[0] for name, values in fields.items()})


def read_dataset_request(body: str | None) -> DatasetRequest:
    """The request in a JSON body. Raises InvalidSubmission if it is none."""
    return _read_json(DatasetRequest, body)


def read_collection_request(body: str | None) -> CollectionRequest:
    """The settings in a JSON body. Raises InvalidSubmission if there are none."""
    return _read_json(CollectionRequest, body)


def _read_json[M: BaseModel](model: type[M], body: str | None) -> M:
    try:
        return model.model_validate_json(body or "")
    except ValidationError as error:
        raise _refusal(error) from None


def _read[M: BaseModel](model: type[M], fields: dict[str, Any]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> InvalidSubmission:
    problems = "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in error.errors()
    )
    return InvalidSubmission(f"The request is not understood: {problems}.", code="request.invalid")
