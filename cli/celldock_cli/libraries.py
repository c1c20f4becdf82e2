"""The C libraries' settings that template.yaml gives the functions, for this process."""

from __future__ import annotations

import ctypes
import os
import sys

# glibc's malloc.h has the numbers. Blocks of some MB come and go while a matrix is scanned: as it is, malloc hands
# their pages back each time, and to touch them anew takes time.
MALLOC = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_TRIM_THRESHOLD_": (-1, 256 << 20),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
}
VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}


def settle() -> None:
    """To be called before NumPy is imported. What the user has set, and what a system does not know, stays as it is."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for name, (number, value) in MALLOC.items():
        if name not in os.environ:
            mallopt(number, value)
