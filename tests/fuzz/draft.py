"""Mutations of an HDF5 file's bytes, aimed at its fields and structures."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.fuzz.atlas import Atlas, Field, Kind, Structure, checksum_of
from tests.fuzz.survey import survey

FILTERS = (0, 1, 2, 3, 4, 5, 6, 305, 32000, 32001, 32004, 32008, 32013, 32015, 32022, 0xFFFF)
"""deflate, shuffle, fletcher32, szip, nbit, scaleoffset; lzf, blosc, lz4, bitshuffle, zfp, zstd; unknown ones."""
_CLASSES = tuple(range(26))
_SIZES = (7, 8, 255, 256, 1 << 15, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 48, 1 << 62)
_BYTES = (0x00, 0x01, 0x0A, 0x22, 0x2E, 0x2F, 0x3C, 0x3D, 0x7F, 0x80, 0xC0, 0xED, 0xFF)
_CHECKSUMS_MENDED = 0.9
_BULK = 64 * 1024


class Draft:
    """A file in the making: `data` changes, `before` and its atlas do not.

    `set_`-like mutations keep every structure where it is; those that move bytes come last (see `mutate.py`).
    """

    def __init__(self, before: bytes, atlas: Atlas | None = None) -> None:
        self.before = before
        self.data = bytearray(before)
        self.atlas = atlas or survey(before)

    def write(self, field: Field, value: int) -> str:
        """Sets a field; a value that is too wide loses its upper bits. Answers what was done."""
        old = int.from_bytes(self.data[field.offset : field.stop], "little")
        value &= (1 << 8 * field.width) - 1
        self.data[field.offset : field.stop] = value.to_bytes(field.width, "little")
        return f"{field.label} at {field.offset}: {old:#x} → {value:#x}"

    def mend_checksums(self) -> None:
        """Makes the checksums of the changed structures right, so that libhdf5 looks at what they hold."""
        self.atlas.mend_checksums(self.before, self.data)

    def mend_end(self) -> None:
        """Writes the file's length into the superblock: libhdf5 opens no file that is shorter than it says."""
        superblock = self.atlas.by_name["superblock"][0]
        for field in self.atlas.by_kind[Kind.ADDRESS]:
            if field.label == "superblock end of file":
                self.write(field, len(self.data))
        if superblock.checksum is not None and superblock.stop <= len(self.data):
            checksum = checksum_of(self.data, superblock).to_bytes(4, "little")
            self.data[superblock.checksum : superblock.stop] = checksum


Mutation = Callable[[Draft, Random], str]


def set_field(draft: Draft, rng: Random) -> str:
    """Writes an interesting value into one field."""
    field = _any_field(draft, rng)
    if field.kind == Kind.NAME:
        return _set_text(draft, rng, field)
    return draft.write(field, rng.choice(_values(draft, rng, field)))


def swap_fields(draft: Draft, rng: Random) -> str:
    """Exchanges two fields of one kind."""
    one, other = _pair(draft, rng)
    values = [int.from_bytes(draft.data[field.offset : field.stop], "little") for field in (one, other)]
    return f"{draft.write(one, values[1])}; {draft.write(other, values[0])}"


def copy_field(draft: Draft, rng: Random) -> str:
    """Writes one field's value into another of its kind."""
    one, other = _pair(draft, rng)
    return draft.write(other, int.from_bytes(draft.data[one.offset : one.stop], "little"))


def copy_structure(draft: Draft, rng: Random) -> str:
    """Writes one structure over another of the same name."""
    one, other = _two_structures(draft, rng)
    length = min(one.stop - one.start, other.stop - other.start)
    draft.data[other.start : other.start + length] = draft.before[one.start : one.start + length]
    return f"{one.name} at {one.start} also at {other.start}"


def swap_structures(draft: Draft, rng: Random) -> str:
    """Exchanges two structures of the same name, as far as the shorter one goes."""
    one, other = _two_structures(draft, rng)
    length = min(one.stop - one.start, other.stop - other.start)
    for target, source in ((one, other), (other, one)):
        draft.data[target.start : target.start + length] = draft.before[source.start : source.start + length]
    return f"{one.name} at {one.start} exchanged with that at {other.start}"


def blank_structure(draft: Draft, rng: Random) -> str:
    """Fills a structure, or its second half, with one byte."""
    item = rng.choice(_any_structures(draft, rng))
    start = rng.choice((item.start, (item.start + item.stop) // 2))
    byte = rng.choice(_BYTES)
    draft.data[start : item.stop] = bytes([byte]) * (item.stop - start)
    return f"{item.name} at {item.start}: {byte:#x} from {start} on"


def damage_data(draft: Draft, rng: Random) -> str:
    """Changes bytes of a chunk or of contiguous data as they are stored: mostly compressed."""
    names = [name for name in ("chunk", "contiguous data") if name in draft.atlas.by_name]
    if not names:
        return set_bytes(draft, rng)
    item = rng.choice(draft.atlas.by_name[rng.choice(names)])
    places = [rng.randrange(item.start, item.stop) for _ in range(rng.choice((1, 1, 2, 16)))]
    for place in places:
        draft.data[place] = rng.choice(_BYTES)
    return f"{item.name} at {item.start}: bytes at {places}"


def set_bytes(draft: Draft, rng: Random) -> str:
    """The baseline: random bytes at random places, wherever these are."""
    places = [rng.randrange(len(draft.data)) for _ in range(rng.choice((1, 4, 32)))]
    for place in places:
        draft.data[place] = rng.randrange(256)
    return f"random bytes at {places}"


def truncate(draft: Draft, rng: Random) -> str:
    """Ends the file at the edge of a structure, inside one or anywhere."""
    item = rng.choice(draft.atlas.structures)
    stop = rng.choice((item.start, item.stop, (item.start + item.stop) // 2, rng.randrange(len(draft.data))))
    del draft.data[stop:]
    return f"truncated to {len(draft.data)} bytes{_end(draft, rng)}"


def cut_out(draft: Draft, rng: Random) -> str:
    """Removes a structure, so that what follows moves up."""
    item = rng.choice(draft.atlas.structures)
    del draft.data[item.start : item.stop]
    return f"{item.name} at {item.start} cut out{_end(draft, rng)}"


def insert(draft: Draft, rng: Random) -> str:
    """Repeats a structure in front of another, so that what follows moves down."""
    item, before = rng.choice(draft.atlas.structures), rng.choice(draft.atlas.structures)
    draft.data[before.start : before.start] = draft.before[item.start : min(item.stop, item.start + _BULK)]
    return f"{item.name} at {item.start} inserted at {before.start}{_end(draft, rng)}"


def append(draft: Draft, rng: Random) -> str:
    """Adds bytes that no structure names."""
    draft.data += bytes([rng.choice(_BYTES)]) * rng.choice((1, 8, 4096))
    return f"bytes appended{_end(draft, rng)}"


IN_PLACE: tuple[Mutation, ...] = (
    *(6 * (set_field,)),
    swap_fields,
    copy_field,
    copy_structure,
    swap_structures,
    blank_structure,
    *(2 * (damage_data,)),
    set_bytes,
)
MOVING: tuple[Mutation, ...] = (truncate, cut_out, insert, append)


def finish(draft: Draft, rng: Random) -> None:
    """Makes checksums right, mostly: wrong ones are a mutation too."""
    if rng.random() < _CHECKSUMS_MENDED:
        draft.mend_checksums()


def _end(draft: Draft, rng: Random) -> str:
    if rng.random() < 0.5 or len(draft.data) < 64:
        return ""
    draft.mend_end()
    return ", and the superblock says so"


def _any_field(draft: Draft, rng: Random) -> Field:
    """Every other time the kind comes first, so that the rare ones come as often."""
    if rng.random() < 0.5:
        return rng.choice(draft.atlas.by_kind[rng.choice(sorted(draft.atlas.by_kind))])
    return rng.choice(draft.atlas.fields)


def _pair(draft: Draft, rng: Random) -> tuple[Field, Field]:
    kinds = sorted(kind for kind, fields in draft.atlas.by_kind.items() if len(fields) > 1 and kind != Kind.NAME)
    fields = draft.atlas.by_kind[rng.choice(kinds)]
    one = rng.choice(fields)
    content = draft.data[one.offset : one.stop]
    others = [field for field in fields if field.width == one.width]
    unlike = [field for field in others if draft.data[field.offset : field.stop] != content]
    return one, rng.choice(unlike or others)


def _any_structures(draft: Draft, rng: Random) -> list[Structure]:
    return draft.atlas.by_name[rng.choice(sorted(draft.atlas.by_name))]


def _two_structures(draft: Draft, rng: Random) -> tuple[Structure, Structure]:
    names = sorted(name for name, structures in draft.atlas.by_name.items() if len(structures) > 1)
    structures = draft.atlas.by_name[rng.choice(names)]
    one = rng.choice(structures)
    content = draft.before[one.start : one.stop]
    unlike = [item for item in structures if draft.before[item.start : item.stop] != content]
    return one, rng.choice(unlike or structures)


def _values(draft: Draft, rng: Random, field: Field) -> list[int]:
    """What may be worth writing into a field: never what it holds."""
    value = int.from_bytes(draft.data[field.offset : field.stop], "little")
    bits, size = 8 * field.width, len(draft.data)
    values = [0, 1, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1]
    values += [value + 1, value - 1, 2 * value, value // 2, value ^ (1 << rng.randrange(bits)), rng.getrandbits(bits)]
    match field.kind:
        case Kind.ADDRESS | Kind.OFFSET:
            values += [rng.choice(draft.atlas.structures).start for _ in range(4)]
            values += [rng.choice(_any_structures(draft, rng)).start for _ in range(4)]
            values += [field.offset, size, size - 1, size + 8, value + 8]
        case Kind.SIZE | Kind.COUNT | Kind.DIMENSION:
            values += [*_SIZES, size, size - field.offset]
        case Kind.CLASS | Kind.VERSION:
            values += [*_CLASSES, value ^ 0x10, value ^ 0x30]
        case Kind.FILTER:
            values += FILTERS
    return [other for other in values if (other ^ value) & ((1 << bits) - 1)]


def _set_text(draft: Draft, rng: Random, field: Field) -> str:
    places = [rng.randrange(field.offset, field.stop) for _ in range(rng.choice((1, 1, 3)))] if field.width else []
    if rng.random() < 0.1:
        places = list(range(field.offset, field.stop))
    byte = rng.choice(_BYTES)
    for place in places:
        draft.data[place] = byte
    return f"{field.label} at {field.offset}: {byte:#x} at {places[:4]}"
