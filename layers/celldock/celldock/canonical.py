"""JSON whose bytes depend on the document alone, so that it can be hashed, compared and stored."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(document: Any) -> bytes:
    """One byte sequence for one document: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
