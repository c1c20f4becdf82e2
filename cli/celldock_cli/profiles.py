"""Which celldock the command talks to: the local stack, or one on AWS that a profile names.

A profile on AWS is a table in `profiles.toml` (in the user's configuration folder, or where CELLDOCK_PROFILES points):

    [lab]
    inbox = "celldock-inbox-1a2b3c"
    api = "https://abc123.lambda-url.eu-west-1.on.aws/"
    region = "eu-west-1"
    aws_profile = "lab"        # optional: a profile of the AWS CLI
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from pydantic import BaseModel, ConfigDict, HttpUrl, ValidationError

from celldock_cli.outcome import CommandFailed, Exit
from celldock_local.aws import ACCESS_KEY, SECRET_KEY
from celldock_local.checkout import DEFAULT_DATA
from celldock_local.daemon import status
from celldock_local.data_folder import StackInfo

LOCAL = "local"


class AwsProfile(BaseModel):
    """One table of profiles.toml."""

    model_config = ConfigDict(extra="forbid")

    inbox: str
    api: HttpUrl
    region: str
    aws_profile: str | None = None


@dataclass(frozen=True)
class Target:
    """A celldock that commands can reach. `endpoint` is None on AWS."""

    name: str
    inbox: str
    api: str
    region: str
    session: boto3.Session
    endpoint: str | None = None

    def client(self, service: str) -> Any:
        """A boto3 client of this target."""
        config = Config(s3={"addressing_style": "path"}) if self.endpoint else None
        return self.session.client(service, endpoint_url=self.endpoint, config=config)


def profiles_path() -> Path:
    """Where profiles are read from."""
    if named := os.environ.get("CELLDOCK_PROFILES"):
        return Path(named)
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "celldock" / "profiles.toml"


def resolve(profile: str | None, data: Path | None = None) -> Target:
    """The target that `--profile`, CELLDOCK_PROFILE, or else a running local stack names."""
    name = profile or os.environ.get("CELLDOCK_PROFILE") or LOCAL
    return local_target(data or DEFAULT_DATA) if name == LOCAL else aws_target(name)


def local_target(data: Path) -> Target:
    """The local stack whose data are in `data`."""
    info = status(data)
    if info is None:
        raise CommandFailed(
            "no local stack is running",
            Exit.USAGE,
            "start one with `celldock local up`, or name a profile on AWS with --profile",
        )
    return target_of(info)


def target_of(info: StackInfo) -> Target:
    """A local stack that runs."""
    session = boto3.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=info.region)
    return Target(LOCAL, info.outputs["InboxBucket"], info.outputs["ApiUrl"], info.region, session, info.endpoint)


def aws_target(name: str) -> Target:
    """The profile `name` of profiles.toml."""
    path = profiles_path()
    if not path.is_file():
        raise CommandFailed(
            f"no profile {name!r}: {path} does not exist", Exit.USAGE, "see docs/submitting.md, Profiles"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CommandFailed(f"{path} is not valid TOML: {error}", Exit.USAGE) from error
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise CommandFailed(f"no profile {name!r} in {path} (it has: {known})", Exit.USAGE)
    try:
        profile = AwsProfile.model_validate(tables[name])
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CommandFailed(f"profile {name!r} in {path}: {problems}", Exit.USAGE) from error
    session = boto3.Session(profile_name=profile.aws_profile, region_name=profile.region)
    return Target(name=name, inbox=profile.inbox, api=str(profile.api), region=profile.region, session=session)
