"""What `make build` left behind."""

from __future__ import annotations

import pytest

from scripts.build import LAMBDA, is_current
from scripts.layer_sizes import BUILD, Built, built


@pytest.fixture(scope="session")
def deployment() -> Built:
    """The functions and layers that would be deployed to AWS, of exactly these sources."""
    if not is_current(BUILD, LAMBDA):
        pytest.fail("the build is missing or not of these sources: run `make build` first (`make test` does)")
    return built(BUILD)
