"""The layers' requirements: pinned and hashed, and free of any registry's address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.layer_sizes import ROOT

REQUIREMENTS = sorted((ROOT / "layers").glob("*/*.txt"))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_requirement_is_pinned_and_hashed(path: Path) -> None:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    requirements = text.replace("\\\n", " ").splitlines()
    assert requirements
    for requirement in requirements:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ;[^#]+?)?( +--hash=sha256:[0-9a-f]{64})+ *", requirement), requirement
