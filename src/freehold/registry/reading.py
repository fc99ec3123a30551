"""Reads the files of a migrations' folder, which others may have put there: none waits, none is without end."""

import errno
import os
import stat
from pathlib import Path

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_file(path: Path, most_bytes: int) -> bytes:
    """The file's bytes, and of a larger one a byte more than the most. Blocking, but never on somebody else.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder.
    """
    try:
        opened = os.open(path, os.O_RDONLY | _NO_WAITING)
    except ValueError as error:  # no file has such a name
        raise OSError(errno.EINVAL, "no name of a file") from error
    with os.fdopen(opened, "rb") as file:
        kind = os.fstat(opened).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(most_bytes + 1)
