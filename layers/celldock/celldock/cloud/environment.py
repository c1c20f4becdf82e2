"""What a function is told by its environment: one small model for each capability, combined by each function.

Example:
    >>> class Environment(TableEnvironment, InboxEnvironment): ...
    >>> environment = read_environment(Environment)  # at cold start
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from celldock.errors import ServiceFault

_Name = Annotated[str, StringConstraints(min_length=1)]
_Arn = Annotated[str, StringConstraints(pattern=r"^arn:")]


def _comma_separated(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


class _Environment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TableEnvironment(_Environment):
    """The catalog's table."""

    table: _Name = Field(validation_alias="CELLDOCK_TABLE")


class InboxEnvironment(_Environment):
    """The bucket that submitters write to."""

    inbox: _Name = Field(validation_alias="CELLDOCK_INBOX")


class ArtifactsEnvironment(_Environment):
    """The private bucket of work and derivatives."""

    artifacts: _Name = Field(validation_alias="CELLDOCK_ARTIFACTS")


class FormatsEnvironment(_Environment):
    """The formats that this installation makes: names with commas between them; none for all that there are."""

    formats: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = Field(
        (), validation_alias="CELLDOCK_FORMATS"
    )


class PublicEnvironment(_Environment):
    """The bucket of published copies."""

    public: _Name = Field(validation_alias="CELLDOCK_PUBLIC")


class MachineEnvironment(_Environment):
    """The workflow's state machine."""

    machine_arn: _Arn = Field(validation_alias="CELLDOCK_MACHINE_ARN")


class BusEnvironment(_Environment):
    """The event bus of the portal."""

    bus: _Name = Field(validation_alias="CELLDOCK_BUS")


class ApiEnvironment(TableEnvironment, InboxEnvironment, ArtifactsEnvironment, PublicEnvironment, MachineEnvironment):
    """What the API reaches."""


def read_environment[E: BaseModel](model: type[E], variables: Mapping[str, str] | None = None) -> E:
    """The environment as `model`, checked.

    Raises:
        ServiceFault: a variable is missing or makes no sense; the message names it and not its value.
    """
    try:
        return model.model_validate(dict(os.environ if variables is None else variables))
    except ValidationError as error:
        wrong = ", ".join(sorted(str(problem["loc"][0]) for problem in error.errors()))
        raise ServiceFault(f"Environment variables missing or wrong: {wrong}.", code="environment") from None
