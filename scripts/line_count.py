"""Prints how many lines each package has, product and tests, and fails when a module passes the wall.

Counts every line of every tracked Python file: blank ones, comments and docstrings too.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE_LINES_MAX = 600


def package_of(path: Path) -> tuple[str, str]:
    """("product" | "tests", package) of a path below the root: `src/comity/ledger/rlp.py` → product, ledger."""
    parts = path.parts
    if parts[0] == "src":
        return "product", parts[2] if len(parts) > 3 else "(root)"
    if parts[0] == "tests":
        return "tests", parts[1] if len(parts) > 2 else "(root)"
    return "product", parts[0]


def main() -> int:
    """Print the table; 1 when a module is over the wall."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True)
    lines: dict[str, dict[str, int]] = defaultdict(lambda: {"product": 0, "tests": 0})
    modules: list[tuple[int, str]] = []
    for name in listed.stdout.split():
        if not (ROOT / name).exists():
            continue  # deleted, not yet committed
        count = len((ROOT / name).read_bytes().splitlines())
        side, package = package_of(Path(name))
        lines[package][side] += count
        modules.append((count, name))
    write = sys.stdout.write
    write(f"{'package':<14}{'product':>9}{'tests':>9}\n")
    for package, sides in sorted(lines.items()):
        write(f"{package:<14}{sides['product']:>9,}{sides['tests']:>9,}\n")
    product, tests = (sum(sides[side] for sides in lines.values()) for side in ("product", "tests"))
    write(
        f"{'total':<14}{product:>9,}{tests:>9,}   {len(modules)} modules, longest {max(modules)[0]}: {max(modules)[1]}\n"
    )
    over = [
        f"{name} has {count} lines, the wall is {MODULE_LINES_MAX}\n"
        for count, name in modules
        if count > MODULE_LINES_MAX
    ]
    sys.stderr.writelines(over)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
