"""Reading a folder of migrations: what is taken, and every reason why it is not."""

import os
from pathlib import Path

import pytest

from freehold.registry.files import load_folder
from freehold.registry.types import BadRegistry


def write(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name.lstrip('_')}.sql").write_bytes(data)
    return folder


async def faults_of(folder: Path) -> list[str]:
    with pytest.raises(BadRegistry) as caught:
        await load_folder(folder)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


async def test_files_are_read_in_order_of_their_version(tmp_path: Path) -> None:
    write(tmp_path, _0002_add_b="CREATE TABLE b (x);", _0001_create_a="CREATE TABLE a (x);")
    (tmp_path / "README.md").write_text("not a migration")
    (tmp_path / "0002_notes.sql.txt").write_text("not one either")
    migrations = await load_folder(tmp_path)
    assert [(each.version, each.name) for each in migrations] == [(1, "create_a"), (2, "add_b")]


async def test_line_ends_do_not_change_the_checksum(tmp_path: Path) -> None:
    for name, sql in {"unix": b"CREATE TABLE a (\n x);\n", "dos": b"CREATE TABLE a (\r\n x);\r\n"}.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, _0001_create_a=sql)
    [unix], [dos] = await load_folder(tmp_path / "unix"), await load_folder(tmp_path / "dos")
    assert unix.checksum == dos.checksum
    assert unix == dos


async def test_an_empty_folder_holds_no_migrations(tmp_path: Path) -> None:
    assert await load_folder(tmp_path) == []


async def test_all_faults_are_told_at_once_with_the_files_names(tmp_path: Path) -> None:
    write(
        tmp_path,
        _0001_create_a="CREATE TABLE a (x);",
        _0001_again="CREATE TABLE b (x);",
        _0004_gap="CREATE TABLE c (x);",
        _0005_commits="CREATE TABLE d (x);\nCOMMIT;",
        _0006_open="CREATE TABLE e (x DEFAULT 'never closed);",
        _0007_not_text=b"CREATE TABLE f (x);\n-- caf\xe9\n",
        _0008_marked=b"\xef\xbb\xbfCREATE TABLE g (x);",
        _0009_huge="-- " + "x" * 1024 * 1024,
        _0010_empty="-- nothing to do\n",
        _add_decks="CREATE TABLE h (x);",
        _11_short="CREATE TABLE i (x);",
    )
    (tmp_path / "0012_Big.sql").write_text("CREATE TABLE j (x);")
    (tmp_path / "0013_shout.SQL").write_text("CREATE TABLE k (x);")
    (tmp_path / "0011_folder.sql").mkdir()
    faults = await faults_of(tmp_path)
    expected = {
        "0001_create_a.sql": "version 1 is taken by 0001_again.sql",
        "0004_gap.sql": "there is no file of version 2 to 3",
        "0005_commits.sql": "statement 2, line 2: COMMIT",
        "0006_open.sql": "not closed",
        "0007_not_text.sql": "line 2 is not UTF-8",
        "0008_marked.sql": "byte order mark",
        "0009_huge.sql": "over the limit",
        "0010_empty.sql": "no statement",
        "0011_folder.sql": "is a directory",
        "0012_Big.sql": "NNNN_snake_case_name.sql",
        "0013_shout.SQL": "NNNN_snake_case_name.sql",
        "11_short.sql": "NNNN_snake_case_name.sql",
        "add_decks.sql": "NNNN_snake_case_name.sql",
    }
    assert {fault.split(": ")[0] for fault in faults} == set(expected)
    for file_name, reason in expected.items():
        assert any(fault.startswith(f"{file_name}: ") and reason in fault for fault in faults), (file_name, faults)


@pytest.mark.parametrize(
    ("name", "reason"), [("0000_zero", "versions start at 1"), ("0002_late", "there is no file of version 1")]
)
async def test_versions_start_at_1(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, **{name: "CREATE TABLE a (x);"})
    [fault] = await faults_of(tmp_path)
    assert reason in fault


@pytest.mark.parametrize("name", ["٠٠٠١_arabic_digits", "0001_two__marks", "0001_", "0001_end_", "0001_a b", "0001_é"])
async def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.sql").write_text("CREATE TABLE a (x);")
    [fault] = await faults_of(tmp_path)
    assert "NNNN_snake_case_name.sql" in fault


async def test_a_missing_folder_is_one_clear_fault(tmp_path: Path) -> None:
    [fault] = await faults_of(tmp_path / "nowhere")
    assert "no such file or directory" in fault
    assert "nowhere" in fault


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_an_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, _0001_create_a="CREATE TABLE a (x);")
    (tmp_path / "0001_create_a.sql").chmod(0)
    [fault] = await faults_of(tmp_path)
    assert "permission denied" in fault
