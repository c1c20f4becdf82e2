"""Which formats there are. A new one adds its line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from celldock.errors import ServiceFault
from celldock.formats.cells import Cells
from celldock.formats.cxg import Cxg
from celldock.formats.fragments import Fragments
from celldock.formats.protocol import Format
from celldock.formats.rds import Rds
from celldock.formats.zarr import Zarr

_ALL: tuple[Format, ...] = (Cells(), Fragments(), Cxg(), Zarr(), Rds())

FORMATS: Mapping[str, Format] = MappingProxyType({format.name: format for format in _ALL})


def get_format(name: str) -> Format:
    """The format of that name. Raises ServiceFault if there is none: names come from our own configuration."""
    if name not in FORMATS:
        raise ServiceFault(
            f"there is no format {name!r}", code="format.unknown", where=name, hint=f"known: {', '.join(FORMATS)}"
        )
    return FORMATS[name]
