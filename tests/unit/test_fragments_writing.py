"""The fragment file that is made of a submitted one: what is in it, how it is packed, what its index leads to."""

from __future__ import annotations

import gzip
import json
import random
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celldock.errors import NotFeasible, ServiceFault
from celldock.fragments import sorting, writing
from celldock.fragments import text as text_module
from celldock.fragments.bgzip import BLOCK_BYTES, BgzipWriter, pack
from celldock.fragments.writing import write_fragments
from celldock.h5ad.source import LocalSource
from celldock_local.checkout import ROOT
from tests.fragment_files import EOF_BLOCK, bgzip, lines_of

type Row = tuple[str, int, int, str, int]

PYSAM = """
import json, sys
import pysam
path, queries = sys.argv[1], json.loads(sys.argv[2])
with pysam.TabixFile(path) as file:
    found = [list(file.fetch(*query)) for query in queries]
    print(json.dumps({"contigs": file.contigs, "found": found}))
"""


@dataclass
class Index:
    """What a .tbi file says, read by the specification."""

    head: tuple[int, ...]
    names: list[bytes]
    bins: dict[bytes, dict[int, list[tuple[int, int]]]] = field(default_factory=dict)
    windows: dict[bytes, tuple[int, ...]] = field(default_factory=dict)


def read_index(packed: bytes) -> Index:
    data = gzip.decompress(packed)
    place = 4
    assert data[:4] == b"TBI\x01"

    def take(form: str) -> tuple[int, ...]:
        nonlocal place
        found = struct.unpack_from(form, data, place)
        place += struct.calcsize(form)
        return found

    head = take("<8i")
    index = Index(head, data[place : place + head[7]].split(b"\0")[:-1])
    place += head[7]
    for name in index.names:
        index.bins[name] = {}
        for _ in range(*take("<i")):
            number, count = take("<Ii")
            places = take(f"<{2 * count}Q")
            index.bins[name][number] = list(zip(places[::2], places[1::2], strict=True))
        index.windows[name] = take(f"<{take('<i')[0]}Q")
    assert take("<Q") == (0,)
    assert place == len(data)
    return index


def bins_that_overlap(start: int, stop: int) -> set[int]:
    """The specification's reg2bins."""
    found = {0}
    for shift, first in ((26, 1), (23, 9), (20, 73), (17, 585), (14, 4681)):
        found |= set(range(first + (start >> shift), first + ((stop - 1) >> shift) + 1))
    return found


def text_between(packed: bytes, begin: int, end: int) -> bytes:
    """The text between two virtual offsets."""
    text, place, skip = b"", begin >> 16, begin & 0xFFFF
    while place <= end >> 16 and place < len(packed):
        size = struct.unpack_from("<H", packed, place + 16)[0] + 1
        part = gzip.decompress(packed[place : place + size])
        text += part[skip : (end & 0xFFFF) if place == end >> 16 else None]
        place, skip = place + size, 0
    return text


def looked_up(packed: bytes, index: Index, name: str, start: int, stop: int) -> list[bytes]:
    """The lines that overlap [start, stop), found as a reader of the index finds them."""
    bins, windows = index.bins[name.encode()], index.windows[name.encode()]
    if start >> 14 >= len(windows):
        return []
    wanted = bins_that_overlap(start, stop)
    chunks = sorted({chunk for number, found in bins.items() if number in wanted for chunk in found})
    lines: list[bytes] = []
    read = windows[start >> 14]
    for begin, end in chunks:
        # Stretches of several bins may overlap; a reader goes through the file once.
        if end > read:
            lines += text_between(packed, max(begin, read), end).split(b"\n")[:-1]
            read = end
    fields = [(line.split(b"\t"), line) for line in lines]
    return [
        line
        for (chromosome, first, last, *_), line in fields
        if chromosome == name.encode() and int(first) < stop and int(last) > start
    ]


@dataclass(frozen=True)
class Made:
    packed: bytes
    index: bytes

    @property
    def lines(self) -> list[bytes]:
        return gzip.decompress(self.packed).splitlines()


type Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(content: bytes | list[Row], compress: Callable[[bytes], bytes] = gzip.compress) -> Made:
        source, target, index = (tmp_path / name for name in ("in.tsv.gz", "out.tsv.bgz", "out.tsv.bgz.tbi"))
        source.write_bytes(compress(content if isinstance(content, bytes) else lines_of(content)))
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        write_fragments(LocalSource(source), target, index, scratch)
        assert not list(scratch.iterdir()), "nothing is left behind"
        return Made(target.read_bytes(), index.read_bytes())

    return made


def many_rows(count: int, *, seed: int = 0, longest: int = 1_000) -> list[Row]:
    """Rows sorted by chromosome and start, some of them long, many at a few places."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for name in ("chr2", "chr10", "chrM"):
        size = 16_569 if name == "chrM" else 40_000_000
        starts = sorted(chance.randrange(size - 1) for _ in range(count))
        for start in starts:
            stop = min(size, start + 1 + chance.randrange(longest if chance.random() < 0.99 else size))
            rows.append((name, start, stop, f"CELL{chance.randrange(500):04}-1", chance.randrange(1, 9)))
    return rows


def test_sorted_fragments_keep_their_order_and_their_bytes(make: Make) -> None:
    rows = many_rows(20_000)
    made = make(rows)
    assert gzip.decompress(made.packed) == lines_of(rows)
    assert made.packed.endswith(EOF_BLOCK)
    assert made == make(rows), "the same bytes each time"
    assert made == make(rows, bgzip), "however they were compressed"


def test_every_row_is_found_through_the_index(make: Make) -> None:
    rows = many_rows(6_000)
    made = make(rows)
    index = read_index(made.index)
    assert index.head[1:7] == (0x10000, 1, 2, 3, ord("#"), 0)
    assert index.names == [b"chr2", b"chr10", b"chrM"]
    chance = random.Random(1)
    for _ in range(60):
        name = chance.choice(["chr2", "chr10", "chrM"])
        start = chance.randrange(16_569 if name == "chrM" else 41_000_000)
        stop = start + 1 + chance.randrange(chance.choice([10, 20_000, 5_000_000]))
        expected = [row for row in rows if row[0] == name and row[1] < stop and row[2] > start]
        assert looked_up(made.packed, index, name, start, stop) == lines_of(expected).splitlines()


def test_the_index_counts_the_rows_of_each_sequence(make: Make) -> None:
    made = make(many_rows(3_000))
    index = read_index(made.index)
    for name in index.names:
        (_begin, _end), counts = index.bins[name][37450]
        assert counts == (3_000, 0)
        assert text_between(made.packed, _begin, _end).count(b"\n") == 3_000


SPREAD = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2"]),
        st.sampled_from([0, 1, 16_383, 16_384, 131_071, 1 << 26, (1 << 29) - 2]),
        st.sampled_from([1, 2, 16_384, 1 << 20, 1 << 28]),
        st.sampled_from(["A", "B"]),
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=40,
)


@given(rows=SPREAD, at=st.integers(0, 39), block=st.sampled_from([40, 1 << 20]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_anywhere_are_sorted_and_found(
    make: Make, monkeypatch: pytest.MonkeyPatch, rows: list[Row], at: int, block: int
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    rows = [(name, start, min(start + size, 1 << 29), cell, pairs) for name, start, size, cell, pairs in rows]
    made = make(rows)
    if rows == sorted(rows, key=lambda row: row[:2]):
        assert made.lines == lines_of(rows).splitlines()
    assert sorted(made.lines) == sorted(lines_of(rows).splitlines())
    wanted = rows[at % len(rows)]
    found = looked_up(made.packed, read_index(made.index), wanted[0], wanted[1], wanted[2])
    assert lines_of([wanted]).rstrip() in found


@pytest.mark.parametrize("sorted_bytes", [32 << 20, 2_000])
@pytest.mark.parametrize("held_bytes", [128 << 20, 10_000])
def test_fragments_in_any_order_are_sorted_by_position(
    make: Make, monkeypatch: pytest.MonkeyPatch, sorted_bytes: int, held_bytes: int
) -> None:
    monkeypatch.setattr(sorting, "MAX_SORTED_BYTES", sorted_bytes)
    monkeypatch.setattr(sorting, "MAX_HELD_BYTES", held_bytes)
    rows = many_rows(3_000)
    random.Random(5).shuffle(rows)
    made = make(rows)
    # Equal places keep the order in which they came.
    assert made.lines == lines_of(sorted(rows, key=lambda row: (row[0].encode(), *row[1:3]))).splitlines()
    assert read_index(made.index).names == [b"chr10", b"chr2", b"chrM"]


def test_a_chromosome_that_comes_back_is_brought_together(make: Make) -> None:
    rows: list[Row] = [("chr1", 5, 9, "A", 1), ("chr2", 1, 2, "A", 1), ("chr1", 7, 9, "A", 1)]
    assert make(rows).lines == lines_of([rows[0], rows[2], rows[1]]).splitlines()


def test_what_is_no_fragment_is_left_out(make: Make) -> None:
    rows = many_rows(200)
    plain = lines_of(rows)
    dressed = b"# made by a tool\r\n\n" + plain.replace(b"\n", b"\r\n") + b"\n#\n"
    assert make(dressed) == make(plain)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_barcodes_may_be_any_text(make: Make, is_sorted: bool) -> None:
    rows: list[Row] = [("chr1", 5, 9, "Zürich_一号\x0b\x85 #1", 1), ("chr1", 6, 9, "a\rb", 1)]
    rows = rows if is_sorted else rows[::-1]
    assert gzip.decompress(make(rows).packed) == lines_of(sorted(rows))


def test_a_file_that_nobody_has_checked_is_our_fault(make: Make) -> None:
    with pytest.raises(ServiceFault):
        make(b"chr1\t5\t9\tA\t1\nchr1\t5\tx\tA\t1\n")


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [
        ("writing.MAX_UNSORTED_BYTES", 100, "fragments.not_sorted"),
        ("sorting.MAX_SORTED_BYTES", 20, "fragments.too_dense"),
        ("sorting.MAX_STRETCHES", 2, "fragments.too_spread"),
    ],
)
def test_what_cannot_be_sorted_is_said_to_be_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, code: str
) -> None:
    module, name = limit.split(".")
    monkeypatch.setattr({"writing": writing, "sorting": sorting}[module], name, value)
    with pytest.raises(NotFeasible) as error:
        make(many_rows(300)[::-1])
    assert error.value.code == code


def test_positions_that_have_no_bin_are_not_indexed(make: Make) -> None:
    with pytest.raises(NotFeasible):
        make([("chr1", 1 << 29, (1 << 29) + 1, "A", 1)])


def test_places_lead_to_the_text(tmp_path: Path) -> None:
    text = random.Random(2).randbytes(3 * BLOCK_BYTES) + b"a" * BLOCK_BYTES
    with (tmp_path / "x").open("wb") as file:
        writer = BgzipWriter(file)
        positions = np.array([0, 7, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 5, len(text)])
        for start in range(0, len(text), 10_007):
            writer.write(text[start : start + 10_007])
        places = writer.places(positions).tolist()
        writer.finish()
    packed = (tmp_path / "x").read_bytes()
    assert gzip.decompress(packed) == text
    assert [text_between(packed, place, places[-1]) for place in places] == [text[at:] for at in positions.tolist()]


def test_each_block_fits_whatever_it_holds() -> None:
    packed = pack(random.Random(3).randbytes(BLOCK_BYTES))
    assert struct.unpack_from("<H", packed, 16)[0] + 1 == len(packed) <= 1 << 16


def test_pysam_reads_what_was_written(make: Make, tmp_path: Path) -> None:
    rows = many_rows(5_000)
    made = make(rows)
    path = tmp_path / "fragments.tsv.gz"
    path.write_bytes(made.packed)
    Path(f"{path}.tbi").write_bytes(made.index)
    queries: list[Any] = [["chr10"], ["chr2", 0, 100_000], ["chr2", 20_000_000, 20_000_001], ["chrM", 16_000, 16_569]]
    told = pysam(str(path), json.dumps(queries))
    assert told["contigs"] == ["chr2", "chr10", "chrM"]
    for (name, *place), lines in zip(queries, told["found"], strict=True):
        start, stop = place or (0, 1 << 29)
        expected = [row for row in rows if row[0] == name and row[1] < stop and row[2] > start]
        assert "".join(f"{line}\n" for line in lines).encode() == lines_of(expected)


def pysam(*arguments: str) -> Any:
    """What the program prints in an environment that has pysam; skips where none can be made."""
    run = [str(ROOT / "scripts" / "uv"), "run", "--quiet", "--no-project", "--with", "pysam==0.24.1", "python", "-c"]
    there = subprocess.run([*run, "import pysam"], capture_output=True, text=True, timeout=120, check=False)
    if there.returncode:
        pytest.skip(f"there is no pysam: {there.stderr}")
    done = subprocess.run([*run, PYSAM, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)
