from typing import Any

INTEGER: int
FLOAT: int
TIME: int
STRING: int
BITFIELD: int
OPAQUE: int
COMPOUND: int
REFERENCE: int
ENUM: int
VLEN: int
ARRAY: int
COMPLEX: int

class TypeID:
    def committed(self) -> bool: ...
    def get_class(self) -> int: ...
    def get_size(self) -> int: ...
    def equal(self, other: TypeID) -> bool: ...
    def __getattr__(self, name: str) -> Any: ...

class TypeStringID(TypeID):
    def is_variable_str(self) -> bool: ...

class TypeCompoundID(TypeID):
    def get_nmembers(self) -> int: ...
    def get_member_name(self, member: int) -> bytes: ...
    def get_member_type(self, member: int) -> TypeID: ...

class TypeEnumID(TypeID):
    def get_nmembers(self) -> int: ...
    def get_member_name(self, member: int) -> bytes: ...
    def get_member_value(self, member: int) -> int: ...
    def get_super(self) -> TypeID: ...

STD_REF_OBJ: TypeID

STD_I8LE: TypeID
STD_I8BE: TypeID
STD_I16LE: TypeID
STD_I16BE: TypeID
STD_I32LE: TypeID
STD_I32BE: TypeID
STD_I64LE: TypeID
STD_I64BE: TypeID
STD_U8LE: TypeID
STD_U8BE: TypeID
STD_U16LE: TypeID
STD_U16BE: TypeID
STD_U32LE: TypeID
STD_U32BE: TypeID
STD_U64LE: TypeID
STD_U64BE: TypeID
IEEE_F16LE: TypeID
IEEE_F16BE: TypeID
IEEE_F32LE: TypeID
IEEE_F32BE: TypeID
IEEE_F64LE: TypeID
IEEE_F64BE: TypeID

def __getattr__(name: str) -> Any: ...
