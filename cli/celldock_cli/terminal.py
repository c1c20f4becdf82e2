"""What every command writes: one JSON document on stdout, one line of complaint on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_json(document: Any) -> None:
    """The document and nothing else, for `--json`."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def complain(message: str, hint: str = "") -> None:
    """Says on stderr what went wrong, and what to do about it."""
    # Not above: a command that succeeds has nothing to escape here.
    from celldock.report.text import printable

    print(f"celldock: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"  hint: {printable(hint)}", file=sys.stderr)
