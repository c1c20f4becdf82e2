"""Servers that many tests share: each takes seconds to start, and every test makes its own resources."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from celldock_local.checkout import ROOT, RUNTIME
from celldock_local.isolation import bubblewrap_trouble
from celldock_local.stack import LocalStack
from tests.local.example import write_build
from tests.local.mend_server import Server, serving


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stock moto does wrong changes only when it is upgraded, and each of its servers takes seconds to start."""
    for item in items:
        if item.name.startswith("test_stock_"):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def stock() -> Iterator[Server]:
    """moto as it comes."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def executing() -> Iterator[Server]:
    """moto as it comes, but that it executes state machines."""
    with serving("stepfunctions_backend") as server:
        yield server


@pytest.fixture(scope="session")
def mended() -> Iterator[Server]:
    """moto with the mends of S3, EventBridge and Step Functions."""
    with serving("s3_disk", "s3_events", "s3_keys", "eventbridge", "stepfunctions") as server:
        yield server


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The folder with awslambdaric and boto3, as `make runtime` lays it out."""
    if not (RUNTIME / "awslambdaric").is_dir():
        made = subprocess.run(["make", "runtime"], cwd=ROOT, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"the Lambda runtime's packages cannot be installed: {made.stderr[-300:]}")
    return RUNTIME


@pytest.fixture(scope="session", params=["folders", "bubblewrap"])
def isolation(request: pytest.FixtureRequest) -> str:
    """Each way to enclose a function that this machine has."""
    trouble = bubblewrap_trouble()
    if request.param == "bubblewrap" and trouble:
        pytest.skip(trouble)
    return request.param


@pytest.fixture(scope="session")
def stack(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The example service, deployed with all mends."""
    build = write_build(tmp_path_factory.mktemp("build"))
    with LocalStack(build, tmp_path_factory.mktemp("data"), runtime=runtime, parameters={"Word": "given"}) as running:
        shutil.rmtree(build)  # what runs is what was deployed
        yield running
