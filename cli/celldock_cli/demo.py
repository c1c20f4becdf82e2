"""`make demo`: the main job on real data, on this machine, from upload to published, and what bad files are told.

Every line that says "ok" was checked; the exit code is 0 only if all of them came out right.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
from rich.console import Console
from rich.table import Table

from celldock.catalog.keys import execution_name
from celldock.report.text import printable
from celldock_cli.api import Api
from celldock_cli.profiles import target_of
from celldock_cli.render import artifact_table, print_report, published, styled
from celldock_cli.timeline import StateSpan, functions_of_states, read_spans
from celldock_cli.transfer import Upload, upload
from celldock_cli.watch import follow
from celldock_local.checkout import BUILD, ROOT, RUNTIME, require_built
from celldock_local.stack import LocalStack

EXAMPLE = ROOT / "examples" / "pbmc68k.h5ad"
COLLECTION = "demo"
PATIENCE_SECONDS = 60
MISSING_COLUMN = "cell_type_ontology_term_id"


class Demo:
    """One run of the demo against a local stack that is already up."""

    def __init__(self, stack: LocalStack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.failures: list[str] = []
        self.target = target_of(stack.info)
        self.api = Api(self.target)
        self.sfn = stack.client("stepfunctions")

    def check(self, claim: str, holds: bool) -> None:
        """Says whether a claim holds, and remembers it if not."""
        self.console.print(f"[green]ok[/]   {claim}" if holds else f"[red]NOT[/]  {claim}")
        if not holds:
            self.failures.append(claim)

    def good_file(self) -> None:
        """Upload, follow, publish, and the tables of what happened."""
        self.console.rule("A real file: 700 PBMCs", align="left")
        stored = self.send(EXAMPLE, "pbmc68k")
        spans = self.follow_states(stored)
        answer = follow(self.api, "demo/pbmc68k", stored.version_id, Console(quiet=True))
        self.console.print(self.state_table(spans))
        self.check("the version is READY", answer["version"]["state"] == "READY")
        self.console.print(artifact_table(answer["artifacts"]))
        self.check(
            "each artifact has a size and a SHA-256",
            bool(answer["artifacts"]) and all(map(_is_whole, answer["artifacts"])),
        )

        before = published(answer["dataset"], answer["version"])
        self.api.publish("demo/pbmc68k", stored.version_id)
        answer = self.api.dataset("demo/pbmc68k")
        after = published(answer["dataset"], answer["version"])
        self.console.print(f"published: before [bold]{before}[/], after [bold]{after}[/]")
        self.check("the publish flag was flipped", (before, after) == ("no", "yes"))
        self.portal_events()

    def bad_file(self, title: str, name: str, make: Callable[[Path], None], code: str) -> None:
        """Uploads a bad file and shows what its submitter is told."""
        self.console.rule(title, align="left")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.h5ad"
            make(file)
            stored = self.send(file, name)
        answer = follow(self.api, f"{COLLECTION}/{name}", stored.version_id, Console(quiet=True))
        report = self.api.report(f"{COLLECTION}/{name}", stored.version_id)["report"]
        self.console.print("state ", styled(answer["version"]["state"]))
        print_report(report, self.console)
        self.check("the file is INVALID and nothing of it is public", answer["version"]["state"] == "INVALID")
        self.check(f"the report names the cause ({code})", code in {f["code"] for f in report["findings"]})

    def send(self, file: Path, name: str) -> Upload:
        """Uploads in parts, with a progress bar where there is a terminal."""
        stored = upload(self.target, file, f"{COLLECTION}/{name}.h5ad", publish=False, console=self.console)
        self.console.print(
            f"uploaded s3://{stored.bucket}/{stored.key} (version {stored.version_id})", markup=False, soft_wrap=True
        )
        return stored

    def follow_states(self, stored: Upload) -> list[StateSpan]:
        """Prints each state as it is first entered, until the execution ends."""
        machine = self.stack.outputs["MachineArn"]
        name = execution_name(stored.bucket, stored.key, stored.version_id, 1)
        execution = machine.replace(":stateMachine:", ":execution:") + f":{name}"
        seen: set[str] = set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status = self._status_of(execution)
            spans = read_spans(self.sfn, execution) if status else []
            for span in spans:
                if span.name not in seen:
                    seen.add(span.name)
                    self.console.print(f"  → {span.name}", markup=False)
            if status not in (None, "RUNNING"):
                self.check(f"the execution {status.lower()}", status == "SUCCEEDED")
                return spans
            time.sleep(0.1)
        self.check(f"the execution ended within {PATIENCE_SECONDS} s", holds=False)
        return []

    def state_table(self, spans: list[StateSpan]) -> Table:
        """Each state with its time and the peak memory of the functions that it called.

        A Map's branches enter a state side by side: of those visits, the longest.
        """
        table = Table("state", "entered", "seconds", "peak memory", "of", box=None, header_style="bold", pad_edge=False)
        called = functions_of_states(self.sfn, self.stack.outputs["MachineArn"])
        invocations = list(self.stack.invocations())
        for name in dict.fromkeys(span.name for span in spans):
            visits = [span for span in spans if span.name == name]
            mine = [
                call
                for call in invocations
                if call.function in called.get(name, set())
                and any(visit.covers(datetime.fromisoformat(call.started)) for visit in visits)
            ]
            peak = max(mine, key=lambda call: call.peak_mb, default=None)
            memory = (f"{peak.peak_mb:.0f} MB", f"{peak.memory_mb} MB") if peak else ("", "")
            times = [visit.seconds for visit in visits if visit.seconds is not None]
            seconds = f"{max(times):.2f}" if len(times) == len(visits) else ""
            table.add_row(name, f"{len(visits)}×", seconds, *memory)
        return table

    def portal_events(self) -> None:
        """What the portal's queue got."""
        sqs = self.stack.client("sqs")
        url = self.stack.outputs["PortalQueueUrl"]
        events: list[dict[str, Any]] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not any(map(_tells_publication, events)):
            for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
                "Messages", []
            ):
                events.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        table = Table("event", "revision", "what changed", box=None, header_style="bold", pad_edge=False)
        for event in sorted(events, key=lambda e: (e["detail"]["new"] or {}).get("changed_at", "")):
            table.add_row(event["detail-type"], str(event["detail"]["revision"]), printable(_change(event["detail"])))
        self.console.print(table)
        self.check("the portal was told of the publication", any(map(_tells_publication, events)))

    def _status_of(self, execution: str) -> str | None:
        try:
            return self.sfn.describe_execution(executionArn=execution)["status"]
        except self.sfn.exceptions.ExecutionDoesNotExist:
            return None  # the upload's event is still on its way


def _is_whole(artifact: dict[str, Any]) -> bool:
    return artifact["state"] == "CONVERTED" and int(artifact["bytes"]) > 0 and len(artifact["checksum"]["value"]) == 64


def _tells_publication(event: dict[str, Any]) -> bool:
    detail = event["detail"]
    return detail["entity"] == "dataset" and bool((detail["new"] or {}).get("published"))


def _change(detail: dict[str, Any]) -> str:
    """`state RECEIVED → PROCESSING`, for the attributes that people follow."""
    old, new = detail["old"] or {}, detail["new"] or {}
    followed = ("state", "step", "publication", "published")
    words = [(name, _word(old.get(name)), _word(new.get(name))) for name in followed]
    changes = [f"{name} {before} → {after}" for name, before, after in words if before != after]
    subject = detail["new"]["format"] + ": " if detail["entity"] == "artifact" and detail["new"] else ""
    return subject + (", ".join(changes) or "details")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "–")


def truncated(file: Path) -> None:
    """The first two thirds of the example."""
    content = EXAMPLE.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def without_column(file: Path) -> None:
    """The example without a required column."""
    shutil.copyfile(EXAMPLE, file)
    with h5py.File(file, "r+") as h5:
        obs = h5["obs"]
        obs.attrs["column-order"] = [c for c in obs.attrs["column-order"] if c != MISSING_COLUMN]
        del obs[MISSING_COLUMN]


def main() -> int:
    """Runs the demo; 0 if everything came out right."""
    console = Console(highlight=False)
    started = time.monotonic()
    require_built()
    with tempfile.TemporaryDirectory(prefix="celldock-demo-") as data:
        console.print("starting the local stack from template.yaml ...")
        with LocalStack(BUILD, Path(data), runtime=RUNTIME) as stack:
            console.print(
                f"up after {time.monotonic() - started:.1f} s: {len(stack.outputs)} outputs, endpoint {stack.endpoint}"
            )
            demo = Demo(stack, console)
            demo.good_file()
            demo.bad_file("A truncated file", "truncated", truncated, "file.truncated")
            demo.bad_file(
                "A file without a required column", "no-cell-type", without_column, f"obs.{MISSING_COLUMN}.missing"
            )
    console.rule(align="left")
    if demo.failures:
        console.print(f"[red]{len(demo.failures)} of the demo's checks failed[/]")
        return 1
    console.print(f"all of the demo's checks hold ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
