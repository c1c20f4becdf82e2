"""boto3 clients that reach the local stack and nothing else."""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

REGION = "us-east-1"
ACCOUNT = "123456789012"
ACCESS_KEY = "celldock"
SECRET_KEY = "celldock-local"

# As botocore.session.Session.SESSION_VARIABLES, but with neither environment variables nor files to read from: a user's
# profile may neither lend its credentials to the local stack nor lead its requests elsewhere.
_ISOLATED: dict[str, tuple[str | None, str | None, Any, Any]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "region": (None, None, None, None),
    "ca_bundle": (None, None, None, None),
    "ignore_configured_endpoint_urls": (None, None, True, None),
}


_creating = threading.Lock()  # a session may be used by one thread at a time, its clients by any


@functools.cache
def isolated_session(region: str = REGION) -> boto3.Session:
    """A session with dummy credentials that ignores the user's AWS configuration."""
    core = botocore.session.Session(session_vars=_ISOLATED)
    core.set_credentials(ACCESS_KEY, SECRET_KEY)
    return boto3.Session(botocore_session=core, region_name=region)


def local_client(service: str, endpoint: str, *, region: str = REGION, read_timeout_s: float = 60) -> Any:
    """A client of `service` at `endpoint`. Never retries: a local stack that fails should say so at once."""
    config = Config(
        retries={"total_max_attempts": 1},
        read_timeout=read_timeout_s,
        max_pool_connections=64,
        proxies={},
        s3={"addressing_style": "path"},
    )
    with _creating:
        return isolated_session(region).client(service, endpoint_url=endpoint, config=config)
