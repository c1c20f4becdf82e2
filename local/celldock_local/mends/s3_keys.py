"""A key may hold a line break.

Stock moto's routes stop at one: the request ends in 404.
"""

from __future__ import annotations

from typing import Any

from moto.moto_server.utilities import RegexConverter

from celldock_local.mends.context import MendContext


def apply(_: MendContext) -> None:
    stock = RegexConverter.__init__

    def init(self: RegexConverter, url_map: Any, *items: Any) -> None:
        stock(self, url_map, *items)
        self.regex = f"(?s:{items[0]})"

    RegexConverter.__init__ = init
