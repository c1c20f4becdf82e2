"""Bucket policies are evaluated without the statements that have a Condition.

moto does not know conditions: a Deny for requests without TLS would deny everything. Such statements are kept and
shown, and take effect on AWS only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.s3.models import FakeBucket

from celldock_local.mends.context import MendContext


def apply(context: MendContext) -> None:
    stock: Callable[[FakeBucket, str, str], Any] = FakeBucket.get_permission

    def get_permission(self: FakeBucket, action: str, resource: str) -> Any:
        declared = self.policy
        if declared is None:
            return stock(self, action, resource)
        viewed = _Unconditional(declared)
        return stock(viewed, action, resource)  # pyright: ignore[reportArgumentType]

    FakeBucket.get_permission = get_permission


class _Unconditional:
    """As much of a bucket as the evaluation of its policy looks at."""

    def __init__(self, policy: bytes) -> None:
        document = json.loads(policy)
        statements = document["Statement"]
        listed = statements if isinstance(statements, list) else [statements]
        kept = [statement for statement in listed if "Condition" not in statement]
        self.policy = json.dumps({**document, "Statement": kept}).encode() if kept else None
