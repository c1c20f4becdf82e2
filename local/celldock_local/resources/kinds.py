"""What the local stack knows of one CloudFormation resource type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.cloudformation.exceptions import UnformattedGetAttTemplateException

from celldock_local.mends.context import MendContext

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One resource to create, with all references resolved."""

    context: MendContext
    name: str  # from the property that names it, or generated
    properties: Properties
    stock: Callable[[Properties], Any]  # moto's own way to create it, where there is one


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type: the properties that may be written, and how it is made.

    `modelled` properties have an effect here. `accepted` ones are only AWS's business (tags, tracing, encryption keys):
    leaving them out changes nothing that can be observed locally. Any other property fails the deploy.
    """

    type: str
    modelled: frozenset[str]
    accepted: frozenset[str] = frozenset({"Tags"})
    create: Callable[[Request], Any] | None = None  # None: moto does it right
    named_by: str = ""
    attributes: frozenset[str] = field(default_factory=frozenset[str])  # beside those of moto's own model

    @property
    def properties(self) -> frozenset[str]:
        return self.modelled | self.accepted


class Resource:
    """A resource that moto's CloudFormation has no model for: its Ref and its attributes, under moto's names."""

    def __init__(self, ref: str, attributes: Mapping[str, str] | None = None) -> None:
        self.physical_resource_id = ref
        self._attributes = dict(attributes or {})

    def is_created(self) -> bool:
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        if attribute_name not in self._attributes:
            raise UnformattedGetAttTemplateException
        return self._attributes[attribute_name]


class Unsupported(ValueError):
    """A value that the local stack cannot honour."""


def only(where: str, value: Mapping[str, Any], allowed: set[str]) -> None:
    """Raises Unsupported if `value` has other keys than `allowed`."""
    unknown = sorted(set(value) - allowed)
    if unknown:
        raise Unsupported(f"the local stack does not know {', '.join(unknown)} of {where}")


def flag(value: Any) -> bool:
    """CloudFormation's booleans may be strings."""
    return str(value).lower() == "true"


def text_flag(value: Any) -> str:
    return "true" if flag(value) else "false"
