"""A local folder for files in the making, empty at the start of each invocation.

Lambda keeps /tmp from one invocation to the next, also after one that ended badly, and the next one may belong to
another submitter.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Generator[Path]:
    """An empty folder that exists for the duration of the block. One at a time in a process."""
    folder = Path(tempfile.gettempdir()) / "celldock"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
