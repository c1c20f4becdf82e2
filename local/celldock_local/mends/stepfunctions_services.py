"""Tasks call services through clients that many executions can share, and see their answers as JSON.

Stock moto makes a new client for each task, from a session that threads must not share, for the port in MOTO_PORT. It
cannot describe an execution any more once a service answered with a time, and gives SDK integrations whose API is not
written in PascalCase (Step Functions' own) parameters that they do not know.
"""

from __future__ import annotations

import sys
import threading
from datetime import datetime
from functools import lru_cache
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.model import OperationModel, ServiceModel
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import StateTaskService
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import (
    StateTaskServiceAwsSdk,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_sfn import (
    StateTaskServiceSfn,
)

from celldock_local.mends.context import MendContext
from celldock_local.mends.stepfunctions_executions import iso

_MAX_TASK_SECONDS = 15 * 60 + 60  # a function's longest run, and some
_CONNECTIONS = 256

# The names of Step Functions' SDK integrations that are not those of boto3.
_BOTO_NAMES = {"eventbridge": "events", "cloudwatchlogs": "logs", "sfn": "stepfunctions"}


def apply(context: MendContext) -> None:
    _share_clients(context)
    task: Any = StateTaskService
    task._SERVICE_NAME_SFN_TO_BOTO_OVERRIDES.update(_BOTO_NAMES)
    stock_value = task._from_boto_response_value
    task._from_boto_response_value = staticmethod(lambda value: as_json(stock_value(value)))
    for service in (StateTaskServiceAwsSdk, StateTaskServiceSfn):
        _follow_the_model(service)


def _share_clients(context: MendContext) -> None:
    making, clients = threading.Lock(), {}
    config = Config(
        parameter_validation=False,
        retries={"total_max_attempts": 1},
        read_timeout=_MAX_TASK_SECONDS,
        max_pool_connections=_CONNECTIONS,
    )

    def boto_client_for(region: str, service: str, state_credentials: Any = None) -> Any:
        with making:
            if (region, service) not in clients:
                clients[region, service] = boto3.Session().client(
                    service,
                    region_name=region,
                    endpoint_url=context.client("sts").meta.endpoint_url,
                    aws_access_key_id="states",
                    aws_secret_access_key="states",
                    config=config,
                )
            return clients[region, service]

    modules: list[Any] = [module for name, module in sys.modules.items() if name.startswith("moto.stepfunctions.")]
    for module in modules:
        if hasattr(module, "boto_client_for"):
            module.boto_client_for = boto_client_for


def as_json(value: Any) -> Any:
    """A service's answer with its times as text."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {name: as_json(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_json(member) for member in value]
    return value


def _follow_the_model(service: Any) -> None:
    stock_parameters = service._normalise_parameters

    def parameters(self: Any, parameters: Any, boto_service_name: Any = None, service_action_name: Any = None) -> None:
        stock_parameters(self, parameters, boto_service_name, service_action_name)
        operation = _operation(self, boto_service_name, service_action_name)
        if operation and operation.input_shape:
            self._to_boto_request(parameters, operation.input_shape)

    def response(self: Any, response: Any, boto_service_name: Any = None, service_action_name: Any = None) -> None:
        operation = _operation(self, boto_service_name, service_action_name)
        if operation and operation.output_shape:
            self._from_boto_response(response, operation.output_shape)

    service._normalise_parameters, service._normalise_response = parameters, response


def _operation(task: Any, service: str | None, action: str | None) -> OperationModel | None:
    return _operations(task._get_boto_service_name(service)).get(task._get_boto_service_action(action))


@lru_cache(maxsize=32)
def _operations(service: str) -> dict[str, OperationModel]:
    model = ServiceModel(boto3.Session()._session.get_component("data_loader").load_service_model(service, "service-2"))
    return {xform_name(name): model.operation_model(name) for name in model.operation_names}
