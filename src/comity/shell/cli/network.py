"""Commands that make, start and remove nodes. What they do stands in `node.app`, `shell.dev` and `shell.demo`."""

from __future__ import annotations

import shutil
from pathlib import Path

from comity.shell.credentials import choose, home_folder
from comity.shell.errors import BadUsage, NoCredentials, Refused
from comity.shell.render import words
from comity.shell.render.talk import Talk

DEFAULT_PORT = 7400


def dev(talk: Talk, org: str | None, port: int | None, keep: str | None) -> None:
    from comity.shell import dev as network

    del talk, org
    network.run(port=port or DEFAULT_PORT, keep=Path(keep) if keep else None)


def demo(talk: Talk, org: str | None, port: int | None, keep: str | None, stay: bool | None) -> None:
    from comity.shell import demo as story

    del talk, org
    story.run(port=port or DEFAULT_PORT, keep=Path(keep) if keep else None, stay=stay)


def init(talk: Talk, org: str | None, name: str, port: int | None, person: str | None) -> None:
    from comity.node import founding

    _same(org, name)
    root = home_folder() / name
    digest = founding.init(root, org=name, port=port or DEFAULT_PORT, person=person or "operator")
    talk.data({"org": name, "genesis": digest}, f"{name}  genesis {digest}")
    talk.say(f"made in {root}; start it: comity --org {name} up")


def join(
    talk: Talk, org: str | None, name: str, genesis: str, digest: str, port: int | None, person: str | None
) -> None:
    from comity.node import founding

    _same(org, name)
    try:
        data = Path(genesis).read_bytes()
    except OSError as error:
        raise Refused(f"`{genesis}` cannot be read", why=(error.strerror or "").lower()) from None
    member = founding.join(
        home_folder() / name, data, digest, org=name, port=port or DEFAULT_PORT, person=person or "operator"
    )
    command = f"comity admit {name} --address {member['org']} --validator {member['validator']} --endpoint {member['endpoint']}"
    talk.data({**member, "command": command}, command)
    talk.say(f"give this to a member; once enough have approved: comity --org {name} up")


def up(talk: Talk, org: str | None, port: int | None, vote_from: int | None) -> None:
    from comity.node.app import run
    from comity.shell.console import routes

    del talk
    run(home_folder() / choose(org), flags={"port": port}, mounts=[routes], vote_from=vote_from or 0)


def uninstall(talk: Talk, org: str | None, yes: bool | None) -> None:
    name = choose(org)
    root = home_folder() / name
    if not (root / "credentials.json").is_file():
        raise NoCredentials(f"no organisation `{name}` on this machine", why=f"nothing at {root}")
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    data = {"folder": str(root), "files": len(files), "bytes": total, "removed": bool(yes)}
    lines = [f"{root}  {words.plural(len(files), 'file')}, {words.size(total)}: keys, ledger, blobs, settings"]
    if not yes:
        talk.data(data, *lines)
        talk.say("hint: nothing was removed; the keys exist nowhere else. To remove all this: comity uninstall --yes")
        return
    _not_running(root, name)
    shutil.rmtree(root)
    talk.data(data, f"removed {lines[0]}")


def _not_running(root: Path, name: str) -> None:
    """Refuse while a node holds the folder."""
    import fcntl

    lock = root / "lock"
    if not lock.exists():
        return
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"the node of `{name}` is running", hint="stop it first") from None


def _same(org: str | None, name: str) -> None:
    if org not in (None, name):
        raise BadUsage(f"--org {org} and `{name}` differ", hint=f"comity init {name}")
