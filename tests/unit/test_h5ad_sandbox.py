"""What a crafted file can do once it has taken over the process that reads it: nothing but lie about itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from celldock.errors import HostileFile, InvalidSubmission, ServiceFault, TransientError
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.sandbox.limits import MAX_READ_BYTES, PAGE_BYTES, Limits
from celldock.h5ad.sandbox.parent import Sandbox
from celldock.h5ad.source import LocalSource
from tests import builders
from tests.unit.sandboxes import HOSTILE, linux_only, opened, refusal


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builders.make_h5ad(tmp_path_factory.mktemp("cells") / "cells.h5ad")


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    sandbox = Sandbox(HOSTILE)
    yield sandbox
    sandbox.close()


# --- Time and memory ---


@linux_only
def test_memory_is_bounded_and_the_file_stays_usable(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session:
        with pytest.raises(HostileFile) as refused:
            session.call("allocate", size=8 * 1024**3)
        assert refused.value.code == "file.memory"
        assert session.call("header")["n_obs"] == 20


def test_a_loop_without_end_is_stopped_by_the_clock_once(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells, Limits(call_seconds=2)) as session:
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(HostileFile) as refused:
                session.call("spin")
            assert refused.value.code == "file.hangs_reader"
        assert time.monotonic() - began < 4


def test_waiting_without_end_is_stopped_too(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "wait", Limits(call_seconds=2)).code == "file.hangs_reader"


def test_computing_is_bounded_over_all_calls(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "spin", Limits(cpu_seconds=1)).code == "file.hangs_reader"


def test_a_source_that_is_slow_is_not_the_files_fault(tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=3000, n_vars=2000, compression=None)

    class SlowSource(LocalSource):
        def read(self, offset: int, length: int) -> bytes:
            if offset:
                time.sleep(2.2)
            return super().read(offset, length)

    slow = SlowSource(path)
    with open_h5ad(slow, limits=Limits(call_seconds=2)) as file, pytest.raises(TransientError) as late:
        file.header()
    assert late.value.code == "source.slow"


def test_recursion_without_end_is_refused(hostile: Sandbox, cells: Path) -> None:
    assert refusal(hostile, cells, "die", how="recurse").code == "file.too_deep"


@pytest.mark.parametrize("how", ["segfault", "abort", "exit", "hang up"])
def test_a_crash_is_the_files_fault_and_costs_nobody_else(hostile: Sandbox, cells: Path, how: str) -> None:
    with opened(hostile, cells) as other:
        assert refusal(hostile, cells, "die", how=how).code == "file.crashes_reader"
        assert other.call("header")["n_obs"] == 20


# --- Answers ---


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("not JSON", 0),
        ("[]", 0),
        ("{}", 0),
        ('{"answer": 1}', 0),
        ("\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", 0),
        ("[" * 100_000, 0),
        ('{"answer": "\\ud800", "arrays": []}', 0),
        ('{"answer": {"$array": 0}, "arrays": []}', 0),
        ('{"answer": {"$array": "0"}, "arrays": []}', 0),
        ('{"answer": 1, "arrays": []}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "|O", "shape": [1]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [2]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [-1]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "<i8", "shape": [1.0]}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "|i1", "shape": [1000000000000, 0]}]}', 0),
        ('{"answer": 1, "arrays": [{"dtype": "|i1", "shape": [' + "1, " * 40 + "1]}]}", 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [3], "separator": "\\u0000", "bytes": 8}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [9], "separator": "", "bytes": 8}]}', 8),
        ('{"answer": 1, "arrays": [{"dtype": "str", "shape": [99999999], "separator": "a", "bytes": 8}]}', 8),
        ('{"read": [[0, 100000000000]]}', 0),
        ('{"read": [[-8, 8]]}', 0),
        ('{"read": [["0", 8]]}', 0),
        ('{"read": {"0": 8}}', 0),
        ('{"read": [' + "[0, 9000], " * 8000 + "[0, 1]]}", 0),
        ('{"keep": [0]}', PAGE_BYTES),
        ('{"recall": 0}', 0),
        ('{"refused": {"code": "file.damaged"}}', 0),
        (json.dumps({"refused": {"kind": "Conflict", "code": "a.b", "message": "", "where": "", "hint": ""}}), 0),
        (json.dumps({"refused": {"kind": "HostileFile", "code": "=cmd", "message": "", "where": "", "hint": ""}}), 0),
    ],
)
def test_a_malformed_answer_is_refused(hostile: Sandbox, cells: Path, head: str, body: int) -> None:
    assert refusal(hostile, cells, "say", head=head, body=body).code == "file.crashes_reader"


@pytest.mark.parametrize("claim", [MAX_READ_BYTES * 2, 2**63])
def test_an_answer_that_claims_to_be_giant_costs_no_memory(hostile: Sandbox, cells: Path, claim: int) -> None:
    assert refusal(hostile, cells, "say", head="{}", claim=claim).code == "file.crashes_reader"


def test_columns_that_are_not_what_the_header_says_are_refused(hostile: Sandbox, cells: Path) -> None:
    column = ColumnHeader("donor_id", "obs/donor_id", "categorical", "int8", 1, ordered=False)
    with open_h5ad(LocalSource(cells), sandbox=hostile) as file, pytest.raises(HostileFile) as refused:
        file.column(column, 0, 20)
    assert (refused.value.code, refused.value.where) == ("file.crashes_reader", "obs/donor_id")


def test_flags_other_than_0_and_1_become_lawful(hostile: Sandbox, cells: Path) -> None:
    frame = json.dumps({"answer": {"$array": 0}, "arrays": [{"dtype": "|b1", "shape": [8]}]})
    with opened(hostile, cells) as session:
        flags = session.call("say", head=frame + "", body=8)
    assert flags.dtype == bool
    assert flags.view(np.uint8).max() <= 1


def test_an_answer_that_is_too_large_is_a_refusal_not_a_crash(hostile: Sandbox, cells: Path) -> None:
    error = refusal(hostile, cells, "answer", dtype="int8", shape=[MAX_READ_BYTES + 1], fill=0)
    assert error.code == "file.too_large_to_read"


def test_values_arrive_as_they_were_sent(hostile: Sandbox, cells: Path) -> None:
    texts = ["", "a", "é", "\0", "\0\1", "\0\1\1", "\1", "𝄞"]
    with opened(hostile, cells) as session:
        got = session.call("values", texts=texts)
    for array in got["numbers"]:
        np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
    assert [array.dtype.str for array in got["numbers"]] == ["|i1", "<i2", "<u8", "<f2", "<f8", "<c16"]
    assert got["flags"].tolist() == [True, False]
    assert got["texts"].tolist() == texts
    assert (got["none"].shape, got["scalar"]) == ((0, 3), 1.5)
    assert got["$array"] == {"$plain": [None, True, 1, 2.5, "é\ud7ff"]}


def test_numbers_that_no_step_handles_are_the_submitters(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session, pytest.raises(InvalidSubmission) as refused:
        session.call("answer", dtype="longdouble", shape=[1], fill=0)
    assert refused.value.code == "file.type_unknown"


def test_our_own_mistake_is_a_fault_of_the_service(hostile: Sandbox, cells: Path) -> None:
    with opened(hostile, cells) as session:
        with pytest.raises(ServiceFault, match="no such type"):
            session.call("answer", dtype="no such type", shape=[1], fill=0)
        assert session.call("header")["n_obs"] == 20
