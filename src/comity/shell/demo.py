"""`comity demo`: the main job from end to end on real data, each real command printed before its real output.

The storyboard is six acts and a table. It uses only what a person could type; the helpers at the end play the public data's owner.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from comity.record.errors import ComityError
from comity.shell import demo_data
from comity.shell.dev import Network, banner, folder, interruptible
from comity.shell.privacy import traces_of

ROUNDS = 20
SERVICE = "triage"
HOSPITALS = ("northfield", "riverside", "lakeside")
REGULATOR = "health-office"
WAIT_S_MAX = 60.0
COMMAND_S_MAX = 120.0
STUDY = Path(__file__).parent / "examples" / "study.py"


class DemoError(ComityError):
    """An act did not end as the storyboard says."""

    code = "demo"
    exit_code = 2


@dataclass
class Stage:
    """Prints and runs commands as a person at one organisation's keyboard would."""

    network: Network
    work: Path
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str = "") -> None:
        print(text, flush=True)  # noqa: T201

    def act(self, number: int, title: str) -> None:
        self.say(f"\n{number}  {title}")

    def run(self, org: str | None, *arguments: str, expect: int = 0, quiet: bool = False) -> str:
        """Run `comity [--org ORG] …`, print it and what it prints; returns its stdout. Raises `DemoError` on another exit code."""
        words = [*(("--org", org) if org else ()), *arguments]
        if not quiet:
            self.say(f"$ comity {shlex.join(words)}")
        environment = {**os.environ, "COMITY_HOME": str(self.network.root)}
        done = subprocess.run(
            [sys.executable, "-m", "comity.shell.cli", *words], cwd=self.work, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT if not quiet else subprocess.PIPE, text=True, timeout=COMMAND_S_MAX,
        )  # fmt: skip
        if not quiet:
            self.say(done.stdout.rstrip())
            if expect:
                self.say(f"exit {done.returncode}")
        if done.returncode != expect:
            raise DemoError(
                f"`comity {shlex.join(words)}` ended with exit code {done.returncode}",
                why=(done.stderr or done.stdout or "").strip(),
            )
        return done.stdout

    def data(self, org: str, *arguments: str) -> dict[str, object]:
        """The `data` of a command under `--json`, not shown."""
        answer = json.loads(self.run(org, "--json", *arguments, quiet=True))["data"]
        if not isinstance(answer, dict):
            raise DemoError(f"unexpected answer of {arguments[0]}")
        return answer

    def until(self, what: str, org: str, path: str, reached: str) -> dict[str, object]:
        """Wait until the record at an API path is in a state."""
        client = self.network.client(org)
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline:
            answer = client.connection.get(path)
            if answer["record"]["state"] == reached:
                return dict(answer)
            time.sleep(0.2)
        raise DemoError(f"{what} is not `{reached}` after {WAIT_S_MAX:.0f} s", hint=f"comity --org {org} doctor")


def run(*, port: int = 7400, keep: Path | None = None, stay: bool | None = None) -> None:
    """Play the demo; afterwards keep the network up until Ctrl-C if `stay` (by default: when a person is watching)."""
    stay = sys.stdout.isatty() if stay is None else stay
    with folder(keep) as root, interruptible():
        network = Network(root, port=port, block_period_ms=250)
        stage = Stage(network, root / "desk")
        stage.work.mkdir()
        with network:
            play(stage)
            if stay:
                _stay(stage)


def play(stage: Stage) -> None:
    """All acts, in order, on a network that runs."""
    tables = demo_data.load(HOSPITALS)
    stage.say("\n".join(banner(stage.network)))
    _add(stage, tables)
    study = _train(stage)
    _deploy(stage)
    receipt = _predict(stage, tables)
    _verify(stage, receipt)
    _tamper(stage)
    _private(stage, tables)
    _table(stage, tables, study)
    stage.say(f"\nscenario {time.monotonic() - stage.began:.0f} s")
    _login(stage)


def _add(stage: Stage, tables: demo_data.Tables) -> None:
    stage.act(1, "Each hospital adds its own patients. Bytes stay where they are.")
    for name, (features, labels) in tables.hospitals.items():
        path = stage.work / name / "breast.csv"
        path.parent.mkdir()
        demo_data.write_csv(path, tables.columns, features, labels)
        stage.run(
            name,
            "add",
            "dataset",
            f"{name}/breast.csv",
            "--purpose",
            "diagnosis",
            "--licence",
            "CC-BY-4.0",
            "--consent",
            "broad",
        )


def _train(stage: Stage) -> str:
    stage.act(2, "Northfield proposes to train together. Nothing runs yet.")
    (stage.work / "study.py").write_bytes(STUDY.read_bytes())
    reads = [word for name in HOSPITALS for word in ("--reads", f"{name}/breast@1")]
    stage.run(
        "northfield", "train", "breast-mlp", "--code", "study.py", *reads, "--purpose", "diagnosis", "--rule", "multi-krum",
        "--rounds", str(ROUNDS), "--quorum", "3", "--no-watch",
    )  # fmt: skip
    study = stage.network.client("northfield").show("breast-mlp").record.digest
    stage.run("lakeside", "inbox")
    stage.run("riverside", "approve", study[:8])
    stage.run("lakeside", "approve", study[:8])
    stage.run("northfield", "watch", study[:8])
    stage.until("the study", "northfield", f"/api/v1/studies/{study}", "concluded")
    return study


def _deploy(stage: Stage) -> None:
    stage.act(
        3, f'The joint model is proposed for the service "{SERVICE}", evaluated at every site, voted on, deployed.'
    )
    stage.run("northfield", "add", "service", SERVICE, "--approvals", "3", "--time-lock", "2")
    stage.run("northfield", "deploy", "breast-mlp@1", "--service", SERVICE, "--no-watch")
    proposals = stage.network.client("northfield").connection.get("/api/v1/records", kind="proposal")["records"]
    proposal = str(proposals[0]["digest"])
    client, deadline = stage.network.client(REGULATOR), time.monotonic() + WAIT_S_MAX
    while len(client.connection.get(f"/api/v1/proposals/{proposal}")["evaluations"]) < len(HOSPITALS):
        if time.monotonic() > deadline:
            raise DemoError("not every hospital has evaluated the model", hint="comity --org lakeside doctor")
        time.sleep(0.2)
    stage.run(REGULATOR, "inbox")
    for org in ("riverside", "lakeside", REGULATOR):
        stage.run(org, "approve", proposal[:8])
    stage.run("northfield", "watch", proposal[:8])


def _predict(stage: Stage, tables: demo_data.Tables) -> str:
    stage.act(4, "A prediction, and its receipt.")
    row = dict(zip(tables.columns, map(float, tables.held_out[0][0]), strict=True))
    (stage.work / "patient.json").write_text(json.dumps(row))
    answer = stage.run("lakeside", "predict", SERVICE, "patient.json")
    return str(json.loads(answer)["receipt"])


def _verify(stage: Stage, receipt: str) -> None:
    stage.act(5, "The regulator, offline, with nothing but the genesis digest.")
    stage.run("lakeside", "export", receipt[:12], "--to", "evidence.zip")
    stage.run(None, "verify", "evidence.zip", "--genesis", stage.network.digest)


def _tamper(stage: Stage) -> None:
    stage.act(6, "Someone changes one byte.")
    source, out = stage.work / "evidence.zip", io.BytesIO()
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        target = max(
            (n for n in before.namelist() if n.startswith("blobs/")), key=lambda n: before.getinfo(n).file_size
        )
        for name in before.namelist():
            data = bytearray(before.read(name))
            if name == target:
                data[len(data) // 2] ^= 1
            after.writestr(name, bytes(data))
    (stage.work / "tampered.zip").write_bytes(out.getvalue())
    stage.run(None, "verify", "tampered.zip", "--genesis", stage.network.digest, expect=4)


def _private(stage: Stage, tables: demo_data.Tables) -> None:
    stage.say(
        "\nRaw data stayed home: every file of every node searched for every patient's values, as text and as binary numbers."
    )
    for owner, (features, _) in tables.hospitals.items():
        nodes = [stage.network.root / org.name for org in stage.network.organisations]
        searched, found = traces_of(features, nodes)
        _, control = traces_of(features, [stage.work / owner])
        stage.say(
            f"  {owner:16}{len(features)} rows · {searched / 1e6:.1f} MB searched at all {len(nodes)} nodes, its own among them · "
            f"{found} found · control: {control} found in its own file on the desk"
        )
        if found or control < len(features):
            raise DemoError(
                f"{found} rows of {owner} were found in the clear", why=f"control found {control} of {len(features)}"
            )


def _table(stage: Stage, tables: demo_data.Tables, study: str) -> None:
    code = load_study()
    pooled = _pool(tables)
    alone = {
        n: demo_data.accuracy_alone(code, tables.columns, t, tables.held_out, ROUNDS)
        for n, t in tables.hospitals.items()
    }
    together = _served_accuracy(stage, tables)
    everything = demo_data.accuracy_alone(code, tables.columns, pooled, tables.held_out, ROUNDS)
    figures = "  ".join(f"{name} {value:.3f}".replace("0.", ".") for name, value in alone.items())
    stage.say(f"\n{'':14}{'alone':56}{'together':11}pooled (for comparison only)")
    stage.say(f"{'accuracy':14}{figures:56}{together:<11.3f}{everything:.3f}")
    stage.say(
        f"{'':14}on {len(tables.held_out[1])} held-out patients of no hospital; `together` is the service's own answers over HTTP"
    )


def _pool(tables: demo_data.Tables) -> tuple[object, object]:
    import numpy as np

    parts = list(tables.hospitals.values())
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _served_accuracy(stage: Stage, tables: demo_data.Tables) -> float:
    features, labels = tables.held_out
    answer = stage.network.client("riverside").predict(SERVICE, [[float(v) for v in row] for row in features])
    return sum(int(a) == int(b) for a, b in zip(answer.outputs["label"], labels, strict=True)) / len(labels)


def load_study() -> ModuleType:
    """The demo's study code as a module, to run the comparison that only public data allows."""
    spec = spec_from_file_location("comity_demo_study", STUDY)
    if spec is None or spec.loader is None:
        raise DemoError("the demo's study code is missing", why=str(STUDY))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _login(stage: Stage) -> None:
    stage.say("\nLook around (opens once):")
    stage.run(REGULATOR, "login")


def _stay(stage: Stage) -> None:
    stage.say("\nThe network keeps running; Ctrl-C stops it and removes its folder.")
    signal.sigwait([signal.SIGINT, signal.SIGTERM])
