"""Where a checkout of celldock keeps what the local stack needs; `make build-local runtime` puts it there."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from celldock_local.stack import StackFailed, runtime_folder

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = ROOT / ".celldock" / "local"
RUNTIME = runtime_folder(ROOT)
# On Lambda's own platform the build for AWS serves; elsewhere there is a second one with this machine's wheels.
BUILD = ROOT / ".aws-sam" / ("build" if (sys.platform, platform.machine()) == ("linux", "x86_64") else "local")


def require_built() -> None:
    """Raises StackFailed, with the command that helps, where there is nothing to deploy."""
    if not (BUILD / "template.yaml").is_file() or not RUNTIME.is_dir():
        raise StackFailed("nothing is built yet: run `make build-local runtime` in a checkout of celldock")
