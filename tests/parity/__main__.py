"""Both validators over the corpus, over mutations of valid files and over terms drawn at random.

    python -m tests.parity [--files FOLDER …] [--kinds GLOB …] [--terms N] [--seed N] [--keep FOLDER]

Exit code 1 where a verdict differs that `decided.json` does not settle.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from tests.parity.comparing import Agreement, Outcome, compare, judge
from tests.parity.corpus import CORPORA, archive, entries, unpack
from tests.parity.mutations import cases
from tests.parity.mutations.registry import Case
from tests.parity.peer import Peer, install
from tests.parity.sweep import TermCase, draw

VERSION = "7.1.0"
_AGREEMENTS: tuple[Agreement, ...] = ("equal", "decided", "stricter", "laxer")


class Session:
    """Runs both validators at the same time on one file after another, and collects what they say."""

    def __init__(self, peer: Peer, folder: Path, keep: Path | None) -> None:
        self.outcomes: dict[str, list[Outcome]] = defaultdict(list)
        self.missed: list[str] = []
        self._peer, self._folder, self._keep = peer, folder, keep
        self._pool = ThreadPoolExecutor(max_workers=1)

    def run(self, kind: str, case: str, path: Path) -> Outcome:
        """Both verdicts on a file."""
        asked = self._pool.submit(self._peer.validate, path)
        report = judge(path, VERSION, self._folder)
        outcome = compare(case, report, asked.result())
        self.outcomes[kind].append(outcome)
        if outcome.agreement in {"stricter", "laxer"}:
            _tell(outcome)
            if self._keep:
                self._keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self._keep / f"{case}.h5ad".replace("/", "_"))
        return outcome

    def run_corpus(self) -> None:
        """The files of the corpus; without it, none."""
        if archive(VERSION) is None:
            _tell(
                f"{CORPORA[VERSION]} is not here: set CELLDOCK_SHARED to the folder that holds data/{CORPORA[VERSION]}"
            )
            return
        folder = unpack(VERSION, self._folder)
        for entry in entries(VERSION):
            if not (entry.pre_analysis or entry.ignore_labels):
                self.run("corpus", entry.name, folder / entry.name)

    def run_mutations(self, chosen: Iterable[Case]) -> None:
        """Mutations; those whose finding celldock does not have are missed."""
        for case in chosen:
            outcome = self.run(case.mutation.name, case.id, case.write(self._folder / "case.h5ad"))
            codes = {finding.code for finding in outcome.report.findings}
            if case.mutation.codes and not codes & set(case.mutation.codes):
                self.missed.append(f"{case.id}: {' or '.join(case.mutation.codes)} expected, found {sorted(codes)}")

    def run_terms(self, drawn: Iterable[TermCase]) -> None:
        """Terms drawn at random, summed by column."""
        for case in drawn:
            self.run(f"term {case.column}", case.id, case.write(self._folder / "case.h5ad"))

    def print_summary(self) -> bool:
        """The agreement by kind; returns whether every difference is decided."""
        width = max(len(kind) for kind in [*self.outcomes, "in all"])
        _tell(f"\n{'':{width}}  {'  '.join(f'{agreement:>8}' for agreement in _AGREEMENTS)}")
        totals: Counter[str] = Counter()
        for kind, outcomes in self.outcomes.items():
            counts = Counter(outcome.agreement for outcome in outcomes)
            totals += counts
            _tell(f"{kind:{width}}  {'  '.join(f'{counts[agreement]:>8}' for agreement in _AGREEMENTS)}")
        _tell(f"{'in all':{width}}  {'  '.join(f'{totals[agreement]:>8}' for agreement in _AGREEMENTS)}")
        settled = Counter(by for outcomes in self.outcomes.values() for outcome in outcomes for by in outcome.by)
        for decision, count in settled.most_common():
            _tell(f"decided by {decision}: {count}")
        for line in self.missed:
            _tell(f"missed: {line}")
        return not totals["stricter"] and not totals["laxer"]


def _tell(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _chosen(kinds: list[str]) -> Iterator[Case]:
    return (case for case in cases() if any(fnmatchcase(case.id, pattern) for pattern in kinds))


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if every verdict is equal or decided, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="celldock beside cellxgene-schema")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="folders of h5ad files, besides the corpus")
    parser.add_argument("--kinds", nargs="*", default=["*"], help="mutations, as patterns of their ids (all)")
    parser.add_argument("--terms", type=int, default=200, help="terms to draw (200)")
    parser.add_argument("--seed", type=int, default=7, help="of the draw (7)")
    parser.add_argument("--no-corpus", action="store_true", help="leave the corpus out")
    parser.add_argument("--keep", type=Path, help="folder for the files on which both differ")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    install()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Peer() as peer:
        session = Session(peer, Path(folder), options.keep)
        if not options.no_corpus:
            session.run_corpus()
        for path in sorted(file for each in options.files for file in each.rglob("*.h5ad")):
            session.run("files", path.name, path)
        session.run_mutations(_chosen(options.kinds))
        session.run_terms(draw(peer, options.terms, options.seed))
        agreed = session.print_summary()
    _tell(f"{sum(map(len, session.outcomes.values()))} files in {time.monotonic() - start:.0f} s")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
