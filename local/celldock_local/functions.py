"""Deployed functions as moto holds them, turned into what a sandbox needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.logs.models import logs_backends

from celldock_local.aws import ACCOUNT
from celldock_local.code import CodeStore
from celldock_local.sandbox import FunctionSpec


def spec_finder(code: CodeStore, region: str) -> Callable[[str], FunctionSpec]:
    """A look-up by name or ARN, with or without a version or alias. Raises moto's ResourceNotFoundException."""

    def find(function: str) -> FunctionSpec:
        return spec_of(lambda_backends[ACCOUNT][region].get_function(function), code)

    return find


def spec_of(function: LambdaFunction, code: CodeStore) -> FunctionSpec:
    """Everything that a sandbox of `function` needs, code and layers unpacked."""
    backend = lambda_backends[function.account_id][function.region]
    layers = [backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers]
    asynchronous = _asynchronous(function)
    logging_config: dict[str, Any] = getattr(function, "logging_config", {})
    return FunctionSpec(
        name=function.function_name,
        arn=function.function_arn,
        version=str(function.version),
        handler=str(function.handler),
        task=code.folder(function.code_bytes),
        layers=code.merged([code.folder(layer.code_bytes) for layer in layers if layer]),
        region=function.region,
        memory_mb=int(function.memory_size),
        timeout_s=int(function.timeout),
        tmp_mb=int(function.ephemeral_storage),
        reserved=None if function.reserved_concurrency is None else int(function.reserved_concurrency),
        retries=int(asynchronous.get("MaximumRetryAttempts", 2)),
        on_failure=asynchronous.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""),
        dead_letter=getattr(function, "dead_letter_arn", ""),
        environment={str(k): str(v) for k, v in function.environment_vars.items()},
        log_group=logging_config.get("LogGroup") or f"/aws/lambda/{function.function_name}",
        log_format=logging_config.get("LogFormat", "Text"),
        log_level=logging_config.get("ApplicationLogLevel", ""),
    )


def _asynchronous(function: LambdaFunction) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for config in function.event_invoke_config:
        merged |= config.config
    return merged


def store_logs(spec: FunctionSpec, stream: str, logs: str) -> None:
    """Put an invocation's log lines where CloudWatch Logs would."""
    backend = logs_backends[ACCOUNT][spec.region]
    backend.ensure_log_group(spec.log_group)
    if stream not in backend.groups[spec.log_group].streams:
        backend.create_log_stream(spec.log_group, stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in logs.splitlines()]
    backend.put_log_events(spec.log_group, stream, events)
