"""Following a version until nothing more will happen to it by itself."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from celldock.catalog.states import TERMINAL_STATES
from celldock.report.text import printable
from celldock_cli.api import NOT_FOUND, Api, ApiError
from celldock_cli.outcome import CommandFailed, Exit

POLL_SECONDS = 0.5
UNSEEN_SECONDS = 60
PUBLISHING_SECONDS = 900
"""As long as Publish may take."""


def follow(api: Api, dataset: str, version_id: str | None, console: Console) -> dict[str, Any]:
    """The API's answer once the version is in a final state, and public if it goes public by itself.

    Says each change of state or step on a terminal.
    """
    said = ""
    publishing_until = 0.0
    unseen_until = time.monotonic() + UNSEEN_SECONDS
    while True:
        answer = _look(api, dataset, version_id, unseen_until)
        if answer is not None:
            version = answer["version"]
            version_id = version["version_id"]  # a newer upload must not change what is being followed
            line = " ".join(filter(None, (version["state"], version.get("step") or "")))
            if line != said and console.is_terminal:
                console.print(f"{printable(dataset)}: {line}", markup=False, soft_wrap=True)
            said = line
            if version["state"] in TERMINAL_STATES:
                publishing_until = publishing_until or time.monotonic() + PUBLISHING_SECONDS
                if not answer.get("publishing") or time.monotonic() > publishing_until:
                    return answer
        time.sleep(POLL_SECONDS)


def verdict_exit(answer: dict[str, Any]) -> Exit:
    """The exit code that a followed version ends with."""
    state = answer["version"]["state"]
    if state == "INVALID":
        return Exit.INVALID_DATA
    return Exit.OUR_FAULT if state == "FAILED" else Exit.DONE


def _look(api: Api, dataset: str, version_id: str | None, unseen_until: float) -> dict[str, Any] | None:
    """None while the catalog has not seen the upload yet; events take a moment."""
    try:
        return api.dataset(dataset, version_id)
    except ApiError as error:
        if error.status != NOT_FOUND or version_id is None:
            raise
    if time.monotonic() > unseen_until:
        raise CommandFailed(
            f"{dataset} was uploaded, but celldock has not seen it for {UNSEEN_SECONDS} s",
            hint="if it stays so, its event is in the dead-letter queue: tell an operator",
        )
    return None
