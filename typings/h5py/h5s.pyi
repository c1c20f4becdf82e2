from typing import Any

ALL: int
NULL: int
SCALAR: int
SIMPLE: int

class SpaceID:
    @property
    def shape(self) -> tuple[int, ...]: ...
    def get_simple_extent_type(self) -> int: ...

def create(kind: int) -> Any: ...
def create_simple(dims: tuple[int, ...], max_dims: tuple[int, ...] | None = None) -> Any: ...
