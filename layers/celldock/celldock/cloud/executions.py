"""The workflow's executions: started under a name that makes a second start harmless, and stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from celldock.canonical import canonical_json
from celldock.catalog.records import RunInput
from celldock.cloud.faults import aws_faults, error_code
from celldock.errors import Conflict

# A redrive that died before it could claim leaves its number used up. More of these than this in a row is no accident.
_MAX_RUNS_TRIED = 20


@dataclass(frozen=True, slots=True)
class Started:
    """An execution of a run. `existed`: it ended before this call, which has started nothing."""

    arn: str
    run: int
    existed: bool


class Executions:
    """The executions of one state machine."""

    def __init__(self, client: Any, machine_arn: str) -> None:
        self._client = client
        self._machine_arn = machine_arn

    def start(self, run: RunInput) -> Started:
        """Starts the run's execution; an execution of that name that exists already is a result, not an error."""
        arn = self.arn_of(run)
        with aws_faults(self._machine_arn):
            try:
                answer = self._client.start_execution(
                    stateMachineArn=self._machine_arn,
                    name=run.execution_name,
                    input=canonical_json(run.model_dump()).decode(),
                )
            except ClientError as error:
                if error_code(error) != "ExecutionAlreadyExists":
                    raise
                return Started(arn, run.run, existed=True)
        return Started(str(answer["executionArn"]), run.run, existed=False)

    def start_next(self, run: RunInput) -> Started:
        """Starts `run`, or the first run after it whose name is free.

        Step Functions answers a second start of a *running* execution as if it were the first, so a name that is
        taken belongs to a run that ended before it could claim the version.

        Raises:
            Conflict: run after run has ended so.
        """
        for number in range(run.run, run.run + _MAX_RUNS_TRIED):
            started = self.start(run.model_copy(update={"run": number}))
            if not started.existed:
                return started
        raise Conflict("Run after run ends before it claims the version.", code="redrive.exhausted", where=run.key)

    def arn_of(self, run: RunInput) -> str:
        """The ARN that the run's execution has."""
        return f"{self._machine_arn.replace(':stateMachine:', ':execution:')}:{run.execution_name}"


def stop_execution(client: Any, arn: str, cause: str) -> None:
    """Stops an execution of any machine; one that has ended or is unknown stays as it is."""
    with aws_faults(arn):
        try:
            client.stop_execution(executionArn=arn, error="Superseded", cause=cause)
        except ClientError as error:
            if error_code(error) != "ExecutionDoesNotExist":
                raise
