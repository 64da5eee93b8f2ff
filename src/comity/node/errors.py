"""What can go wrong in a node, as a tree; each leaf has a stable code, an exit code and, where it is raised, a hint.

ComityError
└── NodeError
    ├── BadConfig, NoHome, HomeBusy, LostVotes   before it runs
    ├── Unauthenticated, WrongHost, CrossOrigin, Forbidden   at the door
    ├── BadRequest, NotFound, TooLarge, Busy, Conflict       a request
    ├── PeerError: HandshakeRefused, PeerGone                other nodes
    └── ChildError: ChildGone, SignerRefused, RestartsExhausted   our own processes
"""

from __future__ import annotations

from comity.record.errors import ComityError


class NodeError(ComityError):
    """Anything that goes wrong in a node."""

    code = "node"


class BadConfig(NodeError):
    """A setting is unknown, of the wrong type or out of range."""

    code = "bad-config"
    exit_code = 2


class NoHome(NodeError):
    """The organisation's folder is absent or incomplete."""

    code = "no-home"


class HomeBusy(NodeError):
    """Another process has the organisation's folder."""

    code = "home-busy"


class LostVotes(NodeError):
    """The record of what this validator signed is gone: starting could make it contradict itself."""

    code = "lost-votes"


class Unauthenticated(NodeError):
    """No valid token, password or session."""

    code = "unauthenticated"
    exit_code = 3


class WrongHost(NodeError):
    """The Host header names somebody else: DNS rebinding is refused."""

    code = "wrong-host"
    exit_code = 3


class CrossOrigin(NodeError):
    """A page of another origin sent this."""

    code = "cross-origin"
    exit_code = 3


class Forbidden(NodeError):
    """The caller is known, but a role, a grant or a contract says no."""

    code = "forbidden"
    exit_code = 3


class BadRequest(NodeError):
    """A parameter or a body is not what the route takes."""

    code = "bad-request"


class NotFound(NodeError):
    """Nothing here has that name, or one may not know that it is here."""

    code = "not-found"


class TooLarge(NodeError):
    """A body is over its limit."""

    code = "too-large"


class Busy(NodeError):
    """A bounded queue is full, or a part is starting: try again."""

    code = "busy"
    exit_code = 5


class Conflict(NodeError):
    """The request contradicts what is, or names more than one thing."""

    code = "conflict"


class PeerError(NodeError):
    """A peer that broke the protocol, or cannot be reached."""

    code = "peer"
    exit_code = 5


class ChildError(NodeError):
    """The signer, the executor or a worker is gone or refused."""

    code = "child"
    exit_code = 5


class HandshakeRefused(PeerError):
    """The other end is not a member, not on our genesis, or does not speak the protocol."""

    code = "handshake-refused"


class PeerGone(PeerError):
    """No connection to that member, or it broke before the answer came."""

    code = "peer-gone"


class ChildGone(ChildError):
    """The process died, or is being restarted: what it was asked may or may not have happened."""

    code = "child-gone"


class SignerRefused(ChildError):
    """The signer will not sign this; `what` says why."""

    code = "signer-refused"
    exit_code = 3


class RestartsExhausted(ChildError):
    """A process died too often within its window and is left dead."""

    code = "restarts-exhausted"
    exit_code = 2
