"""Confines a serving engine process to files below the tenants' folder.

With Landlock, Linux lets a process give up rights permanently without being root. Where the kernel lacks it, engines
run unconfined. Source: https://docs.kernel.org/userspace-api/landlock.html.
"""

import contextlib
import ctypes
import os
import struct
import sys
from pathlib import Path

from freehold.log import get_logger
from freehold.memory import resident_bytes

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_READ_FILE = 1 << 2
# How many rights there are, by ABI version: an older kernel refuses those that it does not know.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
# Run a file; create a device, a pipe or a symbolic link; talk to a device.
_NEVER = 1 << 0 | 1 << 6 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15
_TCP = 0b11
_SIGNALS_AND_ABSTRACT_SOCKETS = 0b11
_TCP_SINCE, _SCOPES_SINCE = 4, 6
# SQLite seeds its random numbers from here.
_READABLE = ("/dev/urandom",)
# Otherwise Python loads these from its library on first use.
_CODECS = ("ascii", "latin-1", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "idna")


def confine(*folders: Path) -> bool:
    """Give up TCP, signals to others, and all files but those below these folders; False if the kernel cannot."""
    _read_what_is_needed()
    version = _call(_CREATE_RULESET, None, 0, _ASK_VERSION) if sys.platform == "linux" else -1
    if version < 1:
        return False
    rights = (1 << _FILE_RIGHTS.get(version, _FILE_RIGHTS[5])) - 1
    wanted = struct.pack(
        "QQQ",
        rights,
        _TCP if version >= _TCP_SINCE else 0,
        _SIGNALS_AND_ABSTRACT_SOCKETS if version >= _SCOPES_SINCE else 0,
    )
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _TCP_SINCE else 8
    ruleset = _call(_CREATE_RULESET, wanted, size, 0)
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(ruleset, folder, rights & ~_NEVER)
        for file in _READABLE:
            with contextlib.suppress(OSError):
                _allow(ruleset, Path(file), _READ_FILE)
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return _call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0) < 0:
            raise OSError(f"landlock refuses a rule for {path}")
    finally:
        os.close(opened)


def _read_what_is_needed() -> None:
    for name in _CODECS:
        "".encode(name)
    get_logger().bind()
    with contextlib.suppress(OSError):
        resident_bytes()


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words))
