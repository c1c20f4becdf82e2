"""Which states a version may take: one table for `state`, one for `publication`, both plain data.

None stands for an item that does not exist yet. Whoever changes a state asks `transition` first; the catalog's
store turns the same pair into the condition of its write.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from celldock.errors import Conflict


class VersionState(StrEnum):
    """Where a version stands on its way through the workflow."""

    RECEIVED = "RECEIVED"
    PROCESSING = "PROCESSING"
    READY = "READY"
    INVALID = "INVALID"
    FAILED = "FAILED"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"


class Publication(StrEnum):
    """Who may see a version."""

    PRIVATE = "PRIVATE"
    PUBLISHED = "PUBLISHED"
    REPLACED = "REPLACED"
    WITHDRAWN = "WITHDRAWN"


class ArtifactState(StrEnum):
    """The outcome of one derivative format."""

    CONVERTED = "CONVERTED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


type _Table[State: StrEnum] = Mapping[State | None, frozenset[State]]

VERSION_TRANSITIONS: _Table[VersionState] = {
    None: frozenset({VersionState.RECEIVED}),
    VersionState.RECEIVED: frozenset(
        {VersionState.PROCESSING, VersionState.FAILED, VersionState.SUPERSEDED, VersionState.CANCELLED}
    ),
    # A companion that comes while a run is under way is not in it: a new run begins, and the old one is stopped.
    VersionState.PROCESSING: frozenset(
        {
            VersionState.PROCESSING,
            VersionState.READY,
            VersionState.INVALID,
            VersionState.FAILED,
            VersionState.SUPERSEDED,
            VersionState.CANCELLED,
        }
    ),
    # Only a redrive leaves FAILED, and the redrive may find that a newer upload came or that the object went.
    VersionState.FAILED: frozenset({VersionState.PROCESSING, VersionState.SUPERSEDED, VersionState.CANCELLED}),
    # A companion that comes late changes the verdict, and what is made of the upload: the version is processed anew.
    # A READY one only as long as nobody has published it: what the world sees does not change under its eyes.
    VersionState.READY: frozenset({VersionState.PROCESSING}),
    VersionState.INVALID: frozenset({VersionState.PROCESSING}),
    VersionState.SUPERSEDED: frozenset(),
    VersionState.CANCELLED: frozenset(),
}

PUBLICATION_TRANSITIONS: _Table[Publication] = {
    None: frozenset({Publication.PRIVATE}),
    Publication.PRIVATE: frozenset({Publication.PUBLISHED}),
    Publication.PUBLISHED: frozenset({Publication.REPLACED, Publication.WITHDRAWN}),
    Publication.REPLACED: frozenset(),
    Publication.WITHDRAWN: frozenset(),
}

OPEN_STATES = frozenset({VersionState.RECEIVED, VersionState.PROCESSING})
"""Something is still to happen by itself."""

TERMINAL_STATES = frozenset(VersionState) - OPEN_STATES
"""Nothing more happens by itself; FAILED waits for a redrive, and a companion that comes begins a new run."""


def transition(old: VersionState | None, new: VersionState) -> VersionState:
    """`new`, if a version in state `old` may take it.

    Raises:
        Conflict: the table does not allow this pair.
    """
    return _checked(VERSION_TRANSITIONS, old, new, code="state.transition")


def publication_transition(old: Publication | None, new: Publication) -> Publication:
    """`new`, if a version with publication `old` may take it.

    Raises:
        Conflict: the table does not allow this pair.
    """
    return _checked(PUBLICATION_TRANSITIONS, old, new, code="publication.transition")


def states_before(new: VersionState) -> frozenset[VersionState]:
    """The existing states from which `new` may be reached: what a conditional write expects to find."""
    return frozenset(old for old, allowed in VERSION_TRANSITIONS.items() if old is not None and new in allowed)


def _checked[State: StrEnum](table: _Table[State], old: State | None, new: State, code: str) -> State:
    if new not in table[old]:
        raise Conflict(f"{old or 'nothing'} cannot become {new}.", code=code)
    return new
