"""Files whose structures are broken on purpose, in the shapes of HDF5's published vulnerabilities: structures that hold
themselves, lengths that nobody compared with what there is.

Which of `UNREADABLE` their submitters are told depends on what the build of libhdf5 makes of them: it may notice, crash
or run in circles. All of it happens in the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.hostile.case import UNREADABLE, Stage, case, good
from tests.hostile.structure import (
    CONTINUATION,
    DATASPACE,
    DATATYPE,
    FILTERS,
    LAYOUT,
    UNDEFINED,
    Patched,
    address,
    checksum,
)

type Patch = Callable[[Patched], None]

_TREE_HEAD = 24


def patched(name: str, *more: str, stage: Stage = "parser") -> Callable[[Patch], Patch]:
    """Registers a function that overwrites bytes of a good file; `more` are codes that it may also be told."""

    def register(patch: Patch) -> Patch:
        def build(path: Path) -> None:
            path.write_bytes(good())
            file = Patched(path)
            patch(file)
            file.save()

        case(name, *UNREADABLE, *more, stage=stage)(build)
        return patch

    return register


@patched("root-header-in-superblock")
def root_header_in_superblock(file: Patched) -> None:
    file.write(64, address(8))


@patched("root-header-beyond-the-end")
def root_header_beyond_the_end(file: Patched) -> None:
    file.write(64, address(1 << 40))


@patched("superblock-of-another-driver")
def superblock_of_another_driver(file: Patched) -> None:
    """A driver block that says the data are spread over a family of files."""
    at = len(file.content)
    file.content += b"\0\0\0\0" + (8).to_bytes(4, "little") + b"NCSAfami" + (1 << 20).to_bytes(8, "little")
    file.write(40, address(len(file.content)), address(at))


@patched("superblock-of-odd-widths")
def superblock_of_odd_widths(file: Patched) -> None:
    file.write(13, b"\x20\x20")


@patched("group-btree-is-its-own-child")
def group_btree_is_its_own_child(file: Patched) -> None:
    """Going down never ends."""
    node = file.btree_of("uns")
    file.write(node + 5, b"\x01")
    file.write(node + _TREE_HEAD + 8, address(node))


@patched("group-btree-with-too-many-entries")
def group_btree_with_too_many_entries(file: Patched) -> None:
    file.write(file.btree_of("uns") + 6, b"\xff\xff")


@patched("local-heap-beyond-the-end")
def local_heap_beyond_the_end(file: Patched) -> None:
    file.write(file.heap_of("uns") + 24, address(1 << 40))


@patched("local-heap-of-2-to-the-40")
def local_heap_of_2_to_the_40(file: Patched) -> None:
    file.write(file.heap_of("uns") + 8, address(1 << 40))


@patched("local-heap-free-list-loops")
def local_heap_free_list_loops(file: Patched) -> None:
    """A free block that comes after itself."""
    head = file.heap_of("uns")
    data = file.number(head + 24)
    file.write(head + 16, address(8))
    file.write(data + 8, address(8), address(16))


@patched("symbol-name-beyond-its-heap")
def symbol_name_beyond_its_heap(file: Patched) -> None:
    leaf = file.number(file.btree_of("uns") + _TREE_HEAD + 8)
    assert file.content[leaf : leaf + 4] == b"SNOD"
    file.write(leaf + 8, address(1 << 30))


@patched("symbol-node-with-too-many-symbols")
def symbol_node_with_too_many_symbols(file: Patched) -> None:
    leaf = file.number(file.btree_of("uns") + _TREE_HEAD + 8)
    file.write(leaf + 6, b"\xff\xff")


@patched("header-continues-in-itself")
def header_continues_in_itself(file: Patched) -> None:
    """Reading the header asks for reading the header."""
    message = file.message("uns", CONTINUATION)
    start = file.header_of("uns")
    file.write(message.body, address(start + 16), address(file.number(start + 8, 4)))


@patched("header-of-4-gigabytes")
def header_of_4_gigabytes(file: Patched) -> None:
    file.write(file.header_of("uns") + 8, b"\xf0\xff\xff\xff")


@patched("message-larger-than-its-header")
def message_larger_than_its_header(file: Patched) -> None:
    file.write(file.message("X/data", DATATYPE).at + 2, b"\xf8\xff")


@patched("type-of-unknown-class")
def type_of_unknown_class(file: Patched) -> None:
    file.write(file.message("X/data", DATATYPE).body, b"\x1f")


@patched("float-with-bits-beyond-its-size", "file.type_unread")
def float_with_bits_beyond_its_size(file: Patched) -> None:
    """A mantissa of 255 bits in four bytes."""
    file.write(file.message("X/data", DATATYPE).body + 8, b"\xff\xff\xff\xff\xff\xff\xff\xff")


@patched("integers-of-12-bits", "file.type_unread")
def integers_of_12_bits(file: Patched) -> None:
    file.write(file.message("X/indices", DATATYPE).body + 8, b"\x03\x00\x0c\x00")


@patched("integers-of-no-bytes")
def integers_of_no_bytes(file: Patched) -> None:
    file.write(file.message("X/indices", DATATYPE).body + 4, bytes(4))


@patched("dimension-of-2-to-the-63", "file.declares_more")
def dimension_of_2_to_the_63(file: Patched) -> None:
    space = file.message("X/data", DATASPACE)
    file.write(space.body + 8, address((1 << 63) + 5))


@patched("32-dimensions-in-the-space-of-one")
def dimensions_in_the_space_of_one(file: Patched) -> None:
    file.write(file.message("X/data", DATASPACE).body + 1, b"\x20")


@patched("chunks-of-no-elements")
def chunks_of_no_elements(file: Patched) -> None:
    """A division by the size of a chunk."""
    layout = file.message("X/data", LAYOUT)
    assert file.content[layout.body : layout.body + 2] == b"\x03\x02"
    file.write(layout.body + 11, bytes(4))


@patched("chunk-btree-is-its-own-child")
def chunk_btree_is_its_own_child(file: Patched) -> None:
    node = file.number(file.message("X/data", LAYOUT).body + 3)
    assert file.content[node : node + 4] == b"TREE"
    file.write(node + 5, b"\x01")
    file.write(node + _TREE_HEAD + 24, address(node))


@patched("chunk-btree-beyond-the-end")
def chunk_btree_beyond_the_end(file: Patched) -> None:
    file.write(file.message("X/data", LAYOUT).body + 3, address(1 << 40))


@patched("chunk-beyond-the-end", stage="rules")
def chunk_beyond_the_end(file: Patched) -> None:
    node = file.number(file.message("X/data", LAYOUT).body + 3)
    file.write(node + _TREE_HEAD + 24, address(1 << 40))


@patched("chunk-of-4-gigabytes", "file.declares_more")
def chunk_of_4_gigabytes(file: Patched) -> None:
    node = file.number(file.message("X/data", LAYOUT).body + 3)
    file.write(node + _TREE_HEAD, b"\xff\xff\xff\xff")


@patched("filters-without-end")
def filters_without_end(file: Patched) -> None:
    file.write(file.message("X/data", FILTERS).body + 1, b"\xff")


@patched("filter-name-beyond-its-message", "file.filter_unknown")
def filter_name_beyond_its_message(file: Patched) -> None:
    """A length that nobody compares with what there is."""
    pipeline = file.message("X/data", FILTERS).body
    file.write(pipeline + 8, b"\x00\x7d\xf8\xff")


@patched("text-heap-of-no-size")
def text_heap_of_no_size(file: Patched) -> None:
    """Walking a heap of empty objects never ends."""
    heap = file.content.index(b"GCOL")
    while heap >= 0:
        file.write(heap + 16, b"\x01\x00\x01\x00\0\0\0\0", bytes(8))
        file.write(heap + 8, address(0))
        heap = file.content.find(b"GCOL", heap + 4)


@patched("text-heap-larger-than-the-file")
def text_heap_larger_than_the_file(file: Patched) -> None:
    heap = file.content.index(b"GCOL")
    while heap >= 0:
        file.write(heap + 8, address(1 << 40))
        heap = file.content.find(b"GCOL", heap + 4)


@patched("damaged-chunk", "obsm.damaged", stage="rules")
def damaged_chunk(file: Patched) -> None:
    node = file.number(file.message("obsm/X_umap", LAYOUT).body + 3)
    chunk = file.number(node + _TREE_HEAD + 32)
    file.write(chunk + 2, bytes(40))


def _modern(path: Path) -> Patched:
    """A file in HDF5's newer format, with a group that keeps its links in a fractal heap."""
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("uns")
        for i in range(400):
            group[f"element-{i:04}"] = np.int8(i % 100)
    return Patched(path)


def _reseal(file: Patched, at: int, length: int) -> None:
    """Puts the right checksum at the end of a block that was changed."""
    file.write(at + length - 4, checksum(bytes(file.content[at : at + length - 4])))


@case("fractal-heap-is-its-own-block", *UNREADABLE, stage="parser")
def fractal_heap_is_its_own_block(path: Path) -> None:
    """The heap's root names the head of the heap itself as its first block."""
    file = _modern(path)
    head = file.content.index(b"FRHP")
    # The address of the root block: 22 bytes of fixed fields, 12 lengths and addresses, table width and sizes.
    root = head + 132
    assert file.content[file.number(root) : file.number(root) + 4] in (b"FHIB", b"FHDB")
    block = file.number(root)
    if file.content[block : block + 4] == b"FHIB":
        rows = file.number(root + 8, 2)
        entries = file.number(head + 110, 2) * rows
        file.write(block + 17, address(block) * entries)
        _reseal(file, block, 17 + 8 * entries + 4)
    file.save()


@case("fractal-heap-of-unknown-size", *UNREADABLE, stage="parser")
def fractal_heap_of_unknown_size(path: Path) -> None:
    file = _modern(path)
    head = file.content.index(b"FRHP")
    file.write(head + 112, address(0))
    _reseal(file, head, 146)
    file.save()


@case("name-index-is-its-own-child", *UNREADABLE, stage="parser")
def name_index_is_its_own_child(path: Path) -> None:
    """A version 2 B-tree whose root holds itself."""
    file = _modern(path)
    head = file.content.index(b"BTHD")
    root = file.number(head + 16)
    assert file.content[root : root + 4] in (b"BTIN", b"BTLF")
    file.write(head + 12, (9).to_bytes(2, "little"))
    _reseal(file, head, 38)
    file.save()


@case("header-checksum-wrong", *UNREADABLE, stage="parser")
def header_checksum_wrong(path: Path) -> None:
    file = _modern(path)
    file.write(44, b"\0\0\0\0")
    file.save()


@case("superblock-extension-beyond-the-end", *UNREADABLE, stage="parser")
def superblock_extension_beyond_the_end(path: Path) -> None:
    file = _modern(path)
    assert file.content[20:28] == UNDEFINED
    file.write(20, address(1 << 40))
    _reseal(file, 0, 48)
    file.save()
