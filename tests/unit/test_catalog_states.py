"""Every pair of states is either allowed or refused, and this is the list of the allowed ones."""

from __future__ import annotations

from itertools import product

import pytest

from celldock.catalog.states import (
    OPEN_STATES,
    TERMINAL_STATES,
    Publication,
    VersionState,
    publication_transition,
    states_before,
    transition,
)
from celldock.errors import Conflict

R, P, Y, I, F, S, C = VersionState  # noqa: E741 - one letter a state keeps the table readable

ALLOWED = {
    (None, R),
    *product([R], [P, F, S, C]),
    *product([P], [P, Y, I, F, S, C]),
    *product([F], [P, S, C]),
    *product([Y, I], [P]),
}

ALLOWED_PUBLICATIONS = {
    (None, Publication.PRIVATE),
    (Publication.PRIVATE, Publication.PUBLISHED),
    (Publication.PUBLISHED, Publication.REPLACED),
    (Publication.PUBLISHED, Publication.WITHDRAWN),
}


@pytest.mark.parametrize(("old", "new"), [*product([None, *VersionState], VersionState)])
def test_every_pair_of_version_states(old: VersionState | None, new: VersionState) -> None:
    if (old, new) in ALLOWED:
        assert transition(old, new) is new
    else:
        with pytest.raises(Conflict, match="cannot become"):
            transition(old, new)


@pytest.mark.parametrize(("old", "new"), [*product([None, *Publication], Publication)])
def test_every_pair_of_publications(old: Publication | None, new: Publication) -> None:
    if (old, new) in ALLOWED_PUBLICATIONS:
        assert publication_transition(old, new) is new
    else:
        with pytest.raises(Conflict, match="cannot become"):
            publication_transition(old, new)


def test_a_ready_version_is_only_ever_processed_anew() -> None:
    assert [new for new in VersionState if (Y, new) in ALLOWED] == [P]


def test_every_state_is_either_open_or_terminal() -> None:
    assert set(VersionState) == OPEN_STATES | TERMINAL_STATES
    assert not OPEN_STATES & TERMINAL_STATES


def test_the_condition_of_a_write_is_the_same_table() -> None:
    assert states_before(P) == {R, P, Y, I, F}
    assert states_before(Y) == {P}
