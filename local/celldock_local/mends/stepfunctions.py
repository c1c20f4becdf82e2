"""State machines run as Step Functions runs them: all parts of that, in the order in which they build on each other."""

from __future__ import annotations

from celldock_local.mends import (
    stepfunctions_backend,
    stepfunctions_distributed_map,
    stepfunctions_errors,
    stepfunctions_executions,
    stepfunctions_halting,
    stepfunctions_services,
)
from celldock_local.mends.context import MendContext

PARTS = (
    stepfunctions_backend,
    stepfunctions_halting,
    stepfunctions_executions,
    stepfunctions_services,
    stepfunctions_errors,
    stepfunctions_distributed_map,
)


def apply(context: MendContext) -> None:
    for part in PARTS:
        part.apply(context)
