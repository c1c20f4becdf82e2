"""Documents of the API as text for a terminal. Everything that comes from a file or a key is escaped."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from celldock.report import Report, render_text
from celldock.report.text import printable

STATE_STYLES = {"READY": "green", "CONVERTED": "green", "INVALID": "yellow", "SKIPPED": "yellow", "FAILED": "red"}


def human_bytes(size: int) -> str:
    """`1536` → `1.5 kB`; powers of 1000, as S3's console and `docs/` use them."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def styled(state: str) -> Text:
    """A state in its colour."""
    return Text(state, STATE_STYLES.get(state, ""))


def print_status(answer: dict[str, Any], console: Console) -> None:
    """A dataset's version, why it ended so, its artifacts."""
    version = answer["version"]
    dataset = answer.get("dataset") or {}
    facts = Table.grid(padding=(0, 2))
    name = version["key"].removesuffix(".h5ad")
    facts.add_row("dataset", Text(printable(name)))
    facts.add_row("version", Text(version["version_id"]))
    state = styled(version["state"])
    if version.get("step") and version["state"] == "PROCESSING":
        state.append(f" ({version['step']})")
    facts.add_row("state", state)
    if (plan := version.get("plan")) and plan["n_obs"]:
        facts.add_row("planned", planned(plan))
    if failure := version.get("failure"):
        facts.add_row("failed in", Text(printable(failure.get("step", ""))))
        facts.add_row("cause", Text(printable(f"{failure.get('error', '')}: {failure.get('cause', '')}")))
    if verdict := version.get("verdict"):
        facts.add_row("findings", f"{verdict['errors']} errors, {verdict['warnings']} warnings")
    facts.add_row("published", published(dataset, version))
    console.print(facts)
    if answer.get("artifacts"):
        console.print(artifact_table(answer["artifacts"]))


def planned(plan: dict[str, Any]) -> str:
    """`68,579 cells × 32,738 genes, about 40 s`."""
    sizes = f"{plan['n_obs']:,} cells × {plan['n_vars']:,} genes"
    return f"{sizes}, about {plan['seconds']:,} s" if plan.get("seconds") else sizes


def published(dataset: dict[str, Any], version: dict[str, Any]) -> str:
    """Whether the dataset is public, and by which version."""
    if not dataset.get("published"):
        return "no"
    return "yes" if dataset.get("published_version") == version["version_id"] else "another version"


def artifact_table(artifacts: list[dict[str, Any]]) -> Table:
    """One row per artifact."""
    table = Table("artifact", "state", "files", "size", "SHA-256", box=None, header_style="bold", pad_edge=False)
    for artifact in artifacts:
        digest = (artifact.get("checksum") or {}).get("value", "")
        table.add_row(
            Text(artifact["format"]),
            styled(artifact["state"]),
            str(artifact["files"]) if artifact["files"] else "",
            human_bytes(int(artifact["bytes"])) if artifact["bytes"] else "",
            Text(digest or printable(artifact.get("reason", "")), overflow="fold"),
        )
    return table


def print_report(document: dict[str, Any], console: Console) -> None:
    """A report.json as text."""
    console.print(render_text(Report.from_json(document)), markup=False, soft_wrap=True)
