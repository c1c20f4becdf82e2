"""The same attacks where the system has no seccomp, so that the limits of resources must hold alone."""

from __future__ import annotations

from celldock.h5ad.sandbox import confine
from tests.unit import hostile_operations

OPERATIONS = hostile_operations.OPERATIONS
confine.restrict_system_calls = lambda: False
