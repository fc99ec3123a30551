"""Tenant files: named safely, made whole, deleted with their logs."""

import fcntl
import os
from pathlib import Path

import apsw
import pytest

from freehold.errors import InvalidInput, ProviderUnavailable
from freehold.providers.local.files import TenantFiles

BAD_NAMES = [
    *("", ".", "..", "../x", "a/b", "/etc/passwd", "a.b", "a\0b", "a b", "A", "ä", "ａ", "a\n", "%2e%2e"),
    *("a" * 64, "a_b", "a;b", "a'b", "٣"),
]


@pytest.fixture
def files(tmp_path: Path) -> TenantFiles:
    return TenantFiles(tmp_path / "data" / "tenants")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_leave_the_folder_becomes_no_path(files: TenantFiles, name: str) -> None:
    for act in (files.path_of, files.create, files.exists, files.delete):
        with pytest.raises(InvalidInput):
            act(name)
    assert not files.root.exists()


def test_files_are_spread_over_two_levels_of_folders(files: TenantFiles) -> None:
    parents = {files.path_of(f"t-{number}").parent for number in range(1000)}
    assert len(parents) > 900
    assert all(len(parent.relative_to(files.root).parts) == 2 for parent in parents)


def test_a_new_database_is_whole_and_private(files: TenantFiles) -> None:
    files.create("t-1")
    path = files.path_of("t-1")
    assert path.stat().st_mode & 0o077 == 0
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("page_size") == 4096
    assert connection.pragma("integrity_check") == "ok"
    connection.execute("create table t(a)")
    assert connection.pragma("integrity_check") == "ok"


def test_creating_again_keeps_the_data(files: TenantFiles) -> None:
    files.create("t-1")
    path = files.path_of("t-1")
    apsw.Connection(str(path)).execute("create table t(a)").connection.close()
    files.create("t-1")
    assert apsw.Connection(str(path)).table_exists("main", "t")


def test_a_new_database_never_meets_the_log_of_an_old_one(files: TenantFiles) -> None:
    files.create("t-1")
    path = files.path_of("t-1")
    connection = apsw.Connection(str(path))
    connection.execute("create table old(a)")
    log = path.with_name("t-1.db-wal").read_bytes()
    connection.close()
    files.delete("t-1")
    path.with_name("t-1.db-wal").write_bytes(log)  # as if the deletion was killed half-way
    path.with_name("t-1.db-shm").write_bytes(b"x" * 32768)
    files.create("t-1")
    assert not apsw.Connection(str(path)).table_exists("main", "old")


def test_deleting_leaves_nothing_and_works_twice(files: TenantFiles) -> None:
    files.delete("t-1")
    files.create("t-1")
    apsw.Connection(str(files.path_of("t-1"))).execute("create table t(a)")
    files.delete("t-1")
    files.delete("t-1")
    assert not files.exists("t-1")
    assert list(files.path_of("t-1").parent.iterdir()) == []


def test_leftovers_of_a_crash_are_swept_and_drafts_in_work_are_kept(files: TenantFiles) -> None:
    files.check()
    drafts = files.root / ".drafts"
    (drafts / "left").write_bytes(b"half")
    with (drafts / "in-work").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        files.check()
        assert [each.name for each in drafts.iterdir()] == ["in-work"]
    files.check()
    assert list(drafts.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_said_to_operators(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    files = TenantFiles(tmp_path / "data" / "tenants")
    for act in (files.check, lambda: files.create("t-1")):
        with pytest.raises(ProviderUnavailable, match=str(tmp_path / "data")):
            act()
    assert not files.exists("t-1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ProviderUnavailable, match="Permission denied"):
        TenantFiles(tmp_path / "tenants").create("t-1")
