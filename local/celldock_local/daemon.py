"""The stack that `celldock local up` leaves running: found again, asked, stopped, reset."""

from __future__ import annotations

from pathlib import Path

from celldock_local.data_folder import StackInfo, delete_folder, is_locked, read_info
from celldock_local.stack import Settings, StackFailed, launch, runtime_folder, stop_pid

__all__ = ["StackFailed", "StackInfo", "down", "reset", "status", "up"]


def up(
    data: Path,
    build: Path,
    port: int = 0,
    *,
    runtime: Path | None = None,
    isolation: str = "auto",
    parameters: dict[str, str] | None = None,
) -> StackInfo:
    """The running stack of `data`: the one that runs there already, or a new one that goes on after this process.

    A new one brings back what the last clean stop kept; `notes` says what it could not. Raises StackFailed.
    """
    running = status(data)
    if running:
        return running
    settings = Settings(
        data=str(data.resolve()),
        runtime=str((runtime or runtime_folder(Path.cwd())).resolve()),
        build=str(build.resolve()),
        port=port,
        isolation=isolation,
        parameters=parameters or {},
    )
    _, info = launch(settings)
    return info


def status(data: Path) -> StackInfo | None:
    """The stack that runs on `data`; None if none does."""
    return read_info(data) if is_locked(data) else None


def down(data: Path) -> bool:
    """Stop the stack of `data`, which saves its data; whether one ran. Raises StackFailed if it had to be killed."""
    running = status(data)
    if running is None:
        return False
    if not stop_pid(running.pid):
        raise StackFailed(f"the stack (process {running.pid}) did not stop and was killed: its last changes are lost")
    return True


def reset(data: Path) -> None:
    """Stop the stack of `data` and delete the folder. Raises DataFolderError if it is no stack's folder."""
    running = status(data)
    if running:
        stop_pid(running.pid, limit_s=0)
    delete_folder(data)
