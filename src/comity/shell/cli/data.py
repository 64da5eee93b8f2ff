"""Commands about data: add dataset, grant, revoke, request."""

from __future__ import annotations

from comity.shell.cli.speak import connect, last_moment, opened, slug
from comity.shell.render import words
from comity.shell.render.talk import Talk
from comity.shell.wire import segment


def add_dataset(
    talk: Talk,
    org: str | None,
    file: str,
    purpose: list[str],
    licence: str,
    consent: str,
    name: str | None,
    target: str | None,
) -> None:
    connection = connect(org)
    with opened(file) as body:
        brief = connection.upload(
            "/api/v1/datasets",
            body,
            name=name or slug(file),
            purpose=purpose,
            licence=licence,
            consent=consent,
            target=target,
        )
    spec = brief["spec"]
    shape = f"{spec['rows']:,} rows × {words.plural(len(spec['columns']), 'column')}"
    talk.data(
        brief,
        f"dataset  {words.title(brief)}  {words.digest(brief['digest'])}   {shape}   commitment {words.anchored(brief)}",
    )


def grant(talk: Talk, org: str | None, dataset: str, to: str, purpose: list[str], until: str) -> None:
    body = {"dataset": dataset, "to": to, "purposes": purpose, "until": last_moment(until)}
    brief = connect(org).post("/api/v1/grants", body)
    line = f"grant    {dataset} {words.title(brief)}  {words.digest(brief['digest'])}   for {words.listed(purpose)}, until {until}"
    talk.data(brief, f"{line}   {words.anchored(brief)}")


def revoke(talk: Talk, org: str | None, record: str, because: str) -> None:
    brief = connect(org).post("/api/v1/revocations", {"about": record, "because": because})
    talk.data(brief, f"revoked  {words.digest(brief['spec']['about'])}   {words.anchored(brief)}")


def request(talk: Talk, org: str | None, dataset: str, purpose: str) -> None:
    connection = connect(org)
    page = connection.get(f"/api/v1/records/{segment(dataset)}")
    brief = page["record"]
    grants = [
        b
        for b in page["referrers"]
        if b["kind"] == "grant" and b["state"] == "valid" and purpose in b["spec"]["purposes"]
    ]
    asker = connection.org or "you"
    valid = [b for b in grants if b["spec"]["grantee"] in ("*", asker)]
    owner, command = (
        brief["org"],
        f"comity grant {words.title(brief)} --to {asker} --purpose {purpose} --until YYYY-MM-DD",
    )
    data = {"record": brief, "ask": owner, "command": command, "grants": valid}
    if owner == connection.org:
        talk.data(data, f"{words.full_title(brief)} is your own")
    elif valid:
        until = words.day(max(b["spec"]["until"] for b in valid))
        talk.data(data, f"{words.full_title(brief)} is granted for {purpose} already, until {until}")
    else:
        talk.data(data, f"ask {owner} for {words.full_title(brief)}; they would type:", f"  {command}")
