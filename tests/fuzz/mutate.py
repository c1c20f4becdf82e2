"""A mutant: one to four mutations of a seed, drawn from a source of randomness.

Every mutant has a name, `<seed>:<number>`, which seeds that source: the same name gives the same file everywhere.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from random import Random

import h5py

from tests.fuzz.atlas import Atlas
from tests.fuzz.draft import IN_PLACE, MOVING, Draft, Mutation, finish
from tests.fuzz.logical import apply
from tests.fuzz.seeds import seed
from tests.fuzz.survey import survey

_STEPS = (1, 1, 1, 1, 2, 2, 3, 4)
_LOGICAL = 0.4
_MOVING = 0.08


@dataclass(frozen=True, slots=True)
class Mutant:
    """The bytes of a mutated file, and what was done to it."""

    name: str
    data: bytes
    steps: tuple[str, ...]


def mutant(name: str) -> Mutant:
    """The mutant of that name.

    Logical mutations come first, as h5py needs a sound file; those that move bytes come last, as the atlas is of the
    file before.
    """
    rng, of = Random(name), name.rpartition(":")[0]
    count = rng.choice(_STEPS)
    logical = sum(rng.random() < _LOGICAL for _ in range(count))
    moving = sum(rng.random() < _MOVING for _ in range(count - logical))
    data, steps = _changed(seed(of), logical, rng) if logical else (seed(of), [])
    if logical == count:
        return Mutant(name, data, tuple(steps))
    draft = Draft(data, None if logical else _atlas(of))
    steps += [_step(draft, rng, IN_PLACE) for _ in range(count - logical - moving)]
    finish(draft, rng)
    steps += [_step(draft, rng, MOVING) for _ in range(moving)]
    return Mutant(name, bytes(draft.data), tuple(steps))


def _step(draft: Draft, rng: Random, mutations: tuple[Mutation, ...]) -> str:
    mutation = rng.choice(mutations)
    return f"{mutation.__name__}: {mutation(draft, rng)}"


def _changed(data: bytes, count: int, rng: Random) -> tuple[bytes, list[str]]:
    with h5py.File(stream := io.BytesIO(data), "r+") as file:
        steps = [apply(file, rng) for _ in range(count)]
    return stream.getvalue(), steps


@cache
def _atlas(name: str) -> Atlas:
    return survey(seed(name))
