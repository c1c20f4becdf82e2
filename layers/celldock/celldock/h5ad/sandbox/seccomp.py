"""A list of the few system calls that a confined child still needs; the kernel answers EPERM to every other one.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html; the numbers are those of the kernel's own tables.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from collections.abc import Iterable

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER = 2

# struct sock_filter, and the classic BPF instructions: load a word of struct seccomp_data, compare, return.
_INSTRUCTION = struct.Struct("<HBBI")
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001  # the last: errno EPERM

# Audit architecture; then: talking over the open socket, memory, locks, clocks, signals to handle, the end.
_SYSTEM_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            **{"read": 0, "write": 1, "close": 3, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47},
            **{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28},
            **{"futex": 202, "sched_yield": 24, "restart_syscall": 219},
            **{"clock_gettime": 228, "gettimeofday": 96, "getrusage": 98, "getrandom": 318},
            **{"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131},
            **{"getpid": 39, "getppid": 110, "gettid": 186, "exit": 60, "exit_group": 231},
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            **{"read": 63, "write": 64, "close": 57, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212},
            **{"mmap": 222, "mprotect": 226, "munmap": 215, "brk": 214, "mremap": 216, "madvise": 233},
            **{"futex": 98, "sched_yield": 124, "restart_syscall": 128},
            **{"clock_gettime": 113, "gettimeofday": 169, "getrusage": 165, "getrandom": 278},
            **{"rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "sigaltstack": 132},
            **{"getpid": 172, "getppid": 173, "gettid": 178, "exit": 93, "exit_group": 94},
        },
    ),
}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def restrict_system_calls() -> bool:
    """Takes all other system calls from this process, for good; False where the system cannot do that."""
    known = _SYSTEM_CALLS.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    architecture, numbers = known
    code = ctypes.create_string_buffer(_assemble(architecture, numbers.values()))
    program = _Program(len(code.raw) // _INSTRUCTION.size, ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) != 0:
        return False
    return prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), zero, zero) == 0


def _assemble(architecture: int, numbers: Iterable[int]) -> bytes:
    """Kills for a foreign architecture, whose numbers mean other calls; allows `numbers`, refuses the rest."""
    allowed = list(numbers)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_JUMP_IF_EQUAL, len(allowed) - index, 0, number) for index, number in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
