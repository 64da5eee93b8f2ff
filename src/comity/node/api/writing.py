"""Routes that change something: each parses a body, asks the desk, and answers with the record as the view now has it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request

from comity.node import present
from comity.node.api.dispatch import Entry, body_of, person, upload_of
from comity.node.desk import TABLE_BYTES_MAX
from comity.node.errors import BadRequest, Unauthenticated
from comity.node.node import Node
from comity.record.types import Digest
from comity.store.blobs import READ_BYTES_MAX

BLOB_BYTES_MAX = READ_BYTES_MAX
Ref = Annotated[str, Meta(min_length=1, max_length=128)]
Refs = Annotated[list[Ref], Meta(max_length=64)]
BlobRef = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class GrantBody(Struct, forbid_unknown_fields=True):
    dataset: Ref
    to: Ref
    purposes: Refs
    until: int


class RevocationBody(Struct, forbid_unknown_fields=True):
    about: Ref
    because: str = ""


class RuleBody(Struct, forbid_unknown_fields=True):
    name: Ref
    f: int = 0


class StudyBody(Struct, forbid_unknown_fields=True):
    name: Ref
    code: BlobRef
    datasets: Refs
    roster: Refs
    purpose: Ref
    rule: RuleBody
    rounds: int
    quorum: int
    round_timeout_s: int = 60
    seed: int = 7


class TaskBody(Struct, forbid_unknown_fields=True):
    code: BlobRef
    inputs: Refs
    purpose: Ref
    arguments: dict[str, str] = {}
    limits: dict[str, int] | None = None


class VoteBody(Struct, forbid_unknown_fields=True):
    about: Ref
    choice: Ref
    because: str = ""


class ServiceBody(Struct, forbid_unknown_fields=True):
    name: Ref
    approvals: int
    time_lock_s: int


class DeployBody(Struct, forbid_unknown_fields=True, tag_field="action", tag="deploy"):
    service: Ref
    model: Ref


class AdmitBody(Struct, forbid_unknown_fields=True, tag_field="action", tag="admit"):
    member: dict[str, Any]


def _brief(node: Node, digest: Digest) -> Any:
    return present.brief(node.view, node.view.records[digest])


async def add_dataset(node: Node, request: Request) -> Any:
    query = request.query_params
    for name in ("name", "purpose", "licence", "consent"):
        if not query.get(name):
            raise BadRequest(
                f"a dataset needs `{name}`",
                why="the query has none",
                hint="comity add dataset FILE --purpose … --licence … --consent …",
            )
    async with upload_of(request, bytes_max=TABLE_BYTES_MAX) as file:
        digest = await node.desk.add_dataset(
            file,
            name=query["name"],
            purposes=query.getlist("purpose"),
            licence=query["licence"],
            consent=query["consent"],
        )
    return _brief(node, digest)


async def add_blob(node: Node, request: Request) -> Any:
    async with upload_of(request, bytes_max=BLOB_BYTES_MAX) as file:
        digest, size = await node.desk.add_blob(file, bytes_max=BLOB_BYTES_MAX)
    return {"digest": digest, "bytes": size}


async def grant(node: Node, request: Request) -> Any:
    body = await body_of(request, GrantBody)
    return _brief(
        node, await node.desk.grant(dataset=body.dataset, to=body.to, purposes=body.purposes, until=body.until)
    )


async def revoke(node: Node, request: Request) -> Any:
    body = await body_of(request, RevocationBody)
    return _brief(node, await node.desk.revoke(about=body.about, because=body.because))


async def study(node: Node, request: Request) -> Any:
    body = await body_of(request, StudyBody)
    digest = await node.desk.study(
        name=body.name, code=Digest(body.code), datasets=body.datasets, roster=body.roster, purpose=body.purpose,
        rule={"name": body.rule.name, "f": body.rule.f}, rounds=body.rounds, quorum=body.quorum,
        round_timeout_s=body.round_timeout_s, seed=body.seed,
    )  # fmt: skip
    return present.study_page(node.view, node.view.studies[digest])


async def task(node: Node, request: Request) -> Any:
    body = await body_of(request, TaskBody)
    digest = await node.desk.task(
        code=Digest(body.code), inputs=body.inputs, purpose=body.purpose, arguments=body.arguments, limits=body.limits
    )
    return present.task_page(node.view, digest)


async def vote(node: Node, request: Request) -> Any:
    body = await body_of(request, VoteBody)
    return _brief(
        node, await node.desk.vote(about=body.about, choice=body.choice, because=body.because, person=person(request))
    )


async def service(node: Node, request: Request) -> Any:
    body = await body_of(request, ServiceBody)
    return _brief(node, await node.desk.service(name=body.name, approvals=body.approvals, time_lock_s=body.time_lock_s))


async def proposal(node: Node, request: Request) -> Any:
    body: DeployBody | AdmitBody = await body_of(request, DeployBody | AdmitBody)  # type: ignore[arg-type]
    if isinstance(body, DeployBody):
        digest = await node.desk.propose_deployment(service=body.service, model=body.model)
    else:
        digest = await node.desk.propose_member(body.member)
    return present.proposal_page(node.view, digest)


async def login(node: Node, request: Request) -> Any:
    """A cookie cannot make another: only a token opens a new session."""
    if "authorization" not in request.headers:
        raise Unauthenticated("a login link needs a token", hint="comity login")
    secret = node.auth.mint_login(request.scope["credential"])
    return {"url": f"{node.url}/login/{secret}", "expires_s": node.login_s}


WRITING = (
    Entry("POST", "/api/v1/datasets", "operate", add_dataset),
    Entry("POST", "/api/v1/blobs", "operate", add_blob),
    Entry("POST", "/api/v1/grants", "approve", grant),
    Entry("POST", "/api/v1/revocations", "approve", revoke),
    Entry("POST", "/api/v1/studies", "operate", study),
    Entry("POST", "/api/v1/tasks", "operate", task),
    Entry("POST", "/api/v1/votes", "approve", vote),
    Entry("POST", "/api/v1/services", "operate", service),
    Entry("POST", "/api/v1/proposals", "operate", proposal),
    Entry("POST", "/api/v1/logins", "read", login),
)
