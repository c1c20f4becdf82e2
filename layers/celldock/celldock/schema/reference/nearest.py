"""The labels nearest to one that no term has: first by the pairs of letters that both have, then letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import batched
from typing import Any

import numpy as np

type Array = np.ndarray[Any, Any]

FEW = 3
"""Labels that are suggested."""

_CANDIDATES = 40
_CLOSE = 0.75
_COMPARED = 200
_LABELS_AT_ONCE = 4_096
_AS_SPACE = str.maketrans("-_\0", "   ")


class Labels:
    """The labels of one ontology, as (id, label), ready to be searched.

    Each label has a signature of 128 bits, in which each pair of neighbouring letters sets one. Comparing those of all
    labels leaves the few that are then compared letter by letter.
    """

    def __init__(self, terms: Sequence[tuple[str, str]]) -> None:
        self._ids = [id_ for id_, _ in terms]
        self._labels = [_plain(label) for _, label in terms]
        parts = [_signatures(labels) for labels in batched(self._labels, _LABELS_AT_ONCE, strict=False)]
        self._signatures = np.concatenate([np.empty((0, 2), np.uint64), *parts])

    def nearest(self, label: str) -> list[tuple[float, str]]:
        """The closest labels' similarity (0 to 1) and ids, best first; at most `FEW`, and none that is far off."""
        plain = _plain(label)
        wanted = _signatures([plain])
        shared = np.bitwise_count(self._signatures & wanted).sum(axis=1, dtype=np.int64)
        either = np.bitwise_count(self._signatures | wanted).sum(axis=1, dtype=np.int64)
        likely: list[int] = np.argsort(-shared / either, kind="stable")[:_CANDIDATES].tolist()
        close: list[tuple[float, str]] = []
        for at in likely:
            similarity = SequenceMatcher(None, self._labels[at], plain, autojunk=False).ratio()
            if similarity >= _CLOSE:
                close.append((similarity, self._ids[at]))
        return sorted(close, key=lambda found: -found[0])[:FEW]


def _plain(label: str) -> str:
    """A label without what people write now so, now so: case, spacing, hyphens and underscores."""
    return " ".join(label.casefold().translate(_AS_SPACE).split())[:_COMPARED]


def _signatures(labels: Sequence[str]) -> Array:
    """Labels × 128 bits, as two words. The pairs at a label's ends, with nothing, count too."""
    text = np.frombuffer(("\0" + "\0".join(labels) + "\0").encode(), np.uint8).astype(np.uint32)
    pairs = (text[:-1] << 8 | text[1:]) * np.uint32(2654435769) >> 25
    words = np.zeros((len(pairs), 2), np.uint64)
    words[np.arange(len(pairs)), pairs >> 6] = np.uint64(1) << (pairs & 63).astype(np.uint64)
    return np.bitwise_or.reduceat(words, np.flatnonzero(text[:-1] == 0), axis=0)
