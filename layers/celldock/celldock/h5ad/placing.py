"""Where what an original file has is to be in one that is written by a `Rewrite`: the one answer for all who need it.

The child that copies asks for every object on its way down, the proof for every dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from celldock.h5ad.rewrites import Rewrite

_FRAMES = ("obs", "var", "raw/var")
_RAW, _RAW_X = "raw", "raw/X"


class Root(NamedTuple):
    """What the original has at `source`, and all below it, is copied to `target`; ("", "") stands for all of it."""

    source: str
    target: str

    def place(self, path: str) -> str:
        """Where `path`, at or below the source, comes to."""
        return (self.target + path.removeprefix(self.source)).lstrip("/")

    def holds(self, path: str) -> bool:
        """Whether `path` is at the source or below it."""
        return not self.source or path == self.source or path.startswith(f"{self.source}/")


@dataclass(frozen=True, slots=True)
class Placing:
    """The places of one rewrite, as plain data; see `Rewrite` for what the fields mean."""

    moved: Mapping[str, str] = field(default_factory=dict[str, str])
    copied: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rewrite: Rewrite) -> Self:
        """The places of a rewrite: with a column go its categories of AnnData 0.7, with raw/X all of raw.

        Raises ValueError if two things are to be in the same place.
        """
        targets = [*rewrite.made, *rewrite.moved.values(), *rewrite.copied.values()]
        if len(set(targets)) != len(targets):
            raise ValueError(f"two things for one place among {sorted(targets)}")
        dropped = set(rewrite.dropped)
        for frame in _FRAMES:
            columns = [path.removeprefix(f"{frame}/") for path in rewrite.dropped if path.startswith(f"{frame}/")]
            dropped.update(f"{frame}/__categories/{name}" for name in columns)
        if (_RAW_X in dropped or _RAW_X in rewrite.moved) and _RAW_X not in targets:
            dropped.add(_RAW)
        return cls(dict(rewrite.moved), dict(rewrite.copied), frozenset(dropped), frozenset(rewrite.made))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_plain`."""
        return cls(plain["moved"], plain["copied"], frozenset(plain["dropped"]), frozenset(plain["made"]))

    def to_plain(self) -> dict[str, Any]:
        """The same as values that a child can be sent."""
        moved, copied = dict(self.moved), dict(self.copied)
        return {"moved": moved, "copied": copied, "dropped": sorted(self.dropped), "made": sorted(self.made)}

    @property
    def roots(self) -> Iterator[Root]:
        """What is copied: first all that stays where it is, then what comes to other places."""
        yield Root("", "")
        for source, target in (*self.moved.items(), *self.copied.items()):
            yield Root(source, target)

    def keeps(self, root: Root, path: str) -> bool:
        """Whether what the original has at `path`, below a root, is copied with it if all above it is."""
        return path not in self.dropped and path not in self.moved and not self.takes(root.place(path))

    def takes(self, target: str) -> bool:
        """Whether something else than what is there in the original comes to `target`."""
        return target in self.made or target in self.moved.values() or target in self.copied.values()

    def places(self, path: str) -> list[str]:
        """Where in the new file that is which the original has at `path`; nowhere, or in several places."""
        return [root.place(path) for root in self.roots if root.holds(path) and self._keeps_all(root, path)]

    def _keeps_all(self, root: Root, path: str) -> bool:
        names = path.split("/")
        above = root.source.count("/") + 1 if root.source else 0
        return all(self.keeps(root, "/".join(names[:count])) for count in range(above + 1, len(names) + 1))
