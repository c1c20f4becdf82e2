from collections.abc import Callable
from typing import Any, Literal

TYPE_HARD: int
TYPE_SOFT: int
TYPE_EXTERNAL: int

class LinkInfo:
    type: int
    u: int

class LinkProxy:
    def exists(self, name: bytes) -> bool: ...
    def get_info(self, name: bytes) -> LinkInfo: ...
    def iterate(self, func: Callable[[bytes, LinkInfo], Any], *, info: Literal[True]) -> Any: ...
    def create_hard(self, new_name: bytes, cur_loc: Any, cur_name: bytes) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
