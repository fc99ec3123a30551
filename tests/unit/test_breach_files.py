"""Copies of the breached passwords on this machine: a folder of ranges, or one sorted file."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.breaches.service import BreachFiles, _is_in_order, digest_of, is_listed


def test_a_password_is_known_by_its_sha_1() -> None:
    assert digest_of("password") == "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8"


def test_a_range_answer_is_read_as_it_is_published() -> None:
    known = "1E4C9B93F3F0682250B6CF8331B7EE68FD8"
    lines = f"003D68EB55068C33ACE09247EE4C639306B:3\r\n{known}:9659365\r\n{'0' * 35}:0"
    assert is_listed(known, lines)
    assert not is_listed("0" * 35, lines), "padding"
    assert not is_listed("2E4C9B93F3F0682250B6CF8331B7EE68FD8", lines)
    assert not is_listed("A" * 35, "")


@pytest.mark.parametrize("name", ["5BAA6", "5BAA6.txt", "5baa6"])
async def test_a_folder_of_ranges_is_searched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("003D68EB55068C33ACE09247EE4C639306B:3\n1E4C9B93F3F0682250B6CF8331B7EE68FD8:9\n")
    files = BreachFiles(tmp_path)
    assert await files.knows("password")
    assert not await files.knows("another")


async def test_what_is_gone_or_cannot_be_read_refuses_nothing(tmp_path: Path) -> None:
    assert not await BreachFiles(tmp_path / "nowhere").knows("password")
    (tmp_path / "5BAA6").mkdir()
    assert not await BreachFiles(tmp_path).knows("password")


@given(
    st.sets(st.text(max_size=6), max_size=40),
    st.text(max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n"]),
)
@settings(max_examples=200, deadline=None)
def test_a_sorted_file_holds_what_is_in_it_and_nothing_else(words: set[str], other: str, end: str, last: str) -> None:
    lines = sorted(f"{digest_of(word)}:{number + 1}" for number, word in enumerate(words))
    file = BytesIO((end.join(lines) + last).encode())
    for word in words | {other}:
        assert _is_in_order(file, digest_of(word)) == (word in words)
