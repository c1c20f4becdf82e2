"""A parent that runs as an ordinary user, as on Lambda: opens a file and has its child try every attack.

Executed with one argument, a JSON document: `path` (folders of packages), `operations` (a module), `file`, `attacks`
(pairs of a name and arguments, in which PARENT stands for this process). Prints what each attack gave, in this process
(the attack works) and in the child, and whether another process can read this one's environment before and after.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    request: dict[str, Any] = json.loads(sys.argv[1])
    sys.path += request["path"]
    from celldock.h5ad.sandbox.parent import Sandbox
    from celldock.h5ad.source import LocalSource
    from tests.unit.hostile_operations import try_attack

    own = f"/proc/{os.getpid()}/environ"
    seen: dict[str, Any] = {"user": os.geteuid(), "before": read_by_another_process(own)}
    attacks = json.loads(
        json.dumps(request["attacks"]).replace('"PARENT"', str(os.getpid())).replace("PARENT", str(os.getpid()))
    )
    seen["plain"] = [try_attack(name, **arguments) for name, arguments in attacks]
    for path in request["again"]:
        Path(path).write_text("here again")
    sandbox = Sandbox(request["operations"])
    with sandbox.open(LocalSource(Path(request["file"]))) as session:
        seen["after"] = read_by_another_process(own)
        seen["child"] = [session.call("attack", name=name, **arguments) for name, arguments in attacks]
        seen["environment"] = session.call("environment")
    sandbox.close()
    print(json.dumps(seen))  # noqa: T201


def read_by_another_process(path: str) -> str:
    program = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
    reader = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, path], capture_output=True, text=True, check=False
    )
    return reader.stdout


main()
