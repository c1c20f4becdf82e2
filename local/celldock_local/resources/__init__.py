"""The CloudFormation resource types of the local stack; one that is not here fails the deploy."""

from __future__ import annotations

from celldock_local.resources.compute import COMPUTE
from celldock_local.resources.kinds import Kind, Request, Resource, Unsupported
from celldock_local.resources.messaging import MESSAGING
from celldock_local.resources.stock import STOCK
from celldock_local.resources.storage import STORAGE

KINDS: dict[str, Kind] = {kind.type: kind for kind in [*STOCK, *STORAGE, *COMPUTE, *MESSAGING]}

__all__ = ["KINDS", "Kind", "Request", "Resource", "Unsupported"]
