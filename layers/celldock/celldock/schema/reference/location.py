"""Where the reference databases lie: in a layer beside the package on Lambda, in the checkout's build elsewhere."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import celldock
from celldock.errors import ServiceFault
from celldock.schema.reference.database import Reference

SETTING = "CELLDOCK_REFERENCE"
"""The environment variable that names another folder."""


def open_reference(schema_version: str) -> Reference:
    """The reference of that schema version, opened once in a process.

    Raises:
        ServiceFault: it is not there, or is not what it should be.

    >>> open_reference("7.1.0").term("CL:0000540").label
    'neuron'
    """
    return _opened(_folder(), schema_version)


@cache
def _opened(folder: Path, schema_version: str) -> Reference:
    reference = Reference(folder / f"{schema_version}.sqlite")
    if reference.schema_version != schema_version:
        raise ServiceFault(
            f"the reference data in {folder} are those of schema {reference.schema_version}, not {schema_version}",
            code="reference.wrong_version",
            where=str(folder),
            hint="Build them anew: make setup",
        )
    return reference


def _folder() -> Path:
    if setting := os.environ.get(SETTING):
        return Path(setting)
    package = Path(celldock.__path__[0])
    # /opt/python/celldock on Lambda, layers/celldock/celldock in a checkout.
    layer, checkout = package.parents[1] / "reference", package.parents[2] / ".celldock" / "reference"
    return checkout if package.parent.name == "celldock" else layer
