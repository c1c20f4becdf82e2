"""A function in its sandbox: what it sees, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celldock_local.isolation import choose_isolation
from celldock_local.mends.context import InvokeResult
from celldock_local.sandbox import FunctionSpec, Sandbox
from tests.local.example import write_build

ENDPOINT = "http://127.0.0.1:9"


class Box:
    """A sandbox of the example's probe."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def run(self, **event: Any) -> InvokeResult:
        return self.sandbox.invoke(json.dumps(event).encode())

    def ask(self, **event: Any) -> Any:
        result = self.run(**event)
        assert result.error is None, result.payload
        return json.loads(result.payload)

    def error(self, **event: Any) -> dict[str, Any]:
        result = self.run(**event)
        assert result.error == "Unhandled"
        return json.loads(result.payload)


NewBox = Callable[..., Box]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_build(tmp_path_factory.mktemp("code"))


@pytest.fixture
def new_box(folder: Path, runtime: Path, isolation: str) -> Iterator[NewBox]:
    opened: list[Sandbox] = []

    def make(init_limit_s: float = 10, **changes: Any) -> Box:
        spec = FunctionSpec(
            "probe", "arn:aws:lambda:us-east-1:123456789012:function:probe", "$LATEST", "app.handler",
            folder / "Probe", None, "us-east-1", memory_mb=128, timeout_s=5,
        )  # fmt: skip
        sandbox = Sandbox(
            dataclasses.replace(spec, **changes),
            runtime=runtime,
            endpoint=ENDPOINT,
            isolation=choose_isolation(isolation),
            init_limit_s=init_limit_s,
        )
        opened.append(sandbox)
        return Box(sandbox)

    yield make
    for sandbox in opened:
        sandbox.close()


def test_a_warm_sandbox_answers_again(new_box: NewBox) -> None:
    box = new_box()
    first, second = box.run(number=1), box.run(number=2)

    assert json.loads(first.payload)["event"] == {"number": 1}
    assert json.loads(second.payload)["event"] == {"number": 2}
    assert first.init_ms
    assert second.init_ms is None
    assert json.loads(second.payload)["request_id"] == second.request_id
    assert 0 < json.loads(second.payload)["left_ms"] <= 5000
    assert 5 < second.peak_mb < 128
    assert second.logs.count("printed by the function") == 1
    assert f"REPORT RequestId: {second.request_id}" in second.logs


def test_it_imports_what_lambda_has_and_nothing_of_this_environment(new_box: NewBox) -> None:
    box = new_box()

    assert box.ask(do="import", module="boto3") == "boto3"
    for module in ("moto", "pytest", "celldock_local", "h5py"):
        assert box.error(do="import", module=module)["errorMessage"] == f"No module named '{module}'"


def test_a_handler_that_is_missing_is_an_import_error(new_box: NewBox) -> None:
    box = new_box(handler="absent.handler")

    assert box.error()["errorType"] == "Runtime.ImportModuleError"
    assert not box.sandbox.alive


def test_layers_come_after_the_code(new_box: NewBox, folder: Path) -> None:
    box = new_box(layers=folder / "OtherLayer")

    assert box.ask(do="greet") == "from the later layer"
    entries = box.ask(do="path")
    assert [Path(e).name for e in entries[:4]][2] == "python"
    assert "site-packages" in entries[1]


def test_it_gets_lambdas_environment_and_none_of_the_users(new_box: NewBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("SECRET_OF_THE_USER", "canary")
    seen = new_box(environment={"WORD": "given", "AWS_ENDPOINT_URL": "https://elsewhere.example"}).ask(do="environment")

    assert seen["WORD"] == "given"
    assert seen["AWS_ENDPOINT_URL"] == ENDPOINT
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert "canary" not in seen.values()
    assert "AWS_PROFILE" not in seen
    assert "HOME" not in seen


def test_an_exception_leaves_the_sandbox_usable(new_box: NewBox) -> None:
    box = new_box()

    assert box.error(do="fail", message="wrong")["errorType"] == "ValueError"
    assert box.ask(do="user") == (os.getuid() if box.sandbox._isolation.name == "folders" else 1000)


@pytest.mark.parametrize("seconds", [0, 1])
def test_too_much_memory_kills_it(new_box: NewBox, seconds: int) -> None:
    """Also when the peak is over before it could be sampled."""
    box = new_box()

    assert box.ask(do="allocate", mb=60) == 60 << 20
    failed = box.run(do="allocate", mb=200, seconds=seconds)

    assert json.loads(failed.payload)["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in json.loads(failed.payload)["errorMessage"]
    assert failed.peak_mb > 128
    assert not box.sandbox.alive


def test_the_peak_is_that_of_one_invocation(new_box: NewBox) -> None:
    box = new_box()

    assert box.run(do="allocate", mb=60).peak_mb > 65
    assert box.run().peak_mb < 60


def test_a_slow_handler_times_out(new_box: NewBox) -> None:
    box = new_box(timeout_s=1)
    result = box.run(do="sleep", seconds=30)

    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in json.loads(result.payload)["errorMessage"]
    assert 1000 <= result.duration_ms < 3000
    assert not box.sandbox.alive


def test_a_process_that_ends_is_an_exit_error(new_box: NewBox) -> None:
    assert "exit status 3" in new_box().error(do="exit", status=3)["errorMessage"]


def test_a_response_over_six_megabytes_is_refused(new_box: NewBox) -> None:
    assert new_box().error(do="big", bytes=7 << 20)["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(new_box().ask(do="big", bytes=5 << 20)) == 5 << 20


def test_a_slow_init_runs_again_on_the_functions_time(new_box: NewBox, tmp_path: Path) -> None:
    code = tmp_path / "slow"
    code.mkdir()
    (code / "app.py").write_text("import time\ntime.sleep(1)\ndef handler(event, context): return 'there'\n")

    assert new_box(init_limit_s=0.5, task=code, timeout_s=10).ask() == "there"
    assert new_box(init_limit_s=0.5, task=code, timeout_s=0.5).error()["errorType"] == "Sandbox.Timedout"


def test_each_sandbox_has_its_own_temporary_folder(new_box: NewBox) -> None:
    first, second = new_box(), new_box()

    assert first.ask(do="write") == second.ask(do="write") == ["written"]


def test_bubblewrap_hides_this_machine(new_box: NewBox, isolation: str, tmp_path: Path) -> None:
    if isolation != "bubblewrap":
        pytest.skip("plain folders hide nothing")
    canary = tmp_path / "canary"
    canary.write_text("secret")
    box = new_box()

    for path in (canary, Path(__file__), Path.home() / ".bashrc", Path("/etc/hostname"), Path("/etc/shadow")):
        assert box.ask(do="read", path=str(path)) == "FileNotFoundError", path
    assert box.ask(do="list", path="/tmp") == []
    assert box.ask(do="list", path="/var/task") == ["app.py"]


def test_bubblewrap_sizes_tmp_and_keeps_the_rest_read_only(new_box: NewBox, isolation: str) -> None:
    if isolation != "bubblewrap":
        pytest.skip("plain folders have no quota")
    box = new_box(tmp_mb=20)

    assert box.ask(do="write", mb=15) == ["written"]
    assert box.ask(do="write", mb=30) == "No space left on device"
    for folder in ("/var/task", "/opt", "/var", "/", "/dev/shm", "/usr"):
        assert box.ask(do="write", folder=folder) in ("Read-only file system", "Permission denied"), folder
