"""The folders in DATA_DIR."""

from pathlib import Path


def databases_dir_of(data_dir: Path) -> Path:
    """The folder of the tenants' files."""
    return data_dir.absolute() / "tenants"


def run_dir_of(data_dir: Path) -> Path:
    """The folder of the engine processes' sockets."""
    return data_dir.absolute() / "run"
