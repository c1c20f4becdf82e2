"""The long fuzz: as many mutants as asked for, in one process, one after the other.

    python -m tests.fuzz.campaign --count 10000          (make fuzz ARGS="--count 10000")
    python -m tests.fuzz.campaign --replay csr:1234 --keep .

A plain loop over the mutants' numbers rather than Hypothesis, which drives the short run in the tests: over thousands
of examples it could only draw the same numbers, and all that FAILED shall be told of, not the first alone. Ends with an
error if any did.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.harness import MAX_SECONDS, Harness, Verdict, open_files, peak_bytes
from tests.fuzz.mutate import Mutant, mutant
from tests.fuzz.seeds import seed, seed_names

_SURVIVED = ("file.crashes_reader", "file.hangs_reader", "file.memory")
_SHOWN_CODES = 25
_DESCRIPTORS = 16
_SILENCE = 60


@dataclass
class Tally:
    """What has come of the mutants so far. `survived` are those that killed the sandbox's child, by name."""

    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    survived: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, made: Mutant, verdict: Verdict) -> None:
        """Counts one mutant."""
        self.states[verdict.state] += 1
        self.codes.update(set(verdict.codes))
        self.stages["refused by Plan" if verdict.refused else f"{verdict.state} after Validate"] += 1
        self.mutations.update(step.partition(":")[0] for step in made.steps)
        for code in _SURVIVED:
            if code in verdict.codes:
                self.survived.setdefault(code, []).append(made.name)
        if verdict.state == "FAILED":
            self.failed.append(made.name)
        self.slowest = max(self.slowest, (verdict.seconds, made.name))


def main(arguments: list[str]) -> int:
    """Runs the campaign, or one mutant again; 0 if none FAILED."""
    options = _options(arguments)
    with TemporaryDirectory(prefix="celldock-fuzz-") as folder:
        harness = Harness(Path(folder))
        for name in options.seeds:
            verdict = harness.run(seed(name), name)
            _say(f"{name}: {len(seed(name)):,} bytes, {verdict.state} {' '.join(verdict.codes[:5])}")
            if verdict.state == "FAILED":
                _say(verdict.problem)
                return 1
        names = options.replay or [_name(options.seeds, options.start + index) for index in range(options.count)]
        return _run(harness, names, options.keep, verbose=bool(options.replay))


def _run(harness: Harness, names: list[str], keep: Path | None, *, verbose: bool) -> int:
    tally, begin, descriptors = Tally(), time.monotonic(), open_files()
    # An interrupted campaign says what it has found so far.
    with suppress(KeyboardInterrupt):
        _judge(harness, names, tally, keep, verbose=verbose)
    _summary(tally, time.monotonic() - begin)
    if open_files() > descriptors + _DESCRIPTORS:
        _say(f"descriptors: {descriptors} at the start, {open_files()} at the end")
        return 1
    return 1 if tally.failed else 0


def _judge(harness: Harness, names: list[str], tally: Tally, keep: Path | None, *, verbose: bool) -> None:
    said = time.monotonic()
    for name in names:
        made = mutant(name)
        faulthandler.dump_traceback_later(2 * MAX_SECONDS, exit=True)
        verdict = harness.run(made.data, made.name.partition(":")[0])
        faulthandler.cancel_dump_traceback_later()
        tally.add(made, verdict)
        if verbose or verdict.state == "FAILED":
            _tell(made, verdict, keep)
        if time.monotonic() - said > _SILENCE:
            said = time.monotonic()
            survived = {code: len(found) for code, found in tally.survived.items()}
            _say(f"… {tally.states.total():,}: {dict(tally.states)}; survived: {survived}")


def _name(seeds: list[str], index: int) -> str:
    number, which = divmod(index, len(seeds))
    return f"{seeds[which]}:{number}"


def _tell(made: Mutant, verdict: Verdict, keep: Path | None) -> None:
    _say(f"{verdict.state} {made.name} after {verdict.seconds:.1f} s {' '.join(verdict.codes[:5])}")
    for step in made.steps:
        _say(f"    {step[:300]}")
    if verdict.problem:
        _say(verdict.problem)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{made.name.replace(':', '-')}.h5ad").write_bytes(made.data)


def _summary(tally: Tally, seconds: float) -> None:
    document = {
        "mutants": tally.states.total(),
        "states": dict(tally.states),
        "stages": dict(tally.stages.most_common()),
        "survived": {code: len(names) for code, names in tally.survived.items()},
        "survived_names": {code: names[:20] for code, names in tally.survived.items()},
        "failed": tally.failed,
        "seconds": round(seconds),
        "slowest": {"seconds": round(tally.slowest[0], 1), "mutant": tally.slowest[1]},
        "peak_mib": peak_bytes() >> 20,
        "mutations": dict(tally.mutations.most_common()),
        "codes": dict(tally.codes.most_common(_SHOWN_CODES)),
        "distinct_codes": len(tally.codes),
    }
    _say(json.dumps(document, indent=2))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Sends mutated h5ad files through the service.")
    parser.add_argument("--count", type=int, default=10_000, help="mutants in all, shared among the seeds")
    parser.add_argument("--start", type=int, default=0, help="index of the first one")
    parser.add_argument("--seeds", nargs="+", choices=seed_names(), default=list(seed_names()), help="default: all")
    parser.add_argument("--replay", nargs="+", metavar="SEED:NUMBER", help="only these mutants, told at length")
    parser.add_argument("--keep", type=Path, help="a folder for the files of mutants that are told of")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
