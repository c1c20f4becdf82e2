"""Which services there are is looked up once. Stock moto lists its own folder, some 250 entries, for every request."""

from __future__ import annotations

from moto import backends

from celldock_local.mends.context import MendContext


def apply(context: MendContext) -> None:
    known = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: known
