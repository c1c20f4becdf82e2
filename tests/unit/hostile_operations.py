"""What a child does whose libhdf5 was taken over: each operation is an attack. Runs inside the sandbox."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from celldock.h5ad.sandbox import operations

DESCRIPTORS = range(64)


def read_file(path: str) -> str:
    with open(path, "rb") as stream:  # noqa: PTH123 - the plainest way there is
        return stream.read(4096).decode("utf-8", "replace")


def list_folder(path: str) -> list[str]:
    return os.listdir(path)  # noqa: PTH208


def write_file(path: str) -> str:
    Path(path).write_text("written")
    return "written"


def connect(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"leaked")
    return "connected"


def fork() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"


def execute() -> str:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return "executed"


def remove_file(path: str) -> str:
    os.unlink(path)  # noqa: PTH108
    return "removed"


def signal_process(pid: int) -> str:
    assert pid > 1
    os.kill(pid, 0)
    return "signalled"


def read_memory(pid: int) -> str:
    """As a debugger does, without opening anything: the first bytes of the other's address space that can be read."""

    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    into = ctypes.create_string_buffer(16)
    here = Piece(ctypes.addressof(into), 16)
    there = Piece(ctypes.addressof(into), 16)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        code = ctypes.get_errno()
        # Nothing mapped there: the call itself was allowed.
        if code != 14:
            raise OSError(code, os.strerror(code))
    return "read"


ATTACKS: Mapping[str, Callable[..., Any]] = {
    attack.__name__: attack
    for attack in (
        *(read_file, list_folder, write_file, connect, fork, execute, remove_file, signal_process, read_memory),
    )
}


def try_attack(name: str, **arguments: Any) -> dict[str, Any]:
    """What an attack gave, or why it gave nothing."""
    try:
        return {"gave": ATTACKS[name](**arguments)}
    except OSError as error:
        return {"refused": os.strerror(error.errno or 0)}
    except ImportError as error:
        return {"refused": str(error)}


def _environment(file: object) -> dict[str, str]:
    libc = ctypes.CDLL(None)
    held = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    entries: list[str] = []
    while entry := held[len(entries)]:
        entries.append(entry.decode())
    return {"python": json.dumps(dict(os.environ)), "libc": json.dumps(entries)}


def _allocate(file: object, *, size: int) -> int:
    return int(np.ones(size, np.uint8)[-1])


def _spin(file: object) -> None:
    while True:
        pass


def _wait(file: object) -> None:
    """Waits, without computing, for a message that nobody sends."""
    for descriptor in DESCRIPTORS:
        try:
            os.read(descriptor, 1)
        except OSError:
            continue


def _die(file: object, *, how: str) -> None:
    if how == "segfault":
        ctypes.string_at(1)
    elif how == "abort":
        os.abort()
    elif how == "recurse":
        _die(file, how=how)
    elif how == "exit":
        os._exit(0)
    elif how == "hang up":
        os.closerange(0, DESCRIPTORS.stop)
        _spin(file)


def _say(file: object, *, head: str, body: int = 0, claim: int | None = None) -> None:
    """Sends a frame of its own making, `head` as Latin-1 and `body` zeros, and goes on as if nothing had happened."""
    frame = struct.pack("<QQ", len(head), body if claim is None else claim) + head.encode("latin-1") + bytes(body)
    for descriptor in DESCRIPTORS:
        try:
            os.write(descriptor, frame)
        except OSError:
            continue


def _answer(file: object, *, dtype: str, shape: list[int], fill: int) -> np.ndarray:
    return np.full(shape, fill, dtype)


def _process(file: object) -> dict[str, int]:
    return {"child": os.getpid(), "launcher": os.getppid()}


def _lie(file: object, **arguments: Any) -> Any:
    return {"values": np.full(20, 99, np.float64), "mask": None}


def _values(file: object, *, texts: list[str]) -> dict[str, Any]:
    """Every kind of value that an honest child may send."""
    return {
        "numbers": [np.arange(6, dtype=dtype).reshape(2, 3) for dtype in ("i1", ">i2", "<u8", "f2", ">f8", "c16")],
        "flags": np.array([True, False]),
        "texts": np.array(texts, dtype=object),
        "none": np.empty((0, 3), np.int32),
        "scalar": np.float32(1.5),
        "$array": {"$plain": [None, True, 1, 2.5, "é\ud7ff"]},
    }


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    **operations.OPERATIONS,
    "attack": lambda file, **arguments: try_attack(**arguments),
    "environment": _environment,
    "allocate": _allocate,
    "spin": _spin,
    "wait": _wait,
    "die": _die,
    "say": _say,
    "answer": _answer,
    "process": _process,
    "values": _values,
    "column": _lie,
}
