"""boto3's clients, made on first use and kept for the life of the process.

The endpoint is botocore's own affair (`AWS_ENDPOINT_URL`), so that the same code meets AWS and the local stack.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# A call that hangs must end well before the function's own timeout does, or nothing is recorded.
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=15,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=32,
)


@cache
def client(service: str) -> Any:
    """The process's client of an AWS service. Clients are safe to share between threads.

    Untyped: boto3 makes its clients at run time, so what they return is checked where it is read.
    """
    return boto3.session.Session().client(service, config=_CONFIG)


def forget_clients() -> None:
    """Drops the kept clients, for a process whose endpoint or credentials have changed."""
    client.cache_clear()
