"""A whole ingest on this machine, from the upload to READY in all formats, and what it would cost on AWS.

    python -m benchmarks.ingest FILE.h5ad … [--json OUT.json]

Needs what `make build-local runtime` makes. Each file goes through a local stack of its own, every function cold. The
files must be valid submissions. A stack runs at least four functions at once, whatever the machine's cores, so that
invocations take longer here than where each has a vCPU: "seconds" is what they took here, start included, CPU-s what
they needed of a processor, read from /proc five times a second. Predictions are the plan's, for the longest invocation
of a step.

The cost has two columns: by the seconds that invocations took here, and by CPU-s, as if every invocation had run
undisturbed on the vCPU that 1,769 MB bring and had never waited for S3. Prices are AWS's published ones. Not counted
are DynamoDB, EventBridge, SQS, CloudWatch, /tmp beyond 512 MB, and storage. Requests to S3 are those of functions; a
Distributed Map's own are not among them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import MB, measure, print_table, save
from benchmarks.formats_work import load
from benchmarks.ingest_stack import CountedStack, Counts, counted_stack
from benchmarks.scan import plan_file
from celldock.catalog.keys import execution_name
from celldock.formats.protocol import Prediction
from celldock_cli.api import Api
from celldock_cli.profiles import target_of
from celldock_cli.timeline import read_spans
from celldock_cli.transfer import Upload, upload
from celldock_local.checkout import require_built
from celldock_local.invocations import Invocation

# USD, us-east-1, x86, before any free tier or discount, as of November 2026.
GB_SECOND = 0.0000166667  # https://aws.amazon.com/lambda/pricing/
INVOCATION = 0.20 / 1e6
TRANSITION = 25 / 1e6  # https://aws.amazon.com/step-functions/pricing/, standard workflows
S3_WRITE = 0.005 / 1e3  # https://aws.amazon.com/s3/pricing/: PUT, COPY, POST, LIST
S3_READ = 0.0004 / 1e3  # GET and all others; DELETE costs nothing

_WRITES = ("PUT", "POST", "LIST")
_FREE = ("DELETE",)
_VCPU_MB = 1769
_POLL, _UNSEEN = 0.5, 120  # seconds
_FUNCTION = re.compile(r"-(\w+)Function-")
_OTHERS = ("api", "announce")  # not of the run: the one is this benchmark asking


@dataclass(frozen=True, slots=True)
class Step:
    """The invocations of one function, or those of one format. CPU seconds are known of whole functions alone."""

    name: str
    invocations: int
    seconds: float  # of all
    longest: float
    peak_mb: float
    memory_mb: int  # that the function has
    cpu: float | None
    predicted: Prediction | None


@dataclass(frozen=True, slots=True)
class Cost:
    """USD. `by_cpu` is Lambda's where invocations take their CPU time and no more."""

    by_time: float
    by_cpu: float
    invocations: float
    transitions: float
    s3: float


@dataclass(frozen=True, slots=True)
class Ingest:
    """One file. Seconds are from the beginning of the upload, and from its end, to that of the execution."""

    size: int
    wall: float
    after_upload: float
    steps: tuple[Step, ...]
    artifacts: dict[str, str]  # the state of each format
    transitions: int
    s3: Counts
    cost: Cost


def ingest(path: Path) -> Ingest:
    """Takes a file through a stack of its own. Raises RuntimeError unless it becomes READY."""
    with tempfile.TemporaryDirectory() as folder:
        predictions = _predictions(path, Path(folder))
        with counted_stack(Path(folder) / "stack") as stack:
            return _run(path, stack, predictions)


def _predictions(path: Path, folder: Path) -> dict[str, Prediction]:
    measure(plan_file, path, folder)
    return {each.step: each for each in load(folder)[0].predictions}


def _run(path: Path, stack: CountedStack, predictions: Mapping[str, Prediction]) -> Ingest:
    target, quiet = target_of(stack.info), Console(quiet=True)
    dataset = f"bench/{path.stem}"
    begun = time.perf_counter()
    stored = upload(target, path, f"{dataset}.h5ad", publish=False, console=quiet)
    uploaded = time.perf_counter()
    _await_end(stack, stored)
    ended = time.perf_counter()
    answer = Api(target).dataset(dataset, stored.version_id)
    if answer["version"]["state"] != "READY":
        raise RuntimeError(f"{path.name} became {answer['version']['state']}: is it a valid submission?")
    time.sleep(1)  # the last of the invocations is in the log, and seen by the meter
    calls = [call for call in stack.invocations() if _step_of(call.function) not in _OTHERS]
    cpu = _by_step(stack.cpu())
    transitions = _transitions(stack, stored, calls)
    counts = stack.counts()
    return Ingest(
        size=path.stat().st_size,
        wall=ended - begun,
        after_upload=ended - uploaded,
        steps=tuple(_steps(calls, cpu, _formats_of(stack), predictions)),
        artifacts={each["format"]: each["state"] for each in answer["artifacts"]},
        transitions=transitions,
        s3=counts,
        cost=_cost(calls, cpu, transitions, counts.requests),
    )


def _await_end(stack: CountedStack, stored: Upload) -> None:
    """Asks Step Functions, not the API: that is a function, and would wait here for a free place as the others do.

    Raises RuntimeError if no execution begins.
    """
    sfn, execution = stack.client("stepfunctions"), _execution(stack, stored)
    status, begun = "", time.monotonic()
    while status in ("", "RUNNING"):
        time.sleep(_POLL)
        try:
            status = sfn.describe_execution(executionArn=execution)["status"]
        except sfn.exceptions.ExecutionDoesNotExist as error:  # the upload's event is still on its way
            if time.monotonic() > begun + _UNSEEN:
                raise RuntimeError(f"{stored.key} was uploaded, but no execution has begun") from error


def _execution(stack: CountedStack, stored: Upload) -> str:
    name = execution_name(stored.bucket, stored.key, stored.version_id, 1)
    return stack.info.outputs["MachineArn"].replace(":stateMachine:", ":execution:") + f":{name}"


def _step_of(function: str) -> str:
    """`convert` for the physical name of ConvertFunction."""
    found = _FUNCTION.search(function)
    return found[1].lower() if found else function


def _by_step(seconds: Mapping[str, float]) -> dict[str, float]:
    return {_step_of(function): spent for function, spent in seconds.items()}


def _seconds(call: Invocation) -> float:
    """What Lambda bills: the start of the environment is part of it."""
    return math.ceil(call.duration_ms + (call.init_ms or 0)) / 1000


def _formats_of(stack: CountedStack) -> dict[str, str]:
    """The format that each invocation of Convert and Assemble worked on, by its id, from the functions' logs."""
    logs, found = stack.client("logs"), dict[str, str]()
    for group in logs.describe_log_groups()["logGroups"]:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            for event in page["events"]:
                line: dict[str, Any] = json.loads(event["message"]) if event["message"].startswith("{") else {}
                if "format" in line and "function_request_id" in line:
                    found[line["function_request_id"]] = line["format"]
    return found


def _steps(
    calls: Sequence[Invocation],
    cpu: Mapping[str, float],
    formats: Mapping[str, str],
    predictions: Mapping[str, Prediction],
) -> list[Step]:
    """In the order in which they began, the formats of a step below it."""
    groups: dict[str, list[Invocation]] = {}
    for call in calls:
        step = _step_of(call.function)
        groups.setdefault(step, []).append(call)
        if call.request_id in formats:
            groups.setdefault(f"{step}/{formats[call.request_id]}", []).append(call)
    order = {name: index for index, name in enumerate(dict.fromkeys(name.partition("/")[0] for name in groups))}
    return [
        Step(
            name=name,
            invocations=len(own),
            seconds=sum(map(_seconds, own)),
            longest=max(map(_seconds, own)),
            peak_mb=max(call.peak_mb for call in own),
            memory_mb=own[0].memory_mb,
            cpu=cpu.get(name),
            predicted=predictions.get(name),
        )
        for name, own in sorted(groups.items(), key=lambda item: (order[item[0].partition("/")[0]], item[0]))
    ]


def _transitions(stack: CountedStack, stored: Upload, calls: Sequence[Invocation]) -> int:
    """States entered: those of the execution, and the one of each child that a Distributed Map starts."""
    children = sum(_step_of(call.function) in ("scan", "convert") for call in calls)
    return len(read_spans(stack.client("stepfunctions"), _execution(stack, stored))) + children


def _cost(calls: Sequence[Invocation], cpu: Mapping[str, float], transitions: int, requests: Mapping[str, int]) -> Cost:
    memory = {_step_of(call.function): call.memory_mb for call in calls}
    writes = sum(requests.get(each, 0) for each in _WRITES)
    reads = sum(count for each, count in requests.items() if each not in (*_WRITES, *_FREE))
    # A function of less memory gets less of a processor, and takes as much longer.
    needed = sum(
        spent * max(1.0, _VCPU_MB / memory[step]) * memory[step] for step, spent in cpu.items() if step in memory
    )
    return Cost(
        by_time=sum(_seconds(call) * call.memory_mb for call in calls) / 1024 * GB_SECOND,
        by_cpu=needed / 1024 * GB_SECOND,
        invocations=len(calls) * INVOCATION,
        transitions=transitions * TRANSITION,
        s3=writes * S3_WRITE + reads * S3_READ,
    )


def print_ingest(name: str, found: Ingest) -> None:
    """The steps, and what all of it took."""
    print_table(
        (name, "invocations", "seconds", "longest", "CPU-s", "peak MB", "of MB", "predicted s", "predicted MB"),
        [
            (
                step.name,
                step.invocations,
                step.seconds,
                step.longest,
                "" if step.cpu is None else step.cpu,
                step.peak_mb,
                step.memory_mb,
                *((step.predicted.seconds, step.predicted.memory_mb) if step.predicted else ("", "")),
            )
            for step in found.steps
        ],
    )
    cost, s3 = found.cost, found.s3
    others = cost.invocations + cost.transitions + cost.s3
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(s3.requests.items()))
    whole = [step for step in found.steps if "/" not in step.name]
    print_table(
        ("", name),
        [
            ("upload to READY, s", found.wall),
            ("end of upload to READY, s", found.after_upload),
            ("CPU-s of functions", sum(step.cpu or 0 for step in whole)),
            ("S3 requests", kinds),
            ("MB from S3", s3.received / MB),
            ("MB to S3", s3.sent / MB),
            ("of the file, in and out", f"{s3.received / found.size:.2f}×, {s3.sent / found.size:.2f}×"),
            ("state transitions", found.transitions),
            ("Lambda, USD by seconds here", f"{cost.by_time:.5f}"),
            ("Lambda, USD by CPU-s", f"{cost.by_cpu:.5f}"),
            ("invocations, transitions, S3, USD", f"{cost.invocations:.5f}, {cost.transitions:.5f}, {cost.s3:.5f}"),
            ("all, USD", f"{cost.by_cpu + others:.4f} to {cost.by_time + others:.4f}"),
            ("artifacts", ", ".join(f"{name} {state}" for name, state in found.artifacts.items())),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    require_built()
    found: dict[str, Ingest] = {}
    for path in arguments.files:
        found[path.name] = ingest(path)
        print_ingest(path.name, found[path.name])
    if arguments.json:
        save(arguments.json, "ingest", {"files": found})


if __name__ == "__main__":
    main()
