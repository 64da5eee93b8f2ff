"""Commands about evidence: export, and verify, which uses no network and no node."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from comity.record.types import Hash32
from comity.shell.cli.speak import connect
from comity.shell.errors import BadUsage, NodeFault, Refused, VerificationFailed
from comity.shell.render import words
from comity.shell.render.talk import Talk, table
from comity.shell.wire import ANSWER_BYTES_MAX, segment

_DIGEST = re.compile(r"(?:0x)?([0-9a-f]{64})\Z")


def export(talk: Talk, org: str | None, record: str, to: str) -> None:
    connection = connect(org)
    answer = connection.request("GET", f"/api/v1/export/{segment(record)}", bytes_max=ANSWER_BYTES_MAX)
    if answer.status != 200:
        connection.data(answer)
        raise NodeFault(f"the node answered {answer.status} instead of a bundle")
    path = Path(to)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(answer.body)
        os.replace(part, path)  # noqa: PTH105  # Whole or not at all.
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Refused(f"`{to}` cannot be written", why=(error.strerror or "").lower()) from None
    talk.data({"file": to, "bytes": len(answer.body)}, f"{to}  {words.size(len(answer.body))}")
    talk.say(f"check it anywhere, without a node: comity verify {to} --genesis DIGEST")


def verify(talk: Talk, org: str | None, bundle: str, genesis: str) -> int:
    """Offline: `org` plays no part, and no socket is opened."""
    del org
    trusted = _DIGEST.match(genesis)
    if trusted is None:
        raise BadUsage(
            "--genesis wants the whole digest, 64 hexadecimal characters",
            hint="comity status --json, at a member you trust",
        )
    from comity.ledger import evidence

    began = time.monotonic()
    try:
        report = evidence.verify(evidence.read_zip(Path(bundle)), Hash32(bytes.fromhex(trusted[1])))
    except OSError as error:
        raise Refused(f"`{bundle}` cannot be read", why=(error.strerror or "").lower()) from None
    seconds = time.monotonic() - began
    failed = [check for check in report.checks if not check.ok]
    rows = [
        (talk.paint("✓", "good") if check.ok else talk.paint("✗", "bad"), check.name, check.detail)
        for check in report.checks
    ]
    lines = [
        f"{icon} {rest}" for icon, rest in zip((row[0] for row in rows), table([row[1:] for row in rows]), strict=True)
    ]
    data = {
        "verified": not failed and bool(rows), "seconds": f"{seconds:.3f}",
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in report.checks],
    }  # fmt: skip
    if data["verified"]:
        talk.data(data, *lines, f"verified in {seconds:.1f} s, no network used")
        return 0
    hint = report.hint or "ask another member for their export of the same record"
    broken = VerificationFailed("evidence is not what was sealed", hint=hint)
    talk.data(data, *lines)
    if not talk.as_json:
        talk.error(broken)
    return broken.exit_code
