"""Deleted things are forgotten. Stock moto keeps every message, item and object that ever was, for its dashboard."""

from __future__ import annotations

from typing import Any

from moto.core.common_models import BaseModel

from celldock_local.mends.context import MendContext


def apply(context: MendContext) -> None:
    def new(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    BaseModel.__new__ = new
