"""Invoke runs the real handler in a sandbox. Stock moto needs Docker, or answers with Docker's error message."""

from __future__ import annotations

import base64
from typing import Any

from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaFunction
from moto.awslambda.responses import LambdaResponse

from celldock_local.mends.context import LambdaRunner, MendContext, Throttled

PAYLOAD_LIMIT = {"RequestResponse": 6_291_556, "Event": 1_048_576}
"""Bytes, AWS's figures."""


class _TooManyRequests(LambdaClientError):
    code = 429

    def __init__(self, message: str) -> None:
        super().__init__("TooManyRequestsException", message)


class _RequestTooLarge(LambdaClientError):
    code = 413

    def __init__(self, size: int, limit: int) -> None:
        text = f"{size} byte payload is too large for the invocation type (limit {limit} bytes)"
        super().__init__("RequestTooLargeException", text)


def apply(context: MendContext) -> None:
    def invoke(self: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        payload = (body.encode() if isinstance(body, str) else body) or b"{}"
        headers = {str(k).lower(): str(v) for k, v in dict(request_headers or {}).items()}
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "DryRun":
            return b""
        limit = PAYLOAD_LIMIT[kind]
        if len(payload) > limit:
            raise _RequestTooLarge(len(payload), limit)
        if kind == "Event":
            context.runner.invoke_async(self.function_arn, payload)
            return b""
        return _run(context.runner, self, payload, response_headers)

    LambdaFunction.invoke = invoke
    _honour_qualifier()


def _run(runner: LambdaRunner, function: LambdaFunction, payload: bytes, response_headers: Any) -> bytes:
    try:
        result = runner.invoke(function.function_arn, payload)
    except Throttled as throttled:
        raise _TooManyRequests(str(throttled)) from throttled
    if result.error:
        response_headers["x-amz-function-error"] = result.error
    response_headers["x-amz-log-result"] = base64.b64encode(result.logs.encode()[-4096:]).decode()
    response_headers["x-amzn-requestid"] = result.request_id
    response_headers["x-amz-executed-version"] = str(function.version)
    return result.payload


def _honour_qualifier() -> None:
    """moto looks for `qualifier`, clients send `Qualifier`: it would always run $LATEST."""
    stock: Any = LambdaResponse._get_param

    def get_param(self: LambdaResponse, name: str, *args: Any, **kwargs: Any) -> Any:
        return stock(self, "Qualifier" if name == "qualifier" else name, *args, **kwargs)

    LambdaResponse._get_param = get_param
