"""Each leak check and the rule for skips, shown failing, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

LEAKS = {
    "child": """
        import subprocess
        def test_child():
            global process
            process = subprocess.Popen(["sleep", "60"])
        """,
    "socket": """
        import socket
        keep = socket.socket()
        def test_socket():
            keep.bind(("127.0.0.1", 0))
            keep.listen()
        """,
    "thread": """
        import atexit, threading
        go = threading.Event()
        atexit.register(go.set)
        def test_thread():
            threading.Thread(target=go.wait, args=(5,), name="idler").start()
        """,
    "task": """
        import asyncio
        async def main():
            global task
            task = asyncio.create_task(asyncio.sleep(60))
            await asyncio.sleep(0)
        def test_task():
            asyncio.run(main())
        """,
    "fixture": """
        import subprocess, pytest
        @pytest.fixture(scope="module")
        def process():
            yield subprocess.Popen(["sleep", "60"])
        def test_first(process): pass
        def test_fixture(process): pass
        """,
}

CLEAN = """
        import asyncio, socket, subprocess, threading
        import pytest

        @pytest.fixture(scope="module")
        def server():
            process = subprocess.Popen(["sleep", "60"])
            with socket.create_server(("127.0.0.1", 0)) as listener:
                yield listener
            process.kill()
            process.wait()

        @pytest.mark.parametrize("n", range(3))
        def test_uses_a_wider_fixture(server, n): pass

        def test_starts_again_inside_a_wider_fixture(server):
            from support.leaks import kept
            with kept():
                subprocess.Popen(["sleep", "5"])

        def test_ends_what_it_starts():
            subprocess.run(["true"], check=True)
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
            socket.create_server(("127.0.0.1", 0)).close()

        def test_cancels_its_task():
            async def main():
                task = asyncio.create_task(asyncio.sleep(60))
                await asyncio.sleep(0)
                task.cancel()
            asyncio.run(main())
        """


def _pytest(folder: Path, bodies: dict[str, str], *arguments: str, **environment: str) -> tuple[int, str]:
    """Run `bodies` as test modules under the plugins that this suite uses: exit code and output."""
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\nfilterwarnings = ignore\n")
    (folder / "conftest.py").write_text("pytest_plugins = ('support.leaks', 'support.skips', 'support.suites')\n")
    for name, body in bodies.items():
        lines = body.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        (folder / f"test_{name}.py").write_text("\n".join(line[indent:] for line in lines))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "CI"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments]
    done = subprocess.run(
        command,
        env=clean | {"COMITY_TEST_GRACE_S": "0.3"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_leak_fails_and_nothing_else(tmp_path: Path) -> None:
    code, output = _pytest(tmp_path, LEAKS | {"clean": CLEAN})
    assert code == 1, output
    for name, kind in (*((kind, kind) for kind in ("child", "socket", "thread", "task")), ("fixture", "child")):
        assert f"test_{name} left behind: {kind} " in output
    assert "12 passed, 5 errors" in output


SKIP = "import pytest\ndef test_runs(): pass\n@pytest.mark.skip(reason='REASON')\ndef test_it(): pass\n"


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("no such thing here", "", 0), ("no such thing here", "true", 1), ("needs an accelerator", "true", 0)],
)
def test_a_skip_fails_only_ci(reason: str, ci: str, code: int, tmp_path: Path) -> None:
    got, output = _pytest(tmp_path, {"it": SKIP.replace("REASON", reason)}, CI=ci)
    assert got == code, output
    assert ("skipped without leave" in output) == bool(code)


def test_a_module_skipped_in_a_worker_fails_ci(tmp_path: Path) -> None:
    bodies = {
        "module": "import pytest\npytest.importorskip('no_such_module')",
        "known": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): raise ValueError",
        "other": "def test_runs(): pass",
    }
    code, output = _pytest(tmp_path, bodies, "-n", "1", CI="true")
    assert code == 1, output
    assert "test_module.py: could not import" in output or "test_module.py: Skipped" in output, output
    assert "test_known.py: " not in output.partition("skipped without leave")[2]
