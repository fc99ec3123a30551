"""Key files: made once, private, whole or not at all."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from freehold.keys import BadKeyFile, load_key, load_or_create_key


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    first = load_or_create_key(path)
    assert load_or_create_key(path).private_bytes_raw() == first.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["key.pem"]


def _make(path: Path) -> bytes:
    return load_or_create_key(path).private_bytes_raw()


def test_processes_that_start_together_use_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        keys = set(pool.map(_make, [tmp_path / "key.pem"] * 12, chunksize=1))
    assert len(keys) == 1


def test_a_bad_file_is_named_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"nonsense", other):
        path.write_bytes(content)
        with pytest.raises(BadKeyFile, match=r"key\.pem"):
            load_or_create_key(path)
        assert path.read_bytes() == content


def test_what_stands_in_the_way_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="cannot read"):
        load_key(tmp_path / "none.pem")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadKeyFile, match="Not a directory"):
        load_or_create_key(tmp_path / "file" / "key.pem")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadKeyFile, match="Is a directory"):
        load_or_create_key(tmp_path / "folder")
