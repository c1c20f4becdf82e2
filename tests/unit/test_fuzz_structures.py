"""The mutator of tests/fuzz knows HDF5's structures and changes what it says it changes."""

import io
import time
from functools import cache
from itertools import pairwise
from random import Random

import h5py
import numpy as np
import pytest

from tests.fuzz import logical
from tests.fuzz.atlas import Field, Kind, Structure, lookup3, lookup3_of_prefixes
from tests.fuzz.draft import IN_PLACE, MOVING, Draft, Mutation, finish, set_field
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import seed, seed_names
from tests.fuzz.survey import survey

FILES = ("pbmc68k", "csr", "dense", "legacy", "latest")


@cache
def base(name: str) -> Draft:
    """A draft of the seed that nobody changes."""
    return Draft(seed(name))


def draft_of(name: str) -> Draft:
    return Draft(base(name).before, base(name).atlas)


def objects(data: bytes) -> list[h5py.Group | h5py.Dataset]:
    """All groups and datasets but the root."""
    names: list[str] = []
    file = h5py.File(io.BytesIO(data))
    file.visit(names.append)
    return [file[name] for name in names]


def datasets(data: bytes) -> list[h5py.Dataset]:
    return [node for node in objects(data) if isinstance(node, h5py.Dataset)]


def named(draft: Draft, label: str) -> list[Field]:
    return [field for field in draft.atlas.fields if field.label == label]


def value(draft: Draft, field: Field) -> int:
    return int.from_bytes(draft.before[field.offset : field.stop], "little")


@pytest.mark.parametrize("name", FILES)
def test_fields_lie_within_the_file_and_apart(name: str) -> None:
    fields = sorted(base(name).atlas.fields, key=lambda field: field.offset)

    assert fields[-1].stop <= len(seed(name))
    assert all(left.stop <= right.offset for left, right in pairwise(fields))


@pytest.mark.parametrize("name", FILES)
def test_every_object_and_no_other_has_a_header(name: str) -> None:
    headers = [item for item in base(name).atlas.structures if item.name in {"object header", "OHDR"}]

    assert len(headers) == len(objects(seed(name))) + 1


@pytest.mark.parametrize("name", ["pbmc68k", "csr", "dense", "legacy"])
def test_chunks_lie_where_libhdf5_says(name: str) -> None:
    expected: set[tuple[int | None, int]] = set()
    for dataset in datasets(seed(name)):
        if dataset.chunks:
            dataset.id.chunk_iter(lambda info: expected.add((info.byte_offset, info.size)))

    chunks = base(name).atlas.by_name["chunk"]

    assert {(item.start, item.stop - item.start) for item in chunks} == expected
    assert len(expected) > 40


@pytest.mark.parametrize("name", ["pbmc68k", "csr", "dense", "legacy"])
def test_shapes_filters_and_names_are_those_that_libhdf5_reads(name: str) -> None:
    draft = base(name)
    shapes, filters, names = [], [], []
    for dataset in datasets(draft.before):
        shapes += dataset.shape or ()
        properties = dataset.id.get_create_plist()
        filters += [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        names.append(str(dataset.name).rpartition("/")[2])

    links = [draft.before[field.offset : field.stop].rstrip(b"\0").decode() for field in named(draft, "link name")]

    assert sorted(value(draft, field) for field in named(draft, "dataspace dimension")) == sorted(shapes)
    assert sorted(value(draft, field) for field in named(draft, "filter pipeline identifier")) == sorted(filters)
    assert set(links) >= set(names)


def test_all_structures_of_new_files_are_found_with_their_checksums() -> None:
    atlas = base("latest").atlas
    kinds = {"superblock", "OHDR", "OCHK", "FRHP", "FHDB", "BTHD", "BTLF", "FAHD", "FADB", "EAHD", "EAIB", "EADB"}

    checked = [item for item in atlas.structures if item.checksum is not None]

    assert {item.name for item in checked} >= kinds
    data = bytearray(seed("latest"))
    for item in checked:
        assert item.checksum is not None
        data[item.checksum : item.checksum + 4] = b"\0\0\0\0"
    atlas.mend_checksums(bytes(data[:8]).ljust(len(data), b"\0"), data)
    assert bytes(data) == seed("latest")


def test_the_checksum_is_jenkins_lookup3() -> None:
    text = b"Four score and seven years ago"

    assert lookup3(text) == 0x17770551  # the value in his own source
    assert [lookup3(text[:n]) for n in range(1, 31)] == lookup3_of_prefixes(text, np.arange(1, 31)).tolist()


@pytest.mark.parametrize("name", FILES)
def test_a_set_field_changes_that_field_and_checksums_alone(name: str) -> None:
    for number in range(10):
        draft = draft_of(name)
        done = set_field(draft, Random(number))
        draft.mend_checksums()

        changed = [at for at, (old, new) in enumerate(zip(draft.before, draft.data, strict=True)) if old != new]
        field = next(field for field in draft.atlas.fields if done.startswith(f"{field.label} at {field.offset}:"))
        checksums = {at for item in draft.atlas.structures if item.checksum for at in _checksum_bytes(item)}
        assert {at for at in changed if at not in checksums} <= set(range(field.offset, field.stop)), done
        assert len(draft.data) == len(draft.before)


def _checksum_bytes(item: Structure) -> range:
    assert item.checksum is not None
    return range(item.checksum, item.checksum + 4)


def test_libhdf5_reads_a_mutated_header_once_its_checksum_is_right() -> None:
    draft = draft_of("latest")
    length = next(f for f in named(draft, "dataspace dimension") if value(draft, f) == 60)
    draft.write(length, 59)
    with pytest.raises((OSError, RuntimeError, KeyError)):
        datasets(bytes(draft.data))

    draft.mend_checksums()

    shapes = [dataset.shape for dataset in datasets(bytes(draft.data))]
    assert sum(59 in (shape or ()) for shape in shapes) == 1


@pytest.mark.parametrize("mutation", list(dict.fromkeys((*IN_PLACE, *MOVING))))
@pytest.mark.parametrize("name", ["csr", "latest"])
def test_every_mutation_changes_the_file(name: str, mutation: Mutation) -> None:
    changed = 0
    for number in range(10):
        draft = draft_of(name)
        mutation(draft, Random(number))
        if mutation in IN_PLACE:
            finish(draft, Random(number))
        changed += draft.data != draft.before

    assert changed >= 8


@pytest.mark.parametrize("mutation", list(dict.fromkeys(logical.LOGICAL)))
@pytest.mark.parametrize("name", ["dense", "legacy"])
def test_every_logical_mutation_leaves_a_sound_file(name: str, mutation: logical.LogicalMutation) -> None:
    made: list[bytes] = []
    for number in range(8):
        with h5py.File(stream := io.BytesIO(seed(name)), "r+") as file:
            try:
                mutation(file, Random(number))
            except logical.FAILURES:
                continue
        made.append(stream.getvalue())

    assert any(data != seed(name) for data in made)
    assert survey(made[-1]).fields


@pytest.mark.parametrize("name", ["pbmc68k", "csr", "latest"])
def test_a_mutant_depends_on_its_name_alone(name: str) -> None:
    one, again, other = (mutant(f"{name}:{number}") for number in (5, 5, 6))

    assert one == again
    assert one.steps
    assert one.data != other.data


def test_a_mutant_is_the_same_a_second_later() -> None:
    """HDF5 stores times by the second, where it is not told otherwise; `csr:5` makes a virtual dataset."""
    one = mutant("csr:5")
    time.sleep(1.1)
    assert mutant("csr:5") == one


def test_the_seeds_hold_what_the_service_reads_in_all_its_encodings() -> None:
    assert {"pbmc68k", "csr", "dense", "legacy", "latest"} <= set(seed_names())
    with h5py.File(io.BytesIO(seed("legacy"))) as file:
        assert isinstance(file["obs/donor_id"].attrs["categories"], h5py.Reference)
    with h5py.File(io.BytesIO(seed("dense"))) as file:
        assert file["layers/csc"].attrs["encoding-type"] == "csc_matrix"
        assert file["raw/X/indices"].dtype == np.int64
        assert file["X"].compression == "lzf"


def test_kinds_of_fields_that_a_reader_must_not_trust_are_all_there() -> None:
    assert set(base("csr").atlas.by_kind) >= set(Kind)
