"""Loopback ports that a stack finds again at its next start."""

from __future__ import annotations

import json
import socket
from pathlib import Path

FILE_NAME = "ports.json"


def claim_port(data: Path, name: str, wanted: int = 0) -> int:
    """A free loopback port: `wanted` if given, else the one that `name` had last time if it is free, else any.

    Raises OSError if `wanted` is taken.
    """
    path = data / FILE_NAME
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    if wanted:
        port = _bind(wanted)
    else:
        try:
            port = _bind(known.get(name, 0))
        except OSError:
            port = _bind(0)
    if known.get(name) != port:
        path.write_text(json.dumps(known | {name: port}, indent=1))
    return port


def _bind(port: int) -> int:
    with socket.socket() as trial:
        # As the servers do: a port whose last connections are only winding down is free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
        return trial.getsockname()[1]
