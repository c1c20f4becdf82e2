from typing import Any

from .h5d import DatasetID
from .h5g import GroupID
from .h5t import TypeID

class ObjInfo:
    addr: int

def open(loc: Any, name: bytes) -> GroupID | DatasetID | TypeID: ...
def get_info(loc: Any) -> ObjInfo: ...
