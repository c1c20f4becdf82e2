"""Executions are started once by name, stop when they are told to, tell EventBridge of it, and show what they did.

Stock moto starts two executions of one name at once, calls all nameless ones "None", trips over one that is asked for
in its first milliseconds and over `$$.Execution.StartTime`, drops error and cause of a stop and of a failed callback,
shows no end of a timed-out execution, no page of a history, and emits no status change.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.stepfunctions import responses
from moto.stepfunctions.exceptions import InvalidName, InvalidToken
from moto.stepfunctions.parser import models
from moto.stepfunctions.parser.api import ExecutionStatus, GetExecutionHistoryOutput
from moto.stepfunctions.parser.asl.component.state import state as state_module
from moto.stepfunctions.parser.asl.eval.program_state import ProgramStopped
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution

from celldock_local.mends.context import MendContext
from celldock_local.mends.eventbridge import publish, service_event

log = logging.getLogger(__name__)

_NAME = re.compile(r'[^\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}')
_START_SECONDS = 10  # how long a new execution may take to be able to hear a stop
_EVENT_INPUT_BYTES = 248 * 1024  # inputs and outputs above it are left out of events


class _Communication(BaseExecutionWorkerCommunication):
    def terminated(self) -> None:
        super().terminated()
        execution: Any = self.execution
        state = execution.exec_worker.env.program_state()
        if isinstance(state, ProgramStopped):
            execution.error, execution.cause = state.error, state.cause
        execution.finished.set()
        execution.tell(execution.exec_status)


class LiveExecution(Execution):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finished = threading.Event()

    @property
    def status(self) -> Any:
        return (self.exec_status or ExecutionStatus.RUNNING).value

    def get_start_execution_details(self) -> Any:
        details: Any = super().get_start_execution_details()
        details.start_time = iso(self.start_date)
        return details

    def _get_start_execution_worker_comm(self) -> BaseExecutionWorkerCommunication:
        return _Communication(self)

    def start(self) -> None:
        self.tell(ExecutionStatus.RUNNING)
        super().start()

    def stop(self, stop_date: datetime, error: str | None, cause: str | None) -> None:
        """Returns when the execution has ended; its functions may run on, unheard."""
        deadline = time.monotonic() + _START_SECONDS
        while not self.finished.is_set() and time.monotonic() < deadline:
            env = self.exec_worker and self.exec_worker.env
            if env and env.is_running():
                env.set_stop(stop_date=stop_date, error=error, cause=cause)
            self.finished.wait(0.02)

    def to_describe_output(self) -> Any:
        output = {name: value for name, value in super().to_describe_output().items() if value is not None}
        return {**output, "status": self.status, "input": self.execution_input}

    def to_history_output(self) -> GetExecutionHistoryOutput:
        started = self.exec_worker is not None and self.exec_worker.env is not None
        return super().to_history_output() if started else GetExecutionHistoryOutput(events=[])

    def tell(self, status: ExecutionStatus) -> None:
        """Emit the status change. An execution goes on if that fails."""
        try:
            event = _status_change(self, status)
            publish(self.account_id, self.region_name, event)
        except Exception:
            log.exception("%s: its change to %s is not told", self.exec_arn, status)


def iso(moment: datetime) -> str:
    """As in Step Functions' context object: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _status_change(execution: Any, status: ExecutionStatus) -> dict[str, Any]:
    """Source: https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html"""
    described = execution.to_describe_output()
    given, output = described["input"], described.get("output")
    whole = len(given.encode()) + len((output or "").encode()) <= _EVENT_INPUT_BYTES
    ended = status != ExecutionStatus.RUNNING
    detail = {
        "executionArn": execution.exec_arn,
        "stateMachineArn": execution.state_machine.arn,
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "name": execution.name,
        "status": status.value,
        "startDate": _milliseconds(execution.start_date),
        "stopDate": _milliseconds(execution.stop_date) if ended else None,
        "input": given if whole else None,
        "inputDetails": {"included": whole},
        "output": output if whole else None,
        "outputDetails": {"included": whole} if output is not None else None,
        "error": execution.error,
        "cause": execution.cause,
        "redriveCount": 0,
        "redriveDate": None,
        "redriveStatus": "NOT_REDRIVABLE",
        "redriveStatusReason": None,
    }
    kind = "Step Functions Execution Status Change"
    return service_event(execution.account_id, execution.region_name, "aws.states", kind, execution.exec_arn, detail)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def apply(_context: MendContext) -> None:
    parser: Any = models
    parser.Execution = LiveExecution
    _start_once()
    _answer_in_full()
    states: Any = state_module
    stock_state_data = states.StateData

    def state_data(*, EnteredTime: str, Name: str) -> Any:  # noqa: N803 - the context object's names
        return stock_state_data(EnteredTime=iso(datetime.fromisoformat(EnteredTime)), Name=Name)

    states.StateData = state_data


def _start_once() -> None:
    backend = models.StepFunctionsParserBackend
    stock_start, starting = backend.start_execution, threading.Lock()

    def start_execution(self: Any, state_machine_arn: str, name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        if name is not None and not _NAME.fullmatch(name):
            raise InvalidName(f"Invalid Name: '{name}'")
        with starting:
            return stock_start(self, state_machine_arn, name or str(uuid.uuid4()), *args, **kwargs)

    backend.start_execution = start_execution


def _answer_in_full() -> None:
    response: Any = responses.StepFunctionResponse
    stock_list = response.list_executions

    def describe_execution(self: Any) -> ActionResult:
        return ActionResult(
            self.stepfunction_backend.describe_execution(self._get_param("executionArn")).to_describe_output()
        )

    def list_executions(self: Any) -> ActionResult:
        answer = stock_list(self)
        for item in answer.result["executions"]:
            execution = self.stepfunction_backend.describe_execution(item["executionArn"])
            if execution.stop_date:
                item["stopDate"] = execution.stop_date
        return answer

    def stop_execution(self: Any) -> ActionResult:
        execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
        execution.stop(datetime.now(UTC), error=self._get_param("error"), cause=self._get_param("cause"))
        return ActionResult({"stopDate": execution.stop_date})

    def send_task_failure(self: Any) -> EmptyResult:
        self.stepfunction_backend.send_task_failure(
            self._get_param("taskToken"), error=self._get_param("error"), cause=self._get_param("cause")
        )
        return EmptyResult()

    response.describe_execution = describe_execution
    response.list_executions = list_executions
    response.stop_execution = stop_execution
    response.send_task_failure = send_task_failure
    response.get_execution_history = _history_page


def _history_page(self: Any) -> ActionResult:
    """In either order, page by page; the token is the number of events that were given."""
    history = self.stepfunction_backend.get_execution_history(self._get_param("executionArn"))
    events = history["events"]
    if self._get_bool_param("reverseOrder"):
        events = events[::-1]
    token = self._get_param("nextToken") or "0"
    if not token.isdecimal():
        raise InvalidToken(f"'{token}'")
    begin = int(token)
    end = begin + (self._get_int_param("maxResults") or 1000)
    answer = {"events": events[begin:end]}
    if end < len(events):
        answer["nextToken"] = str(end)
    return ActionResult(answer)
