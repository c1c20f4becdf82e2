"""What the tests of the sandbox share: files opened by operations that attack, and what is said of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celldock.errors import HostileFile
from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.sandbox.parent import Sandbox, Session
from celldock.h5ad.source import LocalSource

HOSTILE = "tests.unit.hostile_operations"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc, seccomp and RLIMIT_AS are Linux's")


@contextlib.contextmanager
def opened(sandbox: Sandbox, path: Path, limits: Limits | None = None) -> Iterator[Session]:
    """A file in a child of the sandbox."""
    with sandbox.open(LocalSource(path), limits) as session:
        yield session


def refusal(
    sandbox: Sandbox, path: Path, operation: str, limits: Limits | None = None, **arguments: Any
) -> HostileFile:
    """Why a call of an operation was refused."""
    with opened(sandbox, path, limits) as session, pytest.raises(HostileFile) as refused:
        session.call(operation, **arguments)
    assert refused.value.hint
    return refused.value
