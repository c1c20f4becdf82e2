"""What a process of the sandbox gives up. Each measure stands alone: where a system lacks one, the others hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.sandbox.seccomp import restrict_system_calls

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_GRACE_SECONDS = 5
# The launcher starts with its control socket alone, so nothing in it ever has a high number.
_MAX_DESCRIPTOR = 4096


def hide_memory() -> None:
    """Keeps other processes of this user from reading this one's memory and environment in /proc (Linux).

    Root reads them all the same.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """Has this process killed when the thread that started it ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(limits: Limits) -> None:
    """Leaves this process nothing but its open descriptors, its memory and some time. There is no way back.

    From here on it can open nothing (`import` included), start nothing, and make no larger file; where seccomp works,
    no other system call either.
    """
    for name, soft, hard in (
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_FSIZE", 0, 0),
        ("RLIMIT_NPROC", 0, 0),
        ("RLIMIT_CPU", limits.cpu_seconds, limits.cpu_seconds + _GRACE_SECONDS),
        ("RLIMIT_AS", limits.memory, limits.memory),
        ("RLIMIT_NOFILE", 0, 0),
    ):
        # A system may lack a limit, refuse it (macOS: RLIMIT_AS), or have a lower one already.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (soft, hard))
    restrict_system_calls()


def close_all_but(descriptor: int) -> None:
    """Closes every other descriptor of this process."""
    os.closerange(0, descriptor)
    os.closerange(descriptor + 1, _MAX_DESCRIPTOR)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
