"""cellxgene-schema, installed apart and kept loaded in one process: its start alone takes ten seconds."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ENVIRONMENT = ROOT / ".celldock" / "peer"
PYTHON = ENVIRONMENT / "bin" / "python"


@dataclass(frozen=True, slots=True)
class PeerVerdict:
    """What cellxgene-schema says of a file."""

    valid: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def install() -> None:
    """Makes the environment, 1 GB of packages as `requirements.txt` pins them; does nothing where it is current."""
    stamp = ENVIRONMENT / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    uv = str(ROOT / "scripts" / "uv")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.13", str(ENVIRONMENT)], cwd=ROOT, check=True)
    options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--python", str(PYTHON)]
    subprocess.run([uv, "pip", "install", *options, "-r", str(REQUIREMENTS)], cwd=ROOT, check=True)
    stamp.write_text(wanted)


class Peer:
    """The running cellxgene-schema. A context manager: leaving it ends the process."""

    def __init__(self) -> None:
        self._process = _start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def validate(self, path: Path, *, pre_analysis: bool = False) -> PeerVerdict:
        """Its verdict on a file. One that it dies of, which a broken matrix can bring about, is invalid."""
        try:
            answer = self._ask({"path": str(path), "pre_analysis": pre_analysis})
        except EOFError as ended:
            self._process = _start()
            return PeerVerdict(False, (str(ended),), ())
        return PeerVerdict(answer["valid"], tuple(answer["errors"]), tuple(answer["warnings"]))

    def add_labels(self, path: Path, output: Path, *, pre_analysis: bool = False) -> None:
        """Writes a copy of a file with its labels. Raises ValueError with what it dies of."""
        answer = self._ask({"label": {"path": str(path), "output": str(output), "pre_analysis": pre_analysis}})
        if answer["died"]:
            raise ValueError(answer["died"])

    def terms(self, ontology: str, count: int, seed: int) -> list[str]:
        """Some of an ontology's identifiers, obsolete ones among them: the same for the same seed."""
        return self._ask({"terms": {"ontology": ontology, "count": count, "seed": seed}})

    def _ask(self, request: dict[str, Any]) -> Any:
        """Raises EOFError if the process ends without an answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise EOFError(f"cellxgene-schema has died with exit code {self._process.wait()}")
        return json.loads(answer)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, Path(__file__).with_name("peer_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
