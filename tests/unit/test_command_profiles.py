"""Profiles name a celldock on AWS; its API is called with a signature."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest

from celldock_cli.api import Api, ApiError
from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.profiles import Target, resolve

LAB = """
[lab]
inbox = "lab-inbox"
api = "https://abc.lambda-url.eu-west-1.on.aws/"
region = "eu-west-1"
"""


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "profiles.toml"
    monkeypatch.setenv("CELLDOCK_PROFILES", str(path))
    return path


def test_a_profile_leads_to_aws(profiles: Path) -> None:
    profiles.write_text(LAB)
    target = resolve("lab")
    assert (target.inbox, target.region, target.endpoint) == ("lab-inbox", "eu-west-1", None)
    assert target.client("s3").meta.region_name == "eu-west-1"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        ("[lab", "not valid TOML"),
        ("[other]\n", "it has: other"),
        ('[lab]\ninbox = "x"\nregion = "eu-west-1"\n', "api: Field required"),
        (LAB + 'bucket = "y"\n', "bucket: Extra inputs"),
        (LAB.replace("https://abc", "abc"), "api:"),
    ],
)
def test_a_profile_that_cannot_be_used_is_explained(profiles: Path, content: str | None, told: str) -> None:
    if content is not None:
        profiles.write_text(content)
    with pytest.raises(CommandFailed, match=told) as failure:
        resolve("lab")
    assert failure.value.exit_code == Exit.USAGE


class _Door(BaseHTTPRequestHandler):
    """An API that remembers how it was called and answers as told."""

    answer: tuple[int, bytes] = (200, b"{}")
    heard: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers.get("Authorization", "")))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def door() -> Iterator[tuple[type[_Door], Api]]:
    handler = type("Door", (_Door,), {"heard": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    session = boto3.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="s", region_name="eu-west-1")
    yield handler, Api(Target("lab", "inbox", f"http://127.0.0.1:{server.server_port}/", "eu-west-1", session))
    server.shutdown()


def test_calls_are_signed_for_the_function_url_and_names_arrive_byte_exact(door: tuple[type[_Door], Api]) -> None:
    handler, api = door
    api.dataset("lab/Zürich + 100%25")
    ((path, authorization),) = handler.heard
    assert path == "/datasets?id=lab%2FZ%C3%BCrich+%2B+100%2525"
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/lambda/aws4_request" in authorization


@pytest.mark.parametrize(
    ("status", "body", "told", "exit_code"),
    [
        (409, b'{"error":{"code":"publish.not_ready","message":"It is INVALID.","hint":"h"}}', "INVALID", Exit.USAGE),
        (403, b'{"Message":"Forbidden"}', "Forbidden", Exit.USAGE),
        (502, b'{"message":"Internal"}', "Internal", Exit.OUR_FAULT),
        (500, b"<html>", "no JSON object", Exit.OUR_FAULT),
    ],
)
def test_what_the_api_refuses_is_told(
    door: tuple[type[_Door], Api], status: int, body: bytes, told: str, exit_code: Exit
) -> None:
    handler, api = door
    handler.answer = (status, body)
    with pytest.raises(CommandFailed, match=told) as failure:
        api.dataset("lab/x")
    assert failure.value.exit_code == exit_code
    if isinstance(failure.value, ApiError):
        assert failure.value.status == status
