"""The one place where boto3's exceptions become celldock's errors, which the workflow's Retry and Catch name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from celldock.errors import CelldockError, Conflict, ObjectGone, ServiceFault, Throttled, TransientError

_THROTTLED = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottlingError",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "ExecutionLimitExceeded",
        "429",
    }
)
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404", "MethodNotAllowed", "405"})
_CONFLICT = frozenset(
    {
        "ConditionalCheckFailed",
        "ConditionalCheckFailedException",
        "PreconditionFailed",
        "ConditionalRequestConflict",
        "412",
    }
)
_TRANSIENT = frozenset(
    {
        "InternalError",
        "InternalServerError",
        "InternalFailure",
        "InternalException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_CONNECTION_ERRORS = (AwsConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)
_SERVER_ERROR = 500


@contextmanager
def aws_faults(where: str) -> Generator[None]:
    """Raises celldock's errors in place of boto3's; `where` names the resource in them.

    Raises:
        ObjectGone: the object or its version does not exist.
        Conflict: the condition of a write does not hold.
        Throttled: AWS asks for fewer requests.
        TransientError: AWS or the way to it failed; the same call may work later.
        ServiceFault: anything else, such as a missing right or resource.
    """
    try:
        yield
    except ClientError as error:
        raise _from_client_error(error, where) from error
    except _CONNECTION_ERRORS as error:
        raise TransientError(
            f"No answer from AWS: {type(error).__name__}.", code="aws.connection", where=where
        ) from error
    except BotoCoreError as error:
        raise ServiceFault(f"AWS cannot be called: {error}", code="aws.client", where=where) from error


def error_code(error: ClientError) -> str:
    """The code that AWS gave an error, such as `NoSuchKey`; "" where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_client_error(error: ClientError, where: str) -> CelldockError:
    response = cast("dict[str, Any]", error.response)
    code = error_code(error)
    if code == "TransactionCanceledException":
        reasons: list[dict[str, Any]] = response.get("CancellationReasons", [])
        return _from_codes([str(reason.get("Code", "None")) for reason in reasons], where)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status >= _SERVER_ERROR and code not in _THROTTLED:
        return TransientError(f"AWS answered {code or status}.", code="aws.server", where=where)
    return _from_code(code, where, str(response.get("Error", {}).get("Message", "")))


def _from_codes(codes: list[str], where: str) -> CelldockError:
    """A cancelled transaction: a condition that does not hold decides, whatever else went wrong beside it."""
    errors = [_from_code(code, where) for code in codes if code != "None"]
    for kind in (Conflict, Throttled, TransientError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0] if errors else ServiceFault("A transaction was cancelled.", code="aws.transaction", where=where)


def _from_code(code: str, where: str, message: str = "") -> CelldockError:
    if code in _GONE:
        return ObjectGone("The object version does not exist.", code="object.gone", where=where)
    if code in _CONFLICT:
        return Conflict("Another run or version owns this now.", code="aws.condition", where=where)
    if code in _THROTTLED:
        return Throttled(f"AWS asks for fewer requests ({code}).", code="aws.throttled", where=where)
    if code in _TRANSIENT:
        return TransientError(f"AWS answered {code}.", code="aws.server", where=where)
    return ServiceFault(f"AWS answered {code}: {message}".rstrip(": "), code="aws.refused", where=where)
