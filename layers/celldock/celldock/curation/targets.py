"""Which matrices a file has in the end, and of which each is made: by the config, and all that it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celldock.curation.config import Curation, MatrixRule
from celldock.curation.dropping import Drops, find_drops
from celldock.curation.fields import nearest
from celldock.curation.ledger import Ledger
from celldock.h5ad.headers import Header, MatrixHeader

_RAW = "raw"
_LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Target:
    """A matrix of the new file at `path`, made of `source`; `rule` is what the config says of it, if anything."""

    path: str
    source: MatrixHeader
    rule: MatrixRule | None = None

    @property
    def name(self) -> str:
        """`raw.X`, `layers.counts`."""
        return matrix_name(self.path)

    @property
    def kind(self) -> str:
        """As rules call it: `x`, `raw`, `layers`."""
        return self.path.partition("/")[0].lower()

    @property
    def is_moved(self) -> bool:
        """Whether it lies elsewhere in the original."""
        return self.path != self.source.path


@dataclass(frozen=True, slots=True)
class Targets:
    """All matrices of the new file by their paths, and what the config drops."""

    matrices: Mapping[str, Target]
    drops: Drops

    @property
    def x(self) -> Target | None:
        """What becomes X."""
        return self.matrices.get("X")

    @property
    def raw(self) -> Target | None:
        """What becomes raw.X."""
        return next((target for target in self.matrices.values() if target.kind.startswith(_RAW)), None)


def matrix_name(path: str) -> str:
    """A matrix's path as a config has it: `layers.counts` for `layers/counts`."""
    return path.replace("/", ".", 1)


def plan_targets(header: Header, curation: Curation, ledger: Ledger) -> Targets:
    """Reads the config's `matrices` and `drop`.

    What cannot be done is told, and so is a matrix whose values nothing of the new file would have.
    """
    there = {
        matrix_name(matrix.path): matrix for matrix in (header.x, header.raw_x, *header.layers) if matrix is not None
    }
    drops = find_drops(header, curation, ledger)
    matrices: dict[str, Target] = {}
    for name, matrix in there.items():
        if name not in curation.config.matrices and not _is_below(matrix.path, drops.paths):
            matrices[matrix.path] = Target(matrix.path, matrix)
    for name, rule in curation.config.matrices.items():
        if _may_be(name, curation, ledger) and (source := _source(rule, name, there, curation, ledger)) is not None:
            path = there[name].path if name in there else name.replace(".", "/", 1)
            matrices[path] = Target(path, source, rule)
    targets = Targets(matrices, drops)
    _tell_lost(targets, there, curation, ledger)
    return _without_counts(targets, curation, ledger)


def _without_counts(targets: Targets, curation: Curation, ledger: Ledger) -> Targets:
    """The same without the layer whose counts become raw.X: a file should not hold them twice."""
    raw = targets.raw
    if raw is None or raw.rule is None or raw.rule.undo or raw.rule.dtype:
        return targets
    path = raw.source.path
    used = [target for target in targets.matrices.values() if target.source.path == path and target.rule is not None]
    is_layer = path.startswith(f"{_LAYERS}/") and path in targets.matrices
    if not is_layer or used != [raw] or matrix_name(path) in curation.config.matrices:
        return targets
    ledger.change("matrices.layer_moved", path, f"{matrix_name(path)} goes: all of its values are in raw.X.")
    drops = replace(targets.drops, paths=(*targets.drops.paths, path))
    return Targets({place: target for place, target in targets.matrices.items() if place != path}, drops)


def _may_be(name: str, curation: Curation, ledger: Ledger) -> bool:
    """Whether there can be a matrix of that name."""
    section, _, key = name.partition(".")
    if name in ("X", "raw.X") or (section == _LAYERS and key not in ("", ".") and "/" not in key):
        return True
    ledger.problem(
        "matrices.no_such_target",
        curation.where("matrices", name),
        f"{name!r} is no place for a matrix.",
        suggestion="Matrices are called X, raw.X, and layers.NAME (a name without slashes).",
    )
    return False


def _source(
    rule: MatrixRule, name: str, there: Mapping[str, MatrixHeader], curation: Curation, ledger: Ledger
) -> MatrixHeader | None:
    source = there.get(rule.source)
    if source is None:
        near = nearest(rule.source, there)
        ledger.problem(
            "matrices.no_such_source",
            curation.where("matrices", name, "from"),
            f"{name} is to be made of {rule.source!r}, which the file does not have.",
            examples=there,
            suggestion=f"Did you mean {near!r}?" if near else f"The file has {', '.join(there) or 'no matrix'}.",
        )
    return source


def _tell_lost(targets: Targets, there: Mapping[str, MatrixHeader], curation: Curation, ledger: Ledger) -> None:
    """Tells each matrix that another one takes the place of, and that is nowhere else in the new file."""
    used = {target.source.path for target in targets.matrices.values()}
    for name, matrix in there.items():
        if (
            matrix.path in targets.matrices
            and matrix.path not in used
            and not _is_below(matrix.path, targets.drops.paths)
        ):
            other = matrix_name(targets.matrices[matrix.path].source.path)
            ledger.problem(
                "matrices.lost",
                curation.where("matrices", name),
                f"The values that the file has in {name} would be lost: {other} takes their place.",
                suggestion=f"Keep them, as layers.NAME: {name}; or say that they may go: drop: [{_drop(name)}].",
            )


def _drop(name: str) -> str:
    return _RAW if name == "raw.X" else name


def _is_below(path: str, dropped: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in dropped)
