"""What is where in DATA_DIR."""

from pathlib import Path


def databases_dir_of(data_dir: Path) -> Path:
    """The tenants' files."""
    return data_dir.absolute() / "tenants"


def run_dir_of(data_dir: Path) -> Path:
    """The sockets of engine processes."""
    return data_dir.absolute() / "run"
