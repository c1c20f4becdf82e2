"""The fragment file of an ATAC dataset: what a submitter reads about it, whatever its size, order and compression."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celldock.fragments import text as text_module
from celldock.fragments import unpacking as unpacking_module
from celldock.fragments.text import Hashes
from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema.fragments import Cells, FragmentRules, check_fragments, load_fragment_rules
from celldock.schema.fragments import repeats as repeats_module
from celldock.schema.fragments.names import Names
from tests.fragment_files import EOF_BLOCK, Row, bgzip, lines_of

RULES = cast("FragmentRules", load_fragment_rules("7.1.0"))
HUMAN = "NCBITaxon:9606"
CELLS = ["AAAC-1", "CCCG-1", "GGGT-1", "Zürich_一号-1"]
GOOD = [
    ("chr1", 0, 10, "AAAC-1", 1),
    ("chr1", 5, 248_956_422, "CCCG-1", 20),
    ("chr1", 5, 9, "CCCG-1", 2),
    ("chrX", 3, 4, "GGGT-1", 1),
    ("GL000009.2", 100, 200, "Zürich_一号-1", 3),
]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., list[Finding]]:
    def checked(
        content: bytes | Iterable[Row],
        *,
        pack: Callable[[bytes], bytes] = bgzip,
        organism: str = HUMAN,
        cells: list[str] = CELLS,
    ) -> list[Finding]:
        path = tmp_path / "atac.fragments.tsv.gz"
        path.write_bytes(pack(content if isinstance(content, bytes) else lines_of(content)))
        names = Cells(blocks=lambda: [cells[:2], cells[2:]], names=lambda rows: [cells[row] for row in rows])
        found = check_fragments(LocalSource(path), RULES, genome=RULES.genome(organism), cells=names, scratch=tmp_path)
        assert all(finding.where == "atac.fragments.tsv.gz" for finding in found)
        assert all(finding.suggestion and finding.schema_url.startswith(RULES.url + "#") for finding in found)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "nothing is left behind"
        return found

    return checked


type Check = Callable[..., list[Finding]]


@pytest.mark.parametrize(
    "pack",
    [
        bgzip,
        gzip.compress,
        lambda content: bgzip(content, 7),
        lambda content: gzip.compress(content[:31]) + gzip.compress(content[31:]) + b"\0" * 2_000_000,
        lambda content: bgzip(content[:11]) + gzip.compress(content[11:]),
        lambda content: gzip.compress(content.replace(b"\n", b"\r\n")),
        lambda content: gzip.compress(content.rstrip(b"\n")),
        lambda content: gzip.compress(content + b"\n\n"),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, 64])
def test_sound_fragments_in_all_that_gunzip_reads(
    check: Check, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], block: int
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    assert check(GOOD, pack=pack) == []


def test_the_order_of_the_rows_is_free(check: Check) -> None:
    for seed in range(5):
        rows = GOOD * 1
        random.Random(seed).shuffle(rows)
        assert check(rows) == []


@pytest.mark.parametrize(
    ("row", "code", "said", "suggested"),
    [
        (("chr1", -1, 9, "AAAC-1", 1), "fragments.start", "before the first base", "leave these fragments out"),
        (("chr1", 9, 9, "AAAC-1", 1), "fragments.stop", "not greater than the start", "5 to 6"),
        (("chr1", 9, 248_956_423, "AAAC-1", 1), "fragments.beyond_chromosome", "GRCh38.p14", "another assembly"),
        (("1", 9, 10, "AAAC-1", 1), "fragments.chromosome_unknown", "not one of human", "'chr1' for '1'"),
        (("chrMT", 9, 10, "AAAC-1", 1), "fragments.chromosome_unknown", "not one of human", "'chrM' for 'chrMT'"),
        (("MT", 9, 10, "AAAC-1", 1), "fragments.chromosome_unknown", "not one of human", "'chrM' for 'MT'"),
        (("JH584295.1", 9, 10, "AAAC-1", 1), "fragments.chromosome_unknown", "", "chromosomes of mouse"),
        (("", 9, 10, "AAAC-1", 1), "fragments.chromosome_unknown", "not one of human", "'chrX'"),
        (("chr1", 9, 10, "TTTT-1", 1), "fragments.barcode_unknown", "no cell in obs", "the dataset's cells"),
        (("chr1", 9, 10, "", 1), "fragments.barcode_unknown", "no cell in obs", "the dataset's cells"),
        (("chr1", 9, 10, "AAAC-1", 0), "fragments.support", "less than one read pair", "fifth column"),
        (("chr1", 9, 10, "AAAC-1", -3), "fragments.support", "less than one read pair", "fifth column"),
        (("chr1", 9, 10, "AAAC-1"), "fragments.unreadable", "not five columns", "chromosome, start, end"),
        (("chr1", 9, 10, "AAAC-1", 1, "+"), "fragments.unreadable", "not five columns", "cut -f 1-5"),
        (("chr1 9 10 AAAC-1 1",), "fragments.unreadable", "not five columns", "by tabs"),
        (("chr1", 9.0, 10, "AAAC-1", 1), "fragments.unreadable", "no whole numbers", "order"),
        (("chr1", "", 10, "AAAC-1", 1), "fragments.unreadable", "no whole numbers", "order"),
        (("chr1", 1, "1" * 17, "AAAC-1", 1), "fragments.unreadable", "no whole numbers", "order"),
        (("chr1", 1, "12345678/", "AAAC-1", 1), "fragments.unreadable", "no whole numbers", "order"),
        (("chr1", 1, 2, "AAAC-1", "١"), "fragments.unreadable", "no whole numbers", "order"),
        (("# made by", "a", "tool", "in", 2026), "fragments.header", "begins with #", "grep -v"),
    ],
)
def test_one_thing_is_wrong_with_a_row(check: Check, row: Row, code: str, said: str, suggested: str) -> None:
    (finding,) = check([*GOOD, row])

    assert (finding.code, finding.count, finding.severity) == (code, 1, "error")
    assert said in finding.message
    assert suggested in finding.suggestion
    assert finding.examples


def test_rows_are_counted_and_the_first_are_shown(check: Check) -> None:
    rows = [("chr1", 9, 9, "AAAC-1", support) for support in range(1, 8)]
    (finding,) = check([*GOOD, *rows])
    assert (finding.code, finding.count) == ("fragments.stop", 7)
    assert finding.message.startswith("7 fragments have")
    assert finding.examples == tuple(f"line {5 + at}: chr1 9 9 AAAC-1 {at}" for at in range(1, 6))


def test_lines_are_shown_by_their_numbers(check: Check) -> None:
    content = lines_of(GOOD[:2]) + b"\n" + lines_of([("chr2", 9, 9, "AAAC-1", 1)]) + lines_of(GOOD[2:])
    (finding,) = check(content)
    assert finding.examples == ("line 4: chr2 9 9 AAAC-1 1",)


def test_names_of_columns_are_recognised(check: Check) -> None:
    (finding,) = check([("chrom", "start", "end", "barcode", "count"), *GOOD])
    assert finding.code == "fragments.unreadable"
    assert "name the columns" in finding.suggestion


def test_unknown_names_are_counted(check: Check) -> None:
    rows = [("chr1", at, at + 1, f"X{at % 3}", 1) for at in range(100)]
    (finding,) = check([*GOOD, *rows])
    assert finding.count == 100
    assert set(finding.examples) == {"X0 (34 fragments)", "X1 (33 fragments)", "X2 (33 fragments)"}


def test_cells_without_fragments_are_named_and_their_names_compared(check: Check) -> None:
    rows = [(*row[:3], row[3].removesuffix("-1"), row[4]) if row[3] != "GGGT-1" else row for row in GOOD]
    findings = {finding.code: finding for finding in check(rows)}
    assert set(findings) == {"fragments.barcode_unknown", "fragments.cell_missing"}
    assert findings["fragments.cell_missing"].examples == ("AAAC-1", "CCCG-1", "Zürich_一号-1")
    assert "'AAAC' may be the cell 'AAAC-1'" in findings["fragments.barcode_unknown"].suggestion


def test_all_that_is_wrong_is_told_at_once(check: Check) -> None:
    findings = check([("1", -5, -6, "no", 0), ("chr1",), ("chr1", "a", 1, "b", 2), ("#",)])
    assert [finding.code for finding in findings] == [
        "fragments.header",
        "fragments.unreadable",
        "fragments.unreadable",
        "fragments.chromosome_unknown",
        "fragments.start",
        "fragments.stop",
        "fragments.support",
        "fragments.barcode_unknown",
        "fragments.cell_missing",
    ]


def test_the_organism_decides_on_the_chromosomes(check: Check) -> None:
    rows = [("chr1", 1, 195_154_279, cell, 1) for cell in CELLS]
    assert check(rows, organism="NCBITaxon:10090") == []
    (finding,) = check([*rows, ("chr22", 1, 2, "AAAC-1", 1)], organism="NCBITaxon:10090")
    assert "chromosomes of human" in finding.suggestion
    assert check([*rows, ("whatever", 1, 2, "AAAC-1", 1)], organism="NCBITaxon:7955") == []


def test_an_organism_below_another_has_its_genome() -> None:
    assert RULES.genome("NCBITaxon:10091", {"NCBITaxon:10090"}) is RULES.genomes["NCBITaxon:10090"]
    assert RULES.genome("NCBITaxon:7955", {"NCBITaxon:7742"}) is None
    assert load_fragment_rules("2.0.0") is None


@pytest.mark.parametrize("together", [1 << 20, 2])
@pytest.mark.parametrize("block", [1 << 20, 40])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_repeated_rows_are_found_in_any_order(
    check: Check, monkeypatch: pytest.MonkeyPatch, together: int, block: int, is_sorted: bool
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    monkeypatch.setattr(repeats_module, "MAX_TOGETHER", together)
    rows = [*GOOD[:2], GOOD[1], GOOD[2], GOOD[1], *GOOD[3:]]
    lines = {3: 2, 5: 2}
    if not is_sorted:
        rows = [GOOD[4], *GOOD, GOOD[4]]
        lines = {6: 1, 7: 1}

    (finding,) = check(rows)

    assert (finding.code, finding.count) == ("fragments.duplicate_rows", 2)
    assert finding.examples == tuple(f"line {line} repeats line {earlier}" for line, earlier in lines.items())


def test_a_chromosome_that_comes_back_is_compared_with_its_first_run(check: Check) -> None:
    (finding,) = check([*GOOD, GOOD[0]])
    assert finding.examples == ("line 6 repeats line 1",)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2"]),
        st.integers(0, 3),
        st.integers(4, 5),
        st.sampled_from(CELLS),
        st.integers(1, 2),
    ),
    max_size=60,
)


@given(rows=ROWS, is_sorted=st.booleans(), block=st.sampled_from([30, 90, 1 << 20]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_many_rows_repeat_as_a_set_of_them_says(
    check: Check, monkeypatch: pytest.MonkeyPatch, rows: list[Row], is_sorted: bool, block: int
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    rows = [*GOOD, *(sorted(rows, key=lambda row: row[:2]) if is_sorted else rows)]
    expected = sum(count - 1 for count in Counter(rows).values())
    assert sum(finding.count for finding in check(rows)) == expected


@given(values=st.lists(st.integers(-(10**16) + 1, 10**16 - 1), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_integers_are_read_as_python_reads_them(values: list[int]) -> None:
    fields = [str(value) for value in values]
    text = text_module.Text("\t".join(fields).encode())
    stops = [sum(map(len, fields[: at + 1])) + at for at in range(len(fields))]
    starts = [stop - len(field) for stop, field in zip(stops, fields, strict=True)]
    read, sound = text_module.integers(text, *(text_module.np.array(places) for places in (starts, stops)))
    longest = [len(field.lstrip("-")) <= text_module.MAX_DIGITS for field in fields]
    assert sound.tolist() == longest
    assert read[sound].tolist() == [value for value, fits in zip(values, longest, strict=True) if fits]


def test_names_are_found_among_very_many() -> None:
    hashes = Hashes()
    names = [f"cell-{at:06}-of-a-sample" for at in range(50_000)]
    table = Names([names[:20_000], [], names[20_000:], names[:7]], hashes)
    assert table.numbers(hashes.of_texts(names)).tolist() == list(range(50_000))
    assert set(table.numbers(hashes.of_texts(f"{name}x" for name in names)).tolist()) == {-1}
    assert Names([], hashes).numbers(hashes.of_texts(["a"])).tolist() == [-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lines_of(GOOD), "not compressed"),
        (b"", "not compressed"),
        (gzip.compress(lines_of(GOOD))[:-9], "ends before its time"),
        (bgzip(lines_of(GOOD))[:40], "ends before its time"),
        (gzip.compress(lines_of(GOOD)) + b"PK", "bytes after"),
        (gzip.compress(b""), "empty"),
        (bgzip(b""), "empty"),
        (gzip.compress(b"\0" * 3_000_000), "no lines of text"),
        (bgzip(lines_of(GOOD)).replace(b"BC\x02\0", b"BC\x02\0\x05\0"), "cannot be unpacked"),
    ],
    ids=["plain", "nothing", "gzip cut", "bgzip cut", "more", "gzip empty", "bgzip empty", "zeros", "bgzip broken"],
)
def test_what_cannot_be_read_is_one_finding(check: Check, content: bytes, said: str) -> None:
    (finding,) = check(content, pack=lambda packed: packed)
    assert finding.code == "fragments.unreadable"
    assert said in finding.message


@pytest.mark.parametrize("pack", [bgzip, gzip.compress])
def test_damage_is_found_wherever_it_is(check: Check, pack: Callable[[bytes], bytes]) -> None:
    packed = bytearray(pack(lines_of(GOOD)))
    end = len(packed) - (len(EOF_BLOCK) if pack is bgzip else 0)
    for place in range(20, end):
        broken = packed.copy()
        broken[place] ^= 0x55
        findings = check(b"", pack=lambda _, broken=broken: bytes(broken))
        assert [finding.code for finding in findings] == ["fragments.unreadable"], place


def test_a_bomb_is_refused_before_it_goes_off(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking_module, "_FREE", 1_000_000)
    bomb = gzip.compress(lines_of(GOOD) * 200_000)
    (finding,) = check(b"", pack=lambda _: bomb)
    assert "250 times its size" in finding.message


def test_no_bytes_make_it_fail(check: Check) -> None:
    noise = random.Random(3)
    for _ in range(60):
        content = bytes(noise.choice(b"\t\t\t\n\n\r#0123-c\xff\x00\xc3") for _ in range(400))
        assert check(content)
    (finding,) = check(lines_of(GOOD) + b"chr1\t1\t2\t\xff\xfeA\xc3-1\t1\n" + b"x" * 70_000 + b"\n")[:1]
    assert finding.code == "fragments.unreadable"
    assert len(finding.examples[0]) <= 200
    unknown = check(lines_of(GOOD) + b"chr1\t1\t2\t\xff\xfeA\t1\n")[0]
    assert unknown.examples == ("\\xff\\xfeA (1 fragment)",)
