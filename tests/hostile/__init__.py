"""Hostile and broken files, each with what its submitter must be told.

`CASES` holds one builder for each way in which a file can lie, break, or reach for what is not its own; builders are
quick and give the same bytes each time. docs/hostile-files.md lists the codes.
"""

from __future__ import annotations

# Imported for what they register.
from tests.hostile import containers, contents, corrupt, crowds, elsewhere, names, sizes, types
from tests.hostile.case import CASES, UNREADABLE, Case

__all__ = ["CASES", "UNREADABLE", "Case"]

_ = containers, contents, corrupt, crowds, elsewhere, names, sizes, types
