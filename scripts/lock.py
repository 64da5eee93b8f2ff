"""Writes requirements/*.txt: every package of each set at one version, with the SHA-256 of each of its files.

Not an installer: `make venv` installs these with pip, wheels only. What is wanted stands in pyproject.toml.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
RUNTIME = ("--extra", "demo", "--group", "build")
SETS = {"runtime": RUNTIME, "dev": (*RUNTIME, "--extra", "contracts", "--group", "dev")}

_PIN = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+==[^ ;]+)(?: ; (?P<marker>[^\\]+?))?(?P<rest> \\)?$")


def targets() -> list[dict[str, str]]:
    """The machines that the sets are for, as PEP 508 environments."""
    return [
        {
            "sys_platform": system,
            "platform_machine": machine,
            "python_version": version,
            "python_full_version": f"{version}.0",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
        }
        for system, machine in (("linux", "x86_64"), ("darwin", "arm64"))
        for version in ("3.11", "3.12")
    ]


def plain(line: str) -> str:
    """A pin without the marker that only repeats what Comity runs on.

    On any other machine pip then fails for want of a wheel; with the markers it would skip every package and succeed.
    """
    match = _PIN.match(line)
    if match is None or match["marker"] is None:
        return line
    holds = [Marker(match["marker"]).evaluate(environment) for environment in targets()]
    if all(holds):
        marker = ""
    elif holds == [True, True, False, False]:
        marker = " ; sys_platform == 'linux'"
    else:
        marker = f" ; {match['marker']}"
    return f"{match['pin']}{marker}{match['rest'] or ''}"


def compile_set(name: str, constraints: str, arguments: list[str]) -> str:
    """Resolve one set; versions that its file already names are kept unless `arguments` says otherwise."""
    output = REQUIREMENTS / f"{name}.txt"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write(constraints)
        pins.flush()
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", *SETS[name],
            "--universal", "--python-version", "3.11", "--only-binary", ":all:", "--generate-hashes",
            "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links",
            "--constraint", pins.name, "--output-file", str(output), *arguments,
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True)
    head = [f"# Written by `make lock`: the {name} set. Do not edit."]
    return (
        "\n".join(head + [plain(line) for line in output.read_text().splitlines() if not line.startswith("#")]) + "\n"
    )


def main() -> None:
    """Write both sets; the second at the versions of the first. Arguments go to uv: `--upgrade`, `--upgrade-package x`."""
    constraints = ""
    for name in SETS:
        text = compile_set(name, constraints, sys.argv[1:])
        (REQUIREMENTS / f"{name}.txt").write_text(text)
        pins = [line.split(" ")[0] for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
        constraints = "\n".join(pins) + "\n"
        sys.stdout.write(f"requirements/{name}.txt: {len(pins)} packages\n")


if __name__ == "__main__":
    main()
