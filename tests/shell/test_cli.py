"""Whole commands against a node: what they print, where, and how they end. Outputs are snapshots."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comity.shell.cli.table import COMMANDS
from support import snapshots
from support.fake_node import LOGIN, TOKEN, Failure, FakeNode

Run = Callable[..., Any]

LOOKS = {
    "status": ["status"],
    "doctor": ["doctor"],
    "ls-dataset": ["ls", "dataset"],
    "ls-limited": ["ls", "--limit", "5"],
    "ls-empty": ["ls", "offer"],
    "show-study": ["show", "476e7a733199"],
    "show-model": ["show", "breast-mlp@1"],
    "show-raw": ["show", "--raw", "triage"],
    "inbox": ["inbox"],
    "lineage": ["lineage", "triage"],
    "ledger": ["ledger", "--limit", "3"],
    "ledger-block": ["ledger", "9"],
    "members": ["members"],
    "services": ["services"],
    "logs": ["logs", "--limit", "2"],
    "config": ["config", "show", "--origin"],
    "login": ["login"],
    "watch": ["watch", "breast-mlp"],
    "request": ["request", "lakeside/breast@1", "--purpose", "advertising"],
    "version": ["--version"],
    "help": ["--help"],
    "help-train": ["train", "--help"],
    "json-services": ["--json", "services"],
}

WRITES = {
    "grant": ["grant", "northfield/breast@1", "--to", "riverside", "--purpose", "diagnosis", "--until", "2027-01-01"],
    "revoke": ["revoke", "northfield/breast@1", "--because", "the study ended"],
    "approve": ["approve", "breast-deep"],
    "refuse": ["refuse", "breast-deep", "--because", "twelve rounds are too few"],
    "admit": ["admit", "hillside", "--address", "0x" + "31" * 20, "--endpoint", "203.0.113.7:7401"],
    "add-service": ["add", "service", "screening"],
    "deploy": ["deploy", "breast-mlp@1", "--service", "triage", "--no-watch"],
}

MISTAKES = {
    "unknown-verb": ["trian"],
    "half-a-verb": ["add"],
    "missing": ["grant", "breast@1"],
    "unknown-option": ["status", "--quick"],
    "unknown-kind": ["ls", "datasets"],
    "unknown-record": ["show", "nothing"],
    "ambiguous": ["show", "lakeside/"],
    "unknown-block": ["ledger", "999"],
    "not-a-height": ["ledger", "top"],
    "not-a-date": [*WRITES["grant"][:-1], "tomorrow"],
    "unknown-service": ["predict", "nothing", "-"],
    "not-a-digest": ["verify", "evidence.zip", "--genesis", "5f0c"],
    "no-such-file": ["train", "breast", "--code", "missing.py"],
    "no-such-data": ["train", "lungs", "--code", __file__],
    "votes-on-a-model": ["approve", "breast-mlp@1"],
    "org-twice": ["--org"],
    "wrong-org": ["--org", "UPPER", "status"],
    "absent-org": ["--org", "hillside", "status"],
    "does-not-change": ["watch", "triage"],
}


@pytest.mark.parametrize("name", LOOKS)
def test_looking(name: str, node: FakeNode, comity: Run) -> None:
    said = comity(*LOOKS[name])
    assert said.code == 0
    snapshots.check(name, str(said))


@pytest.mark.parametrize("name", WRITES)
def test_writing(name: str, node: FakeNode, comity: Run) -> None:
    said = comity(*WRITES[name])
    assert said.code == 0
    snapshots.check(name, str(said))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, node: FakeNode, comity: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[1,2,3,4]")))
    said = comity(*MISTAKES[name])
    assert said.code in (1, 2)
    assert said.out == ""
    assert "Traceback" not in said.err
    snapshots.check(f"mistake-{name}", str(said).replace(os.environ["COMITY_HOME"], "HOME"))


def test_adds_a_dataset_named_after_its_file(node: FakeNode, comity: Run, tmp_path: Path) -> None:
    path = tmp_path / "Breast Cancer.csv"
    path.write_bytes(b"a\n1\n2\n")
    said = comity("add", "dataset", str(path), "--purpose", "diagnosis", "--licence", "CC-BY-4.0", "--consent", "broad")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("dataset  breast-cancer@1  ")
    assert "2 rows × 1 column   commitment anchored at height 55" in said.out
    assert node.seen[-1][2] == b"a\n1\n2\n"


def test_trains_on_every_members_data_of_that_name(node: FakeNode, comity: Run, tmp_path: Path) -> None:
    code = tmp_path / "study.py"
    code.write_text("x = 1\n")
    said = comity(
        "train", "breast", "--code", str(code), "--rule", "multi-krum", "--rounds", "30", "--quorum", "3", "--no-watch"
    )
    assert said.code == 0
    assert "waiting for: lakeside, northfield, riverside" in said.out
    asked = json.loads(node.seen[-1][2])
    assert (asked["roster"], asked["purpose"]) == (["lakeside", "northfield", "riverside"], "diagnosis")
    assert (asked["rule"], asked["rounds"], asked["quorum"]) == ({"name": "multi-krum", "f": 0}, 30, 3)
    assert len(asked["datasets"]) == 3


def test_runs_a_task_to_its_receipt(node: FakeNode, comity: Run, tmp_path: Path) -> None:
    code = tmp_path / "count.py"
    code.write_text("x = 1\n")
    said = comity(
        "run", str(code), "--reads", "northfield/breast@1", "--purpose", "diagnosis", "--set", "fold=3", "--cpu", "5"
    )
    assert said.code == 0
    assert "done at northfield · exit 0 · cpu 0.4 s · wall 0.5 s · peak 48.0 MB" in said.out
    asked = json.loads(next(body for method, path, body in node.seen if (method, path) == ("POST", "/api/v1/tasks")))
    assert (asked["arguments"], asked["limits"]) == ({"fold": "3"}, {"cpu_s": 5})


def test_predicts_by_name_whatever_the_order(node: FakeNode, comity: Run, tmp_path: Path) -> None:
    path = tmp_path / "patient.json"
    path.write_text('{"area": 4, "radius": 1, "texture": 2, "perimeter": 3}')
    said = comity("predict", "triage", str(path))
    assert said.code == 0
    assert set(json.loads(said.out)) == {"label", "probability", "receipt"}
    assert json.loads(node.seen[-1][2])["inputs"][0]["data"] == [1, 2, 3, 4]


def test_exports_whole_or_not_at_all(node: FakeNode, comity: Run, tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    assert comity("export", "breast-mlp@1", "--to", str(path)).code == 0
    assert path.read_bytes().startswith(b"PK")
    said = comity("export", "nothing", "--to", str(tmp_path / "other.zip"))
    assert said.code == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["evidence.zip"]


def test_a_refusal_of_the_node_keeps_its_voice(node: FakeNode, comity: Run) -> None:
    node.refusals["/api/v1/inbox"] = Failure(
        403,
        "forbidden",
        "lakeside does not grant `breast@1` for purpose `advertising`",
        why="grant 7d20…: diagnosis, until 2027-01-01",
        hint="ask for it: comity request lakeside/breast@1 --purpose advertising",
        exit_code=3,
    )
    said = comity("inbox")
    assert said.code == 3
    assert said.err == (
        "error: lakeside does not grant `breast@1` for purpose `advertising` (grant 7d20…: diagnosis, until 2027-01-01)\n"
        "hint: ask for it: comity request lakeside/breast@1 --purpose advertising\n"
    )
    as_json = comity("--json", "inbox")
    assert as_json.code == 3
    assert as_json.err == ""
    assert json.loads(as_json.out)["error"]["code"] == "forbidden"


def test_a_sick_node_says_so(node: FakeNode, comity: Run) -> None:
    node.healthy = False
    assert "C004 peers: 2 of 3 connected" in comity("status").out
    said = comity("doctor")
    assert (said.code, "✗  C004  peers" in said.out) == (0, True)
    assert "after C004" in said.out
    assert said.err == "hint: peers: comity members\n"


def test_an_unreachable_node_ends_with_five(comity: Run) -> None:
    folder = Path(os.environ["COMITY_HOME"]) / "northfield"
    folder.mkdir(parents=True)
    (folder / "credentials.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": TOKEN}))
    said = comity("status")
    assert said.code == 5
    assert said.err == (
        "error: the node of `northfield` does not answer at http://127.0.0.1:1 (connection refused)\n"
        "hint: comity --org northfield up\n"
    )


def test_no_organisation_yet(comity: Run) -> None:
    said = comity("status")
    assert said.code == 1
    assert "no organisation on this machine yet" in said.err


@pytest.mark.parametrize("name", [name for name in (*LOOKS, *WRITES) if not name.startswith("help")])
def test_every_command_speaks_json(name: str, node: FakeNode, comity: Run) -> None:
    words = {**LOOKS, **WRITES}[name]
    said = comity("--json", *words)
    assert (said.code, said.err) == (0, "")
    assert set(json.loads(said.out)) == {"schema", "data"}


def test_text_from_elsewhere_cannot_move_the_cursor(node: FakeNode, comity: Run) -> None:
    node.refusals["/api/v1/inbox"] = Failure(400, "refused", "\x1b[2J\x1b]0;owned\x07clean\r\nerror: forged\u202e")
    said = comity("inbox")
    assert not set(said.err) & set("\x1b\x07\r\u202e")
    assert said.err.count("\n") == 1


def test_the_token_is_never_said(node: FakeNode, comity: Run) -> None:
    node.refusals["/api/v1/status"] = Failure(500, "internal", "broken", exit_code=2)
    for words in (["status"], ["doctor"], ["login"], ["--json", "login"], ["show", "nothing"], ["config", "show"]):
        said = comity(*words)
        assert TOKEN not in said.out + said.err
    assert LOGIN in comity("login").out


def test_uninstall_shows_then_removes(node: FakeNode, comity: Run) -> None:
    folder = Path(os.environ["COMITY_HOME"]) / "northfield"
    said = comity("uninstall")
    assert (said.code, folder.exists()) == (0, True)
    assert "nothing was removed" in said.err
    assert comity("uninstall", "--yes").code == 0
    assert not folder.exists()


def test_every_handler_exists_and_takes_its_arguments() -> None:
    from importlib import import_module
    from inspect import signature

    for command in COMMANDS:
        module, _, name = command.run.partition(":")
        takes = set(signature(getattr(import_module(f"comity.shell.cli.{module}"), name)).parameters)
        assert takes == {"talk", "org", *(argument.key for argument in command.arguments)}, command.name


def test_nothing_heavy_is_imported(node: FakeNode) -> None:
    script = "import sys; from comity.shell.cli import main; main(['status']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for name in (
        "httpx",
        "msgspec",
        "starlette",
        "jinja2",
        "numpy",
        "asyncio",
        "cyclopts",
        "rich",
        "coincurve",
        "pyrevm",
    ):
        assert f"'{name}'" not in loaded, name


def test_the_module_runs_and_ends_with_its_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "comity.shell.cli", "trian"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("hint: did you mean `comity train`?\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, comity: Run) -> None:
    said = comity("completion", shell)
    assert said.code == 0
    for command in COMMANDS:
        assert command.words[0] in said.out


def test_bash_completes(comity: Run, tmp_path: Path) -> None:
    script = tmp_path / "comity.bash"
    script.write_text(comity("completion", "bash").out)
    ask = f"source {script}; COMP_WORDS=(comity --org lakeside add d); COMP_CWORD=4; _comity; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "dataset\n"


@pytest.mark.parametrize("data", [None, b"", b"PK\x05\x06" + bytes(18), b"not a zip"])
def test_a_bundle_that_is_none(data: bytes | None, comity: Run, tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    if data is not None:
        path.write_bytes(data)
    said = comity("verify", str(path), "--genesis", "5f" * 32)
    assert said.code in (1, 4)
    assert said.err.startswith("error: ")
    assert "this should not have happened" not in said.err


def test_verify_prints_every_link_and_names_the_broken_one(
    comity: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comity.ledger import evidence

    good = [
        evidence.Check("receipt f3a9", True, "request and answer match"),
        evidence.Check("anchored", True, "block 61"),
    ]
    bad = evidence.Check("round 17", False, "aggregate digest is 88d1…, record says 88d0…")
    report = evidence.Report("f3a9", good)
    monkeypatch.setattr(evidence, "read_zip", lambda _: {})
    monkeypatch.setattr(evidence, "verify", lambda *_: report)
    said = comity("verify", "evidence.zip", "--genesis", "5f" * 32)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[:2] == ["✓ receipt f3a9  request and answer match", "✓ anchored      block 61"]
    assert said.out.splitlines()[2].startswith("verified in ")
    report.checks.append(bad)
    said = comity("verify", "evidence.zip", "--genesis", "0x" + "5f" * 32)
    assert said.code == 4
    assert said.out.splitlines()[-1] == "✗ round 17      aggregate digest is 88d1…, record says 88d0…"
    assert said.err.startswith("error: evidence is not what was sealed\nhint: ")
    assert (
        json.loads(comity("--json", "verify", "evidence.zip", "--genesis", "5f" * 32).out)["data"]["verified"] is False
    )
    report.checks.clear()
    assert comity("verify", "evidence.zip", "--genesis", "5f" * 32).code == 4
