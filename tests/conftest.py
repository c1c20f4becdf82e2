"""Fixtures that more than one kind of test needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.dock import Dock

FIGURES = pytest.StashKey[list[str]]()
LONGEST_FIRST = ("stack", "function", "local", "parity", "unit")
"""Folders: several workers begin with what takes longest, so that none of them is left with it at the end."""
EXAMPLE = Path(__file__).parents[1] / "examples" / "pbmc68k.h5ad"

SHARING_A_STACK = ("tests/stack/", "tests/function/")
STACKS_OF_THEIR_OWN = {"tests/stack/test_command.py"}


@pytest.fixture(scope="session")
def dock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dock]:
    """The whole stack, deployed once from what `make build` built.

    It makes the quickest formats; the others where a collection requires them.
    """
    # Imported here: the local stack brings moto along, and the unit tests shall start in a moment.
    from celldock_local.checkout import BUILD, RUNTIME, require_built
    from celldock_local.stack import LocalStack
    from tests.dock import Dock

    require_built()
    folder = tmp_path_factory.mktemp("stack")
    with LocalStack(BUILD, folder, parameters={"Formats": "cells,fragments"}, runtime=RUNTIME) as stack:
        yield Dock(stack)


@pytest.fixture(scope="session")
def example() -> Path:
    """The real file that celldock ships."""
    return EXAMPLE


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> list[str]:
    """What a test measures is appended here and printed at the end of the run; nothing is judged by it."""
    return pytestconfig.stash.setdefault(FIGURES, [])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders what is distributed among several workers."""
    if hasattr(config, "workerinput"):
        places = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: places.get(item.path.relative_to(Path(__file__).parent).parts[0], len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """All that shares a stack goes to one worker: it starts once, and the others work while its tests wait for it."""
    from xdist.scheduler import LoadFileScheduling

    class OneStack(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "stack" if file.startswith(SHARING_A_STACK) and file not in STACKS_OF_THEIR_OWN else file

    return OneStack(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the figures that tests have left."""
    for figure in config.stash.get(FIGURES, []):
        terminalreporter.write_line(f"measured: {figure}")
