"""CloudFormation creates everything that a template names, or refuses the template.

Stock moto skips resource types that it does not know with a warning, and drops unknown properties without. Here each
type has its list of properties (`celldock_local.resources`), and anything else fails the deploy by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.cloudformation.parsing import ResourceMap
from moto.core.common_models import CloudFormationModel

from celldock_local.mends.context import MendContext
from celldock_local.resources import KINDS, Kind, Request


def apply(context: MendContext) -> None:
    _refuse_unknown()
    _create_ours(context)
    _name_failures()


def unknown_parts(template: dict[str, Any]) -> list[str]:
    """What of a translated template the local stack does not know, one line each; empty if it can be deployed."""
    problems: list[str] = []
    for logical_id, resource in template.get("Resources", {}).items():
        kind = KINDS.get(resource["Type"])
        if kind is None:
            problems.append(f"{logical_id}: the local stack cannot create {resource['Type']}")
            continue
        unknown = sorted(set(resource.get("Properties") or {}) - kind.properties)
        problems += [f"{logical_id}: the local stack does not know the property {n} of {kind.type}" for n in unknown]
    return problems


def _refuse_unknown() -> None:
    stock_load: Callable[[ResourceMap], None] = ResourceMap.load
    stock_update: Callable[..., None] = ResourceMap.update

    def load(self: ResourceMap) -> None:
        self.load_mapping()
        self.load_parameters()
        self.load_conditions()
        _refuse(self, self._template)
        stock_load(self)

    def update(self: ResourceMap, template: dict[str, Any], parameters: dict[str, Any] | None = None) -> None:
        _refuse(self, template)
        stock_update(self, template, parameters)

    ResourceMap.load = load
    ResourceMap.update = update


def _refuse(resources: ResourceMap, template: dict[str, Any]) -> None:
    wanted = {
        logical_id: resource
        for logical_id, resource in template.get("Resources", {}).items()
        if resources.lazy_condition_map.get(resource.get("Condition"), True)
    }
    problems = unknown_parts({"Resources": wanted})
    if problems:
        raise ValidationError(message="; ".join(problems))


def _create_ours(context: MendContext) -> None:
    stock_class, stock_name = parsing.resource_class_from_type, parsing.resource_name_property_from_type
    adapters = {kind.type: _adapter(kind, context, stock_class) for kind in KINDS.values()}

    def resource_class(resource_type: str) -> Any:
        return adapters.get(resource_type) or stock_class(resource_type)

    def name_property(resource_type: str) -> str | None:
        kind = KINDS.get(resource_type)
        return kind.named_by if kind and kind.named_by else stock_name(resource_type)

    parsing.resource_class_from_type = resource_class
    parsing.resource_name_property_from_type = name_property


def _adapter(kind: Kind, context: MendContext, stock_class: Callable[[str], Any]) -> Any:
    """Stands in for moto's model class of a type: all that CloudFormation asks of one."""
    known = kind.type in parsing.get_model_map()
    stock: Any = stock_class(kind.type) if known else None
    if stock is not None and kind.create is None and not kind.attributes:
        return stock

    class Adapter:
        # moto asks for this mark before it updates or deletes: the local stack is reset as a whole instead.
        update_from_cloudformation_json = CloudFormationModel.update_from_cloudformation_json
        delete_from_cloudformation_json = CloudFormationModel.delete_from_cloudformation_json

        @staticmethod
        def has_cfn_attr(attr: str) -> bool:
            return attr in kind.attributes or (stock is not None and stock.has_cfn_attr(attr))

        @staticmethod
        def create_from_cloudformation_json(
            resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **kwargs: Any
        ) -> Any:
            def create_stock(properties: dict[str, Any]) -> Any:
                assert stock is not None, f"moto has no model of {kind.type}"
                body = {**cloudformation_json, "Properties": properties}
                return stock.create_from_cloudformation_json(resource_name, body, account_id, region_name, **kwargs)

            properties = cloudformation_json.get("Properties", {})
            if kind.create is None:
                return create_stock(properties)
            return kind.create(Request(context, resource_name, properties, create_stock))

    return Adapter


def _name_failures() -> None:
    stock_create: Callable[..., Any] = parsing.parse_and_create_resource

    def create(logical_id: str, resource_json: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return stock_create(logical_id, resource_json, *args, **kwargs)
        except CloudFormationError:
            raise
        except Exception as error:
            where = f"{logical_id} ({resource_json.get('Type')})"
            raise ValidationError(message=f"{where} could not be created: {error or type(error).__name__}") from error

    parsing.parse_and_create_resource = create
