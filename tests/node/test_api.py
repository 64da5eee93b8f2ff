"""The HTTP API of a real node: docs/api.md is what is served, and whatever else is sent gets a clear no."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.node.api import ENTRIES, writing
from comity.node.config import SETTINGS
from support.live import TABLE, Live
from support.shapes import difference, examples
from support.story import TASK, Story, study_body, until

pytestmark = pytest.mark.net
PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ABSENT = "0" * 64
QUERY = {"name": "bad", "purpose": "diagnosis", "licence": "l", "consent": "c"}
Make = Callable[[Live, Story], Any]


# ── The page and the node ────────────────────────────────────────────────────────────────────────────────────────────
def test_every_route_is_on_the_page_and_the_page_knows_no_other() -> None:
    written = {(m, p.partition("?")[0]) for m, p in re.findall(r"(GET|POST) (/api/v1/[a-z{}/]+)", PAGE)}
    assert written == {(entry.method, entry.path.replace(":path", "")) for entry in ENTRIES}
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{service}", "/v2/models/{service}/ready"):
        assert f"{path}`" in PAGE or f"{path} ·" in PAGE
    for rest in ("POST /v2/models/{service}/infer", "POST /rpc", "GET /metrics", "GET /healthz", "GET /login/{secret}"):
        assert rest in PAGE


def test_the_page_says_which_role_each_route_wants() -> None:
    said = re.search(r"- \*\*Roles\*\*(.*?)\n- ", PAGE, re.DOTALL)
    assert said
    words = dict(re.findall(r"`(read|operate|approve|predict)`:\s(.*?)\.(?:\s|$)", said[1], re.DOTALL))
    for entry in ENTRIES:
        named = entry.path.rpartition("/")[2] if entry.path.endswith("verify") else entry.path.split("/")[3]
        if entry.method == "POST":
            assert f"`{named}`" in words[entry.role], entry
        else:
            assert entry.role == ("operate" if named == "logs" else "read"), entry


SHOWN: dict[str, Make] = {
    "GET /api/v1/status": lambda live, _: live.get("/api/v1/status"),
    "GET /api/v1/doctor": lambda live, _: live.get("/api/v1/doctor"),
    "GET /api/v1/config": lambda live, _: live.get("/api/v1/config"),
    "GET /api/v1/members": lambda live, _: live.get("/api/v1/members"),
    "GET /api/v1/logs": lambda live, _: live.get("/api/v1/logs"),
    "POST /api/v1/logins": lambda live, _: live.post("/api/v1/logins"),
    "GET /api/v1/records": lambda live, _: live.get("/api/v1/records", limit=3),
    "GET /api/v1/records/{ref}": lambda live, story: live.get(f"/api/v1/records/{story.study}"),
    "POST /api/v1/records/{ref}/verify": lambda live, story: live.post(f"/api/v1/records/{story.study}/verify"),
    "GET /api/v1/lineage/{ref}": lambda live, story: live.get(f"/api/v1/lineage/{story.study}"),
    "POST /api/v1/datasets": lambda live, _: live.add("shown"),
    "POST /api/v1/blobs": lambda live, _: live.post("/api/v1/blobs", b"shown"),
    "POST /api/v1/grants": lambda live, story: live.post(
        "/api/v1/grants", {"dataset": story.dataset, "to": "*", "purposes": ["billing"], "until": int(time.time()) + 60}
    ),
    "POST /api/v1/revocations": lambda live, _: live.post(
        "/api/v1/revocations", {"about": live.add("gone")["digest"], "because": "it ended"}
    ),
    "GET /api/v1/studies/{ref}": lambda live, story: live.get(f"/api/v1/studies/{story.study}"),
    "GET /api/v1/tasks/{ref}": lambda live, story: live.get(f"/api/v1/tasks/{story.task}"),
    "GET /api/v1/inbox": lambda live, story: inbox(live, story),
    "POST /api/v1/votes": lambda live, story: live.get(f"/api/v1/records/{story.proposal}")["referrers"][0],
    "GET /api/v1/proposals/{ref}": lambda live, story: live.get(f"/api/v1/proposals/{story.proposal}"),
    "POST /api/v1/services": lambda live, _: live.post(
        "/api/v1/services", {"name": "shown", "approvals": 1, "time_lock_s": 1}
    ),
    "GET /api/v1/services": lambda live, _: live.get("/api/v1/services"),
    "GET /api/v1/ledger": lambda live, _: live.get("/api/v1/ledger", limit=5),
    "GET /api/v1/ledger/{height}": lambda live, story: block_of(live, story.dataset),
}
EXAMPLES = [(route.partition("?")[0], data) for route, data in examples()]


def inbox(live: Live, story: Story) -> Any:
    """With an admission in it, which waits for a person."""
    member = {"name": "hillside", "org": "0x" + "31" * 20, "validator": "0x" + "77" * 20, "endpoint": "127.0.0.1:1"}
    made = live.post("/api/v1/proposals", {"action": "admit", "member": member})
    found = live.get("/api/v1/inbox")
    assert made["record"]["digest"] in [entry["record"]["digest"] for entry in found["entries"]]
    assert difference(dict(EXAMPLES)["GET /api/v1/proposals/{ref}"], made) == ""
    live.post("/api/v1/votes", {"about": made["record"]["digest"], "choice": "refuse", "because": "only a test"})
    return found


def block_of(live: Live, digest: str) -> Any:
    return live.get(f"/api/v1/ledger/{live.get(f'/api/v1/records/{digest}')['record']['anchor']['height']}")


def test_each_example_has_its_route_here() -> None:
    assert {route for route, _ in EXAMPLES} == set(SHOWN)


@pytest.mark.parametrize(("route", "data"), EXAMPLES, ids=[route for route, _ in EXAMPLES])
def test_what_is_served_has_the_shape_of_the_page(live: Live, story: Story, route: str, data: Any) -> None:
    assert difference(data, SHOWN[route](live, story)) == ""


def test_what_the_page_says_in_words(live: Live, story: Story) -> None:
    study = live.get(f"/api/v1/studies/{story.study}")
    assert (study["phase"], len(study["rounds"]), study["model"]["digest"]) == ("done", 2, story.model)
    assert study["rounds"][1]["took_part"] == study["rounds"][1]["attested"] == ["northfield"]
    states = {
        kind: one(live, kind)["state"] for kind in ("dataset", "grant", "task", "study", "model", "proposal", "vote")
    }
    assert states["vote"] is None
    for kind, state in states.items():
        row = re.search(rf"^\| {kind}[^|]*\| (.*) \|$", PAGE, re.MULTILINE)
        assert state is None or (row and f"`{state}`" in row[1]), (kind, state)
    assert {setting["name"] for setting in live.get("/api/v1/config")["settings"]} == {
        setting.name for setting in SETTINGS
    }
    answer = story.prediction
    assert answer["parameters"]["receipt"] == story.receipt
    assert len(story.receipt) == 64


def one(live: Live, kind: str) -> Any:
    return live.get("/api/v1/records", kind=kind, limit=1)["records"][0]


def test_bodies_on_the_page_have_the_fields_that_are_taken() -> None:
    shapes = {
        "grants": writing.GrantBody, "revocations": writing.RevocationBody, "studies": writing.StudyBody,
        "tasks": writing.TaskBody, "votes": writing.VoteBody, "services": writing.ServiceBody,
    }  # fmt: skip
    for name, shape in shapes.items():
        found = re.search(rf"### POST /api/v1/{name}\n.*?```json body\n(.*?)```", PAGE, re.DOTALL)
        assert found, name
        assert set(json.loads(found[1])) == set(shape.__struct_fields__), name


def test_a_post_answers_as_its_get(live: Live, story: Story) -> None:
    shown = dict(EXAMPLES)
    code = live.post("/api/v1/blobs", TASK)["digest"]
    task = live.post(
        "/api/v1/tasks", {"code": code, "inputs": ["story"], "purpose": "diagnosis", "limits": {"cpu_s": 5}}
    )
    assert difference(shown["GET /api/v1/tasks/{ref}"], task) == ""
    assert task["record"]["spec"]["limits"]["cpu_s"] == 5
    study = live.post("/api/v1/studies", study_body(live, "answers", story.dataset, rounds=1))
    assert difference(shown["GET /api/v1/studies/{ref}"], study) == ""
    until(lambda: live.get(f"/api/v1/tasks/{task['record']['digest']}")["receipt"])
    until(lambda: live.get(f"/api/v1/studies/{study['record']['digest']}")["model"])


def test_bytes_go_out_only_where_they_may(live: Live, story: Story) -> None:
    digest = live.post("/api/v1/blobs", TABLE + b"1.0,1,1\n")["digest"]
    with live.http("read") as http:
        assert http.get(f"/api/v1/blobs/{digest}").content == TABLE + b"1.0,1,1\n"
        answer = http.get(f"/api/v1/export/{story.receipt[:12]}")
        assert (answer.headers["content-type"], answer.content[:2]) == ("application/zip", b"PK")
        from hashlib import sha256

        for rows in (sha256(TABLE).hexdigest(), sha256(TABLE).hexdigest()[:12]):
            assert http.get(f"/api/v1/blobs/{rows}").status_code == 404
    assert refused(live, "/api/v1/blobs", TABLE, 403)["code"] == "forbidden"
    assert refused(live, "/api/v1/datasets", TABLE + b"1.0,1,1\n", 409, params=QUERY)["code"] == "conflict"
    with live.http("read") as http:
        assert http.get(f"/api/v1/blobs/{sha256(TABLE).hexdigest()}").status_code == 404


# ── References ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_record_has_many_names(live: Live, story: Story) -> None:
    first, second = live.add("named"), live.add("named")
    assert (first["spec"]["version"], second["spec"]["version"]) == (1, 2)
    for ref in ("named", "named@2", "northfield/named", "northfield/named@2", second["digest"][:12], second["digest"]):
        assert live.get(f"/api/v1/records/{ref}")["record"]["digest"] == second["digest"], ref
    assert live.get("/api/v1/records/named@1")["record"]["digest"] == first["digest"]
    assert live.get("/api/v1/lineage/northfield%2Fnamed@1")["focus"] == first["digest"]
    for ref in (
        "named@3",
        "riverside/named",
        "named@0",
        "Named",
        "nam",
        first["digest"][:3],
        "named@",
        "/named",
        "named/",
    ):
        with live.http() as http:
            assert http.get(f"/api/v1/records/{ref}").json()["error"]["code"] == "not-found", ref


def test_a_name_of_two_records_is_not_guessed(live: Live) -> None:
    dataset = live.add("twin")["digest"]
    service = live.post("/api/v1/services", {"name": "twin", "approvals": 1, "time_lock_s": 1})["digest"]
    with live.http() as http:
        answer = http.get("/api/v1/records/twin")
        assert answer.status_code == 409
        error = answer.json()["error"]
        assert (error["code"], error["exit_code"]) == ("conflict", 1)
        assert all(digest[:12] in error["why"] for digest in (dataset, service))
        assert http.get(f"/api/v1/records/{service[:12]}").status_code == 200
    # Where the kind is known there is nothing to guess.
    grant = {"dataset": "twin", "to": "*", "purposes": ["diagnosis"], "until": int(time.time()) + 60}
    assert live.post("/api/v1/grants", grant)["spec"]["dataset"] == dataset


def test_pages_of_records_join_without_seam(live: Live, story: Story) -> None:
    whole = [record["digest"] for record in live.get("/api/v1/records", limit=200)["records"]]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        page = live.get("/api/v1/records", **query)
        found += [record["digest"] for record in page["records"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert found == whole
    assert {r["kind"] for r in live.get("/api/v1/records", kind="round")["records"]} == {"round"}
    assert [r["digest"] for r in live.get("/api/v1/records", q=story.study[:8])["records"]] == [story.study]
    assert live.get("/api/v1/records", org="riverside") == {"records": [], "next": None}


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────────
def refused(live: Live, path: str, body: Any, status: int | tuple[int, ...], **rest: Any) -> dict[str, Any]:
    """The error of a POST that must fail so; nothing is anchored."""
    before = live.height()
    given_body = {"content": body} if isinstance(body, bytes) else {"json": body}
    with live.http() as http:
        answer = http.post(path, **given_body, **rest)
    assert answer.status_code in ((status,) if isinstance(status, int) else status), answer.text
    assert live.height() == before
    return clear(answer.json())


def clear(body: Any) -> dict[str, Any]:
    """An error that says what, and why or what to do."""
    assert set(body) == {"schema", "error"}
    assert body["schema"] == "comity/v1"
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "why", "hint", "exit_code"}
    assert error["message"]
    assert error["why"] or error["hint"]
    assert error["code"] not in ("internal", "error")
    assert "Traceback" not in str(body)
    return error


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("grants", b"", "truncated"),
        ("grants", b"{", "truncated"),
        ("grants", b"\xff\xfe", "malformed"),
        ("grants", b"[" * 200_000, "nested"),
        ("proposals", b'{"action":"admit","member":{"a":' + b"[" * 200_000, "nested"),
        ("grants", {"dataset": 1, "to": "*", "purposes": [], "until": 1}, "dataset"),
        ("grants", {"dataset": "a", "to": "*", "purposes": [], "until": 1, "more": 1}, "more"),
        ("grants", {"dataset": "story", "to": "nobody", "purposes": ["x1"], "until": 2**40}, "members are"),
        ("grants", {"dataset": "story", "to": "*", "purposes": ["x1"], "until": 2**60}, "until"),
        ("grants", {"dataset": "story", "to": "*", "purposes": ["x1"] * 65, "until": 2**40}, "purposes"),
        ("votes", {"about": "", "choice": "approve"}, "about"),
        ("votes", {"about": "x" * 129, "choice": "approve"}, "about"),
        ("services", {"name": "Bad Name", "approvals": 1, "time_lock_s": 1}, "name"),
        ("services", {"name": "fine", "approvals": 0, "time_lock_s": 1}, "approvals"),
        ("services", {"name": "fine", "approvals": 1.5, "time_lock_s": 1}, "approvals"),
        ("services", {"name": "fine", "approvals": True, "time_lock_s": 1}, "approvals"),
        ("proposals", {"action": "nothing"}, "action"),
        ("proposals", {"action": "admit", "member": {"name": "../x"}}, "member"),
        ("revocations", {"about": "story", "because": "a\u202eb"}, "because"),
        ("revocations", {"about": "story", "because": "x" * 2000}, "because"),
        ("tasks", {"code": "../../keys", "inputs": [], "purpose": "diagnosis"}, "code"),
        ("tasks", {"code": ABSENT, "inputs": [], "purpose": "diagnosis"}, "never came"),
    ],
)
def test_a_bad_body_is_told_what_is_wrong(live: Live, story: Story, path: str, body: Any, said: str) -> None:
    error = refused(live, f"/api/v1/{path}", body, 400)
    assert said in f"{error['message']} {error['why']}".lower() or said in error["why"], error


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"rounds": 0}, 400, "rounds"),
        ({"rounds": -1}, 400, "rounds"),
        ({"rounds": 10_001}, 403, "10000 rounds"),
        ({"quorum": 0}, 400, "quorum|updates"),
        ({"quorum": 2}, 400, "exceeds the roster"),
        ({"rule": {"name": "fedavg"}}, 400, "no aggregation rule"),
        ({"rule": {"name": "multi-krum", "f": 1}}, 400, "needs 5 updates"),
        ({"rule": {"name": "mean", "f": -1}}, 400, "f must"),
        ({"roster": ["northfield", "nobody"]}, 400, "no member `nobody`"),
        ({"roster": []}, 400, "roster"),
        ({"roster": ["northfield", "northfield"], "quorum": 1}, 400, "distinct"),
        ({"datasets": []}, 400, "datasets"),
        ({"datasets": ["absent"]}, 404, "no dataset"),
        ({"datasets": ["story-triage"]}, 404, "no dataset"),
        ({"seed": 2**63}, 400, "seed"),
        ({"name": "a" * 40}, 400, "name"),
        ({"code": ABSENT}, 400, "no code"),
    ],
)
def test_an_impossible_study_is_refused_with_the_reason(
    live: Live, story: Story, change: dict[str, Any], status: int, said: str
) -> None:
    body = study_body(live, "impossible", story.dataset, rounds=1) | change
    error = refused(live, "/api/v1/studies", body, status)
    assert re.search(said, f"{error['message']} {error['why']}"), error


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\x00\xff\xfe",
        b"def init(:",
        b"import nothing_of_this_name",
        b"raise SystemExit(0)",
        b"def init(): return 1",
    ],
)
def test_malformed_code_is_the_callers_to_mend(live: Live, story: Story, code: bytes) -> None:
    body = study_body(live, "broken", story.dataset, rounds=1)
    body["code"] = live.post("/api/v1/blobs", code)["digest"]
    error = refused(live, "/api/v1/studies", body, 400)
    assert error["exit_code"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"a,label\n", b"a,label\n1\n", b"a,label\n1,2,3\n", b"a,label\n1,\x00\n", b"a,label\n\xff\xfe,1\n", b"a,a\n1,2\n",
        b",\n1,2\n", ",".join(f"c{i}" for i in range(10_000)).encode() + b"\n1\n", b"PAR1" + b"\x00" * 50 + b"PAR1",
        b'a,label\n"1,2\n', b"a\n" + b"x" * 70_000 + b"\n",
    ],
)  # fmt: skip
def test_a_malformed_table_leaves_nothing(live: Live, content: bytes) -> None:
    blobs = files(live)
    error = refused(live, "/api/v1/datasets", content, 400, params=QUERY)
    assert error["code"] == "malformed-table"
    assert files(live) == blobs


def files(live: Live) -> list[Path]:
    """The node's blobs, and what was being written of them."""
    return sorted(path for path in (live.home / "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize("missing", ["name", "purpose", "licence", "consent"])
def test_a_dataset_says_what_it_lacks(live: Live, missing: str) -> None:
    error = refused(live, "/api/v1/datasets", TABLE, 400, params={**QUERY, missing: ""})
    assert f"`{missing}`" in error["message"]
    refused(live, "/api/v1/datasets", TABLE, 400, params={**QUERY, missing: "x" * 300 + "\n"})


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("records?limit=0", 400), ("records?limit=201", 400), ("records?limit=-1", 400), ("records?limit=", 400),
        ("records?limit=1e2", 400), ("records?limit=١", 400), ("records?limit=" + "9" * 30, 400), ("records?before=x", 400),
        ("records?before=1.", 400), ("records?before=1.2.3", 400), ("records?before=" + "1" * 40, 400), ("ledger?limit=0", 400),
        ("ledger?before=-1", 400), ("ledger/x", 404), ("ledger/999999", 404), ("logs?limit=2001", 400), ("logs?level=trace", 400),
        ("nothing", 404), ("studies/story", 404), ("tasks/story", 404), ("proposals/story", 404), ("blobs/zz", 404),
    ],
)  # fmt: skip
def test_a_bad_question_is_answered_so(live: Live, story: Story, path: str, status: int) -> None:
    with live.http() as http:
        answer = http.get(f"/api/v1/{path}")
    assert answer.status_code == status, answer.text
    clear(answer.json())


def test_asking_twice_makes_one_record(live: Live, story: Story) -> None:
    terms = {"dataset": story.dataset, "to": "*", "purposes": ["research"], "until": int(time.time()) + 600}
    first = live.post("/api/v1/grants", terms)
    assert live.post("/api/v1/grants", terms) == first


# ── Whatever else ────────────────────────────────────────────────────────────────────────────────────────────────────
WRONG: dict[str, dict[str, Any]] = {
    # Each is wrong in two places, so that no change of one field makes it right.
    "grants": {"dataset": "absent", "to": "*", "purposes": ["diagnosis"], "until": 1},
    "revocations": {"about": "absent", "because": "\u0007"},
    "studies": {
        "name": "S", "code": ABSENT, "datasets": ["absent"], "roster": ["northfield"], "purpose": "diagnosis",
        "rule": {"name": "mean", "f": 0}, "rounds": 0, "quorum": 1, "round_timeout_s": 60, "seed": 1,
    },
    "tasks": {"code": ABSENT, "inputs": ["absent"], "purpose": "P", "arguments": {}, "limits": None},
    "votes": {"about": "absent", "choice": "perhaps", "because": ""},
    "services": {"name": "S", "approvals": 99, "time_lock_s": 1},
    "proposals": {"action": "admit", "member": {"name": "northfield", "org": "0x0", "validator": None, "endpoint": ""}},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40)
    | st.sampled_from(["story", "*", "northfield", ABSENT, "a" * 64, "../../keys", "northfield/story@1", "-1", "1" * 300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_every_route_that_takes_json_is_fuzzed() -> None:
    """`datasets` and `blobs` take bytes, `logins` and `verify` nothing."""
    taken = {entry.path.rpartition("/")[2] for entry in ENTRIES if entry.method == "POST"}
    assert taken - set(WRONG) == {"datasets", "blobs", "logins", "verify"}


@pytest.mark.parametrize("route", WRONG)
@settings(max_examples=60)
@given(data=st.data())
def test_no_body_surprises_it(live: Live, story: Story, route: str, data: st.DataObject) -> None:
    wrong = WRONG[route]
    kind = data.draw(st.sampled_from(["field", "extra", "json", "bytes", "cut"]))
    if kind == "field":
        content = json.dumps({**wrong, data.draw(st.sampled_from(sorted(wrong))): data.draw(JSON)}).encode()
    elif kind == "extra":
        content = json.dumps({**wrong, data.draw(st.text(max_size=12)): data.draw(JSON)}).encode()
    elif kind == "json":
        content = json.dumps(data.draw(JSON)).encode()
    elif kind == "bytes":
        content = data.draw(st.binary(max_size=200))
    else:
        whole = json.dumps(wrong).encode()
        content = whole[: data.draw(st.integers(0, len(whole) - 1))]
    refused(live, f"/api/v1/{route}", content, (400, 403, 404, 409))


@settings(max_examples=60)
@given(
    content=st.binary(max_size=300) | st.text('a1,"\n\r\0\ufeff ', max_size=60).map(str.encode),
    name=st.text(max_size=8),
)
def test_no_table_surprises_it(live: Live, content: bytes, name: str) -> None:
    refused(live, "/api/v1/datasets", content, 400, params={**QUERY, "name": f"{name}!"})


@settings(max_examples=60)
@given(ref=st.text(min_size=1, max_size=140))
def test_no_reference_surprises_it(live: Live, ref: str) -> None:
    from urllib.parse import quote

    place = quote(ref.replace("/", "-"), safe="")
    for method, path in (
        ("GET", "records"),
        ("GET", "lineage"),
        ("GET", "export"),
        ("GET", "studies"),
        ("GET", "blobs"),
    ):
        with live.http() as http:
            answer = http.request(method, f"/api/v1/{path}/-{place}")
        assert answer.status_code == 404, answer.text
        clear(answer.json())
    refused(live, f"/api/v1/records/-{place}/verify", None, 404)


def test_after_all_of_this_it_is_well(live: Live) -> None:
    assert live.get("/api/v1/status")["health"] == "ok"
    assert live.get("/api/v1/logs", level="error", limit=2000)["lines"] == []
