"""Errors have the names that Step Functions gives them, and are caught where Step Functions catches them.

Stock moto lets `States.ALL` and `States.TaskFailed` catch `States.Runtime`, turns each `States.*` error of a Map's or
Parallel's branch into `States.Runtime`, blames DynamoDB for a JSONPath that finds nothing, and calls it
`States.Runtime` when a Distributed Map cannot read its items.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import ErrorEqualsDecl
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.item_reader_decl import ItemReader
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import iteration_worker
from moto.stepfunctions.parser.asl.component.state.exec.state_parallel import branches_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import StateTaskService
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_dynamodb import (
    StateTaskServiceDynamoDB,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment

from celldock_local.mends.context import MendContext

# Source: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
_UNCATCHABLE = ("States.Runtime", "States.DataLimitExceeded")


def apply(_context: MendContext) -> None:
    ErrorEqualsDecl._eval_body = _matches
    modules: list[Any] = [iteration_worker, branches_decl]
    for module in modules:
        module.CustomErrorName = ErrorName
    _name_task_errors()
    _name_reader_errors()


def _matches(self: ErrorEqualsDecl, env: Environment) -> None:
    error = env.stack.pop()
    name = error.error_name if error is not None else None
    listed = [known.error_name for known in self.error_names]
    if name in listed:
        matched = True
    elif name in _UNCATCHABLE:
        matched = False
    else:
        matched = "States.ALL" in listed or ("States.TaskFailed" in listed and name != "States.Timeout")
    env.stack.append(matched)


def _name_task_errors() -> None:
    stock_dynamodb, stock_lambda = StateTaskServiceDynamoDB._from_error, StateTaskServiceLambda._from_error

    def from_dynamodb(self: Any, env: Environment, ex: Exception) -> FailureEvent:
        if isinstance(ex, ClientError):
            return stock_dynamodb(self, env, ex)
        return StateTaskService._from_error(self, env, ex)

    def from_lambda(self: Any, env: Environment, ex: Exception) -> FailureEvent:
        if isinstance(ex, BotoCoreError):  # no answer: a broken connection, a timeout
            return failure(env, "Lambda.SdkClientException", str(ex), self)
        return stock_lambda(self, env, ex)

    StateTaskServiceDynamoDB._from_error = from_dynamodb
    StateTaskServiceLambda._from_error = from_lambda


def failure(env: Environment, error: str, cause: str, task: StateTaskService | None = None) -> FailureEvent:
    """A state's failure; `task` is the service integration that failed, if one did."""
    details: dict[str, Any] = {"error": error, "cause": cause}
    if task is not None:
        details |= {"resource": task._get_sfn_resource(), "resourceType": task._get_sfn_resource_type()}
    name = ErrorName(error) if error.startswith("States.") else CustomErrorName(error)
    event: Any = {"taskFailedEventDetails": details}
    return FailureEvent(env, name, HistoryEventType.TaskFailed, event)


def _name_reader_errors() -> None:
    stock = ItemReader._eval_body

    def read_items(self: ItemReader, env: Environment) -> None:
        try:
            stock(self, env)
        except (ClientError, BotoCoreError, ValueError) as error:
            raise FailureEventException(failure(env, "States.ItemReaderFailed", str(error))) from error

    ItemReader._eval_body = read_items
