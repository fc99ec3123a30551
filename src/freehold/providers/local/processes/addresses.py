"""Where engine processes listen: sockets in `DATA_DIR/run`, for their owner only."""

import os
import sys
from pathlib import Path

PENALTY = "penalty"
_LONGEST_ADDRESS = 100  # bytes; a socket's address has room for little more. Source: unix(7).


def socket_of(run_dir: Path, seat: int | str) -> Path:
    """The socket of the engine on this seat: a number, or `PENALTY`."""
    return run_dir / f"engine-{seat}.sock"


class SocketFolder:
    """The folder of the sockets, which gives them short enough addresses even if its path is long."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._opened: int | None = None

    def address(self, path: Path) -> str:
        """The address of the socket at `path`, which is in the folder.

        Raises:
            OSError: the folder does not exist.
        """
        if len(os.fsencode(path)) < _LONGEST_ADDRESS or sys.platform != "linux":
            return str(path)
        if self._opened is None:
            self._opened = os.open(self._run_dir, os.O_PATH | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._opened}/{path.name}"

    def close(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None
