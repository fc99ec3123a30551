#!/usr/bin/env python3
"""Print figures of the source side by side: how many files, how large, and how they import each other.

Usage: python scripts/figures.py [FOLDER|REVISION]...

Each column is a checkout's folder or a revision of this repository; without any it is this checkout. The script reads
the text of the files only, so any old revision will do.

Example: python scripts/figures.py 97dc196 .
"""

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "freehold"


@dataclass(frozen=True)
class Source:
    """The package of one checkout: its lines and its imports, both by module."""

    lines: dict[str, int]
    imports: dict[str, set[str]]
    largest_folder: int
    longest_function: str
    tests: tuple[int, int]


def figures(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each figure."""
    importers = Counter(name for names in source.imports.values() for name in names)
    wired = {module: len(names) for module, names in source.imports.items() if _is_wiring(module)}
    widest = max(source.imports, key=lambda module: len(source.imports[module]))
    cycles = import_cycles(source.imports)
    yield "files in src", f"{len(source.lines):,}"
    yield "lines in src", f"{sum(source.lines.values()):,}"
    yield "lines in the longest file", f"{max(source.lines.values())}"
    yield "files in the fullest folder", str(source.largest_folder)
    yield "longest function", source.longest_function
    yield "files imported by exactly one other", str(sum(importers[module] == 1 for module in source.lines))
    yield "modules imported by the largest wiring file", str(max(wired.values(), default=0))
    yield "modules imported by any file, at most", f"{len(source.imports[widest])} ({_short(widest)})"
    yield "circles of imports", str(len(cycles))
    yield "files in tests", f"{source.tests[0]:,}"
    yield "lines in tests", f"{source.tests[1]:,}"


def read(checkout: Path) -> Source:
    """Return what the files under `src/freehold` and `tests` say.

    Raises:
        NotADirectoryError: the folder holds no Freehold.
    """
    package = checkout / "src" / PACKAGE
    if not package.is_dir():
        raise NotADirectoryError(f"{checkout} has no src/{PACKAGE}")
    files = {_module(path, package): path for path in sorted(package.rglob("*.py")) if path.stat().st_size}
    trees = {module: ast.parse(path.read_text()) for module, path in files.items()}
    functions = [
        (node.end_lineno - node.lineno + 1, f"{_short(module)}.{node.name}")
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    length, name = max(functions)
    tests = [path for path in (checkout / "tests").rglob("*.py") if _is_our_test(path, checkout)]
    return Source(
        lines={module: _lines(path) for module, path in files.items()},
        imports={module: set(_imported(tree, files.keys())) - {module} for module, tree in trees.items()},
        largest_folder=max(Counter(path.parent for path in files.values()).values()),
        longest_function=f"{length} lines ({name})",
        tests=(len(tests), sum(_lines(path) for path in tests)),
    )


def import_cycles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Return each set of modules that reach each other by imports, wherever in the file these stand."""
    reached = {module: _reachable(module, imports) for module in imports}
    cycles: list[set[str]] = []
    for module, others in reached.items():
        cycle = {other for other in others if module in reached[other]}
        if cycle and cycle not in cycles:
            cycles.append(cycle)
    return cycles


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    queue = [start]
    while queue:
        for other in imports[queue.pop()] - seen:
            seen.add(other)
            queue.append(other)
    return seen


def _imported(tree: ast.Module, modules: Container[str]) -> Iterator[str]:
    """Yield our own modules that are imported, also within functions and for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name`: the name is a module, or something that its `__init__` has.
            for alias in node.names:
                candidates = (f"{node.module}.{alias.name}", node.module)
                yield from [name for name in candidates if name in modules][:1]


def _module(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_wiring(module: str) -> bool:
    return module.startswith(f"{PACKAGE}.wiring.") or module in (f"{PACKAGE}.bootstrap", f"{PACKAGE}.adapters")


def _is_our_test(path: Path, checkout: Path) -> bool:
    inside = path.relative_to(checkout).parts
    return bool(path.stat().st_size) and not {"node_modules", ".venv"} & set(inside)


def _lines(path: Path) -> int:
    return path.read_text().count("\n")


def _short(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.")


def _checkout(name: str, stack: ExitStack) -> Path:
    """Return the folder of that name, or one with that revision in it for as long as the stack is open."""
    if Path(name).is_dir():
        return Path(name)
    packed = subprocess.run(
        ["git", "archive", "--format=tar", name, "src", "tests"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        sys.exit(f"{name} is neither a folder nor a revision: {packed.stderr.decode().strip()}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="freehold-figures-")))
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main(names: list[str]) -> None:
    """Print a line for each figure with a column for each name, then the circles of imports."""
    with ExitStack() as stack:
        sources = [read(_checkout(name, stack)) for name in names]
    columns = [dict(figures(source)) for source in sources]
    titles = [name if name != "." else "this checkout" for name in names]
    rows = [["", *titles], *([title, *(column[title] for column in columns)] for title in columns[0])]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for first, *values in rows:
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, values, widths[1:])]).rstrip())
    for title, source in zip(titles, sources, strict=True):
        for cycle in import_cycles(source.imports):
            print(f"circle in {title}: {', '.join(sorted(map(_short, cycle)))}")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    else:
        main(sys.argv[1:] or [str(ROOT)])
