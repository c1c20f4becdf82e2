"""What a key means: which uploads start a run, which are answered with a report, which are nobody's."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celldock.catalog.keys import (
    CompanionKey,
    Ignored,
    Rejection,
    SubmissionKey,
    execution_name,
    is_version_id,
    pad_sequencer,
    parse_upload_key,
    report_key,
)

NFD = unicodedata.normalize("NFD", "Züri")
NFC = unicodedata.normalize("NFC", "Züri")


@pytest.mark.parametrize(
    ("key", "collection", "name"),
    [
        ("atlas/lung.h5ad", "atlas", "lung"),
        ("a-1.b_c/lung.h5ad", "a-1.b_c", "lung"),
        ("atlas/with space+plus.h5ad", "atlas", "with space+plus"),
        ("atlas/100%25.h5ad", "atlas", "100%25"),
        ("atlas/<script>alert(1)</script>.h5ad".replace("</", "<"), "atlas", "<script>alert(1)<script>"),
        (f"atlas/{NFC}.h5ad", "atlas", NFC),
        (f"atlas/{NFD}.h5ad", "atlas", NFD),
        ("atlas/..lung.h5ad", "atlas", "..lung"),
        ("atlas/x.h5ad.h5ad", "atlas", "x.h5ad"),
        ("atlas/" + "x" * 1013 + ".h5ad", "atlas", "x" * 1013),
    ],
)
def test_submissions_keep_their_names_byte_exact(key: str, collection: str, name: str) -> None:
    assert parse_upload_key(key, 5) == SubmissionKey(key, collection, name)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("atlas/lung.H5AD", "key.suffix_case"),
        ("atlas/lung.h5Ad", "key.suffix_case"),
        ("atlas/lung.h5ad.gz", "key.compressed"),
        ("atlas/lung.H5AD.ZIP", "key.compressed"),
        ("atlas/lung.rds", "key.rds"),
        ("atlas/lung.RData", "key.rds"),
        ("atlas/lung.h5ad.exe", "key.extension"),
        ("atlas/lung", "key.extension"),
        ("atlas/", "key.extension"),
        ("lung.h5ad", "key.no_collection"),
        ("lung.rds", "key.no_collection"),
        ("atlas/2024/lung.h5ad", "key.depth"),
        ("../lung.h5ad", "key.dot_segment"),
        ("atlas/../lung.h5ad", "key.dot_segment"),
        ("atlas/...h5ad", "key.dot_segment"),
        ("atlas/..h5ad", "key.dot_segment"),
        ("./lung.h5ad", "key.dot_segment"),
        ("/atlas/lung.h5ad", "key.empty_segment"),
        ("atlas//lung.h5ad", "key.empty_segment"),
        ("atlas/lu\nng.h5ad", "key.control_character"),
        ("atlas/lu\u0085ng.h5ad", "key.control_character"),
        ("atlas/lu\u2028ng.h5ad", "key.control_character"),
        ("atlas/lu\x00ng.h5ad", "key.control_character"),
        ("Atlas/lung.h5ad", "key.collection"),
        ("-atlas/lung.h5ad", "key.collection"),
        ("at las/lung.h5ad", "key.collection"),
        ("ätlas/lung.h5ad", "key.collection"),
        ("a" * 64 + "/lung.h5ad", "key.collection"),
        ("atlas/.h5ad", "key.name"),
    ],
)
def test_what_does_not_fit_is_answered_with_a_code_and_a_hint(key: str, code: str) -> None:
    rejection = parse_upload_key(key, 5)
    assert isinstance(rejection, Rejection)
    assert rejection.code == code
    assert rejection.message
    assert rejection.hint


@pytest.mark.parametrize("suffix", [".fragments.tsv.gz", ".fragments.tsv.bgz"])
@pytest.mark.parametrize("name", ["lung", "a b+c", NFD, "x.h5ad", "x.fragments.tsv.gz"])
def test_a_companion_belongs_to_the_submission_of_its_name(name: str, suffix: str) -> None:
    key = f"atlas/{name}{suffix}"
    found = parse_upload_key(key, 5)
    assert found == CompanionKey(key, "atlas", name, "fragments")
    assert isinstance(found, CompanionKey)
    assert found.submission == SubmissionKey(f"atlas/{name}.h5ad", "atlas", name)
    assert key in found.submission.companion_keys("fragments")


def test_a_name_that_leaves_no_room_for_a_companions_key_has_none() -> None:
    assert SubmissionKey("atlas/x.h5ad", "atlas", "ü" * 503).companion_keys("fragments") == ()


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("atlas/lung.fragments.TSV.gz", "key.suffix_case"),
        ("atlas/lung.fragments.tsv", "key.fragments_uncompressed"),
        ("atlas/lung_fragments.tsv.gz", "key.fragments_name"),
        ("atlas/fragments.tsv.gz", "key.fragments_name"),
        ("atlas/lung.fragments.tsv.gz.tbi", "key.fragments_index"),
        ("atlas/.fragments.tsv.gz", "key.name"),
        ("atlas/..fragments.tsv.gz", "key.name"),
        ("lung.fragments.tsv.gz", "key.no_collection"),
        ("atlas/2024/lung.fragments.tsv.gz", "key.depth"),
        ("Atlas/lung.fragments.tsv.gz", "key.collection"),
    ],
)
def test_what_was_meant_as_a_companion_is_told_how_to_become_one(key: str, code: str) -> None:
    rejection = parse_upload_key(key, 5)
    assert isinstance(rejection, Rejection)
    assert rejection.code == code
    assert rejection.hint


@pytest.mark.parametrize(
    ("key", "size"),
    [("_reports/atlas/lung.h5ad/v1/1/report.json", 800), ("_reports/x", 0), ("atlas/", 0), ("a/b/c/", 0)],
)
def test_our_own_reports_and_folder_markers_are_ignored(key: str, size: int) -> None:
    assert isinstance(parse_upload_key(key, size), Ignored)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_key_gets_exactly_one_answer(key: str) -> None:
    found = parse_upload_key(key, 5)
    assert found.key == key
    if isinstance(found, SubmissionKey):
        assert f"{found.collection}/{found.name}.h5ad" == key
        assert "/" not in found.name


def test_a_run_has_one_name_wherever_it_is_computed() -> None:
    name = execution_name("inbox", "atlas/lung.h5ad", "v1", 2)
    assert name == execution_name("inbox", "atlas/lung.h5ad", "v1", 2)
    assert name.endswith("-2")
    assert len(name) <= 80


def test_neighbouring_fields_do_not_blur_into_the_same_name() -> None:
    assert execution_name("in", "box/a.h5ad", "v", 1) != execution_name("inb", "ox/a.h5ad", "v", 1)


def test_sequencers_of_different_lengths_compare_after_padding() -> None:
    # The example of Amazon's own guide: the shorter one is padded on the right.
    assert pad_sequencer("0055AED6DCD90281E6") > pad_sequencer("0055AED6DCD90281E5")
    assert pad_sequencer("55AED6") > pad_sequencer("55AED5FFFF")
    assert pad_sequencer("55ae") == pad_sequencer("55AE00")


@pytest.mark.parametrize("version_id", ["null", "", ".", "..", "a/b", "a b", "a\n", "x" * 1025])
def test_what_pins_nothing_is_no_version_id(version_id: str) -> None:
    assert not is_version_id(version_id)


def test_the_report_on_a_submission_lies_beside_its_key() -> None:
    for name in ("lung.h5ad", "lung.fragments.tsv.gz"):
        assert report_key(f"atlas/{name}", "v1", 2) == f"_reports/atlas/{name}/v1/2/report.json"


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/x", "a\nb.h5ad", "lung.rds", "ü" * 500, "atlas/" + "x" * 1013 + ".h5ad"]
)
def test_the_report_on_any_other_key_lies_in_one_safe_segment(key: str) -> None:
    name = report_key(key, "v1", 1)
    prefix, segment, version, run, file = name.split("/")
    assert (prefix, version, run, file) == ("_reports", "v1", "1", "report.json")
    assert segment.isascii()
    assert segment.replace("%", "").replace("~", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert "~" in segment
    assert len(name.encode()) <= 1000


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_two_keys_never_share_a_report(one: str, other: str) -> None:
    assert one == other or report_key(one, "v1", 1) != report_key(other, "v1", 1)
