"""A short fuzz of the whole path: whatever a file has become, it ends VALID or INVALID, and the service goes on.

`make fuzz` runs the long one; see docs/fuzzing.md.
"""

import io
import subprocess
import sys
from collections.abc import Callable

import h5py
import pytest
from h5py import h5d, h5p, h5s, h5z
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.fuzz.atlas import UNDEFINED, Kind
from tests.fuzz.draft import Draft
from tests.fuzz.harness import Harness
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import seed
from tests.fuzz.target import Outcome

# Derandomised: the same mutants each time, so that a change of the code and not of the dice makes it fail.
few = settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
more = settings(few, max_examples=40)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize(
    ("name", "state"),
    [("pbmc68k", "VALID"), ("csr", "VALID"), ("dense", "INVALID"), ("legacy", "VALID"), ("latest", "VALID")],
)
def test_a_seed_is_read_whole_and_converted(harness: Harness, name: str, state: str) -> None:
    verdict = harness.run(seed(name), name)

    # "dense" has kinds of matrices that the schema does not allow.
    assert (verdict.state, verdict.problem) == (state, "")
    assert not any(code.startswith("file.") or "damaged" in code for code in verdict.codes)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [few, pytest.param(more, marks=pytest.mark.long)], ids=["few", "more"])
@pytest.mark.parametrize("name", ["pbmc68k", "csr", "dense", "legacy", "latest"])
def test_every_mutant_ends_valid_or_invalid(harness: Harness, name: str, examples: settings) -> None:
    @examples
    @given(st.integers(0, 999_999))
    def check(number: int) -> None:
        made = mutant(f"{name}:{number}")
        for step in made.steps:
            note(step)
        verdict = harness.run(made.data, name)
        assert verdict.state in {"VALID", "INVALID"}, f"{made.name}: {verdict.problem}"

    check()


def foreign_chunks(draft: Draft) -> None:
    """The layout of a dataset with two axes in place of one with a single axis."""
    # After the message's own header: version, class (2: chunks), axes with that of the element's bytes.
    layouts = {draft.before[item.start + 8 : item.start + 11]: item for item in draft.atlas.by_name["layout message"]}
    of_one, of_two = layouts[b"\x03\x02\x02"], layouts[b"\x03\x02\x03"]
    draft.data[of_one.start : of_one.stop] = draft.before[of_two.start : of_two.stop]


def chunk_without_address(draft: Draft) -> None:
    """The first chunk of X's values is nowhere, which libhdf5 reads as never written."""
    with h5py.File(io.BytesIO(draft.before)) as file:
        address = file["X/data"].id.get_chunk_info(0).byte_offset
    children = [field for field in draft.atlas.by_kind[Kind.ADDRESS] if field.label == "chunk B-tree child"]
    for field in children:
        if int.from_bytes(draft.before[field.offset : field.stop], "little") == address:
            draft.write(field, UNDEFINED)


def gzip_without_level(draft: Draft) -> None:
    """The compression of X does not say its level, at which h5py stumbles."""
    opened = io.BytesIO(draft.before)
    with h5py.File(opened, "r+") as file:
        shape, kind = file["X"].shape, file["X"].id.get_type()
        del file["X"]
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_chunk(shape)
        properties.set_filter(h5z.FILTER_DEFLATE, 0, ())
        h5d.create(file.id, b"X", kind, h5s.create_simple(shape), properties)
    draft.data[:] = opened.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "state", "codes"),
    [
        ("dense", foreign_chunks, "INVALID", ("file.damaged",)),
        ("dense", gzip_without_level, "INVALID", ("file.damaged",)),
        ("pbmc68k", chunk_without_address, "INVALID", ("x.explicit_zeros",)),
    ],
)
def test_what_the_fuzz_has_found_stays_mended(
    harness: Harness, name: str, change: Callable[[Draft], None], state: str, codes: tuple[str, ...]
) -> None:
    draft = Draft(seed(name))
    change(draft)
    draft.mend_checksums()
    assert draft.data != draft.before

    verdict = harness.run(bytes(draft.data))

    assert (verdict.state, verdict.codes[:1], verdict.problem) == (state, codes, "")


def test_a_failure_of_the_service_is_noticed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("tests.fuzz.harness.ingest", broken)

    verdict = harness.run(seed("csr"))

    assert verdict.state == "FAILED"
    assert "a fault of ours" in verdict.problem


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_process_that_is_left_behind_is_noticed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.run(seed("csr"))
    left: list[subprocess.Popen[bytes]] = []

    def leaky(*_arguments: object) -> Outcome:
        left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return Outcome(True, (), refused=False)

    monkeypatch.setattr("tests.fuzz.harness.ingest", leaky)
    monkeypatch.setattr("tests.fuzz.harness._PATIENCE", 0.1)
    try:
        verdict = harness.run(seed("csr"))
    finally:
        left[0].kill()
        left[0].wait()

    assert verdict.state == "FAILED"
    assert str(left[0].pid) in verdict.problem
