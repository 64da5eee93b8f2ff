"""Every command, declared once. Handlers are named, not imported: see the modules beside."""

from __future__ import annotations

from comity.shell.cli.grammar import Argument, Command

KINDS = (
    "dataset", "grant", "task", "app", "study", "model", "service", "proposal", "offer",
    "receipt", "round", "evaluation", "vote", "revocation",
)  # fmt: skip
RULES = ("mean", "median", "trimmed-mean", "multi-krum", "norm-bound")
REF = "a digest, a prefix of one (4 characters or more), or [ORG/]NAME[@VERSION]"

NODE, DATA, LEARN, DECIDE, SERVE, EVIDENCE, LOOK, SHELL = (
    "Nodes", "Data", "Work", "Decisions", "Services", "Evidence", "Looking around", "This program",
)  # fmt: skip

_PORT = Argument("--port", "the base port: API and console; peers use the next one", "PORT", type=int)
_PURPOSE = Argument("--purpose", "what the data is used for", "PURPOSE")
_BECAUSE = Argument("--because", "the reason, kept on the ledger", "TEXT", required=True)
_WATCH = Argument("--watch", "follow until it is done (default: on a terminal)", negatable=True)

COMMANDS: tuple[Command, ...] = (
    Command(("dev",), NODE, "run four organisations on this machine, for play", "network:dev", (
        _PORT,
        Argument("--keep", "keep the network in this folder instead of a temporary one", "FOLDER"),
    ), "The same code, authentication and policy as in production; only the keys are derived from names, hence worthless."),
    Command(("demo",), NODE, "play the whole story on real data, each command printed before its output", "network:demo", (
        _PORT,
        Argument("--keep", "keep the network in this folder instead of a temporary one", "FOLDER"),
        Argument("--stay", "keep the network up afterwards (default: on a terminal)", negatable=True),
    )),
    Command(("init",), NODE, "make an organisation and found a network", "network:init", (
        Argument("name", "the organisation's name"), _PORT,
        Argument("--person", "who speaks when you approve or refuse", "NAME"),
    ), examples=("comity init northfield",)),
    Command(("join",), NODE, "make an organisation and join a network", "network:join", (
        Argument("name", "the organisation's name"),
        Argument("--genesis", "the network's genesis file, from any member", "FILE", required=True),
        Argument("--digest", "the genesis digest, from a member you trust", "DIGEST", required=True), _PORT,
        Argument("--person", "who speaks when you approve or refuse", "NAME"),
    ), "Prints what an existing member gives to `comity admit`."),
    Command(("up",), NODE, "run the organisation's node", "network:up", (
        _PORT, Argument("--vote-from", "after restoring a backup: sign no vote below this height", "HEIGHT", type=int),
    )),
    Command(("uninstall",), NODE, "remove an organisation from this machine; says what it would remove", "network:uninstall", (
        Argument("--yes", "do it"),
    )),
    Command(("add", "dataset"), DATA, "give a table to your node; its bytes stay there", "data:add_dataset", (
        Argument("file", "a CSV or Parquet file, or - for standard input"),
        Argument("--purpose", "a purpose it may be used for", "PURPOSE", required=True, repeat=True),
        Argument("--licence", "its licence", "TEXT", required=True),
        Argument("--consent", "the consent it rests on", "TEXT", required=True),
        Argument("--name", "its name (default: the file's)", "NAME"),
        Argument("--target", "the column that a study predicts", "COLUMN"),
    ), examples=("comity add dataset breast.csv --purpose diagnosis --licence CC-BY-4.0 --consent broad",)),
    Command(("grant",), DATA, "let another organisation use a dataset", "data:grant", (
        Argument("dataset", REF),
        Argument("--to", "the organisation, or * for every member", "ORG", required=True),
        Argument("--purpose", "a purpose it may be used for", "PURPOSE", required=True, repeat=True),
        Argument("--until", "the last day, as YYYY-MM-DD", "DATE", required=True),
    ), examples=("comity grant breast@1 --to riverside --purpose diagnosis --until 2027-12-31",)),
    Command(("revoke",), DATA, "take back a grant, a dataset or an offer of yours", "data:revoke", (
        Argument("record", REF), _BECAUSE,
    )),
    Command(("request",), DATA, "say whom to ask for a dataset, and for what", "data:request", (
        Argument("dataset", REF), Argument("--purpose", "what you want it for", "PURPOSE", required=True),
    )),
    Command(("train",), LEARN, "propose a study; nothing runs until the whole roster has approved", "work:train", (
        Argument("name", "the study's name; the model is called the same"),
        Argument("--code", "the study's code, a Python file", "FILE", required=True),
        Argument("--rule", "how updates are joined", "RULE", default="mean", choices=RULES),
        Argument("--faulty", "how many bad updates the rule must withstand", "F", type=int, default=0),
        Argument("--rounds", "how many rounds", "N", type=int, default=10),
        Argument("--quorum", "how many must take part in a round (default: the whole roster)", "Q", type=int),
        Argument("--reads", "a dataset to train on (default: every member's dataset called NAME)", "ORG/DATASET@V", repeat=True),
        Argument("--roster", "an organisation that takes part (default: the datasets' owners)", "ORG", repeat=True),
        _PURPOSE,
        Argument("--timeout", "seconds a round waits for the late", "SECONDS", type=int, default=60),
        Argument("--seed", "the seed of every random choice", "N", type=int, default=1), _WATCH,
    ), examples=("comity train breast --code study.py --rule multi-krum --rounds 30 --quorum 3",)),
    Command(("run",), LEARN, "run code on data, in a sandbox where the data is", "work:run", (
        Argument("file", "the task's code, a Python file"),
        Argument("--reads", "a dataset that it reads", "ORG/DATASET@V", repeat=True),
        _PURPOSE._replace(required=True),
        Argument("--set", "an argument for the code", "NAME=VALUE", repeat=True),
        Argument("--cpu", "limit of processor time in seconds", "SECONDS", type=int),
        Argument("--wall", "limit of time in seconds", "SECONDS", type=int),
        Argument("--memory", "limit of memory in bytes", "BYTES", type=int), _WATCH,
    )),
    Command(("watch",), LEARN, "follow a study, a proposal or a task until it is done", "work:watch", (Argument("record", REF),)),
    Command(("inbox",), DECIDE, "what waits for your organisation's decision", "decide:inbox"),
    Command(("approve",), DECIDE, "vote for a study or a proposal", "decide:approve", (
        Argument("record", REF), _BECAUSE._replace(required=False),
    )),
    Command(("refuse",), DECIDE, "vote against a study or a proposal", "decide:refuse", (Argument("record", REF), _BECAUSE)),
    Command(("admit",), DECIDE, "propose a new member", "decide:admit", (
        Argument("name", "its name"),
        Argument("--address", "the address of its organisation key", "0x…", required=True),
        Argument("--validator", "the address of its validator key, if it shall vote on blocks", "0x…"),
        Argument("--endpoint", "where its node listens for peers", "HOST:PORT", required=True),
    )),
    Command(("add", "service"), SERVE, "define a service and how many must approve what stands behind it", "serve:add_service", (
        Argument("name", "the service's name"),
        Argument("--approvals", "how many members must approve a model (default: the quorum of validators)", "N", type=int),
        Argument("--time-lock", "seconds between the last vote and the switch", "SECONDS", type=int, default=5),
    )),
    Command(("deploy",), SERVE, "propose that a service point at a model", "serve:deploy", (
        Argument("model", REF), Argument("--service", "the service's name", "SERVICE", required=True), _WATCH,
    ), "To roll back, deploy the model before.", ("comity deploy breast-mlp@1 --service triage",)),
    Command(("predict",), SERVE, "ask a service; the answer comes with its receipt", "serve:predict", (
        Argument("service", "the service's name"),
        Argument("file", "JSON: a row of numbers, rows, named values, or a KServe v2 request; - for standard input"),
    )),
    Command(("export",), EVIDENCE, "write the evidence of a record or a prediction's receipt", "evidence:export", (
        Argument("record", f"a receipt's digest, or {REF}"), Argument("--to", "the zip file to write", "FILE", required=True),
    )),
    Command(("verify",), EVIDENCE, "check a bundle offline, with nothing but the genesis digest", "evidence:verify", (
        Argument("bundle", "the zip file"),
        Argument("--genesis", "the genesis digest, from a member you trust", "DIGEST", required=True),
    )),
    Command(("lineage",), EVIDENCE, "what a record rests on, and what rests on it", "look:lineage", (Argument("record", REF),)),
    Command(("status",), LOOK, "how the node, the ledger and the peers are", "look:status"),
    Command(("doctor",), LOOK, "run every check, each with its remedy", "look:doctor"),
    Command(("ls",), LOOK, "list records, newest first", "look:ls", (
        Argument("kind", "the kind of record", choices=KINDS, optional=True),
        Argument("--by", "only this organisation's", "ORG"),
        Argument("--limit", "how many", "N", type=int, default=50),
    )),
    Command(("show",), LOOK, "one record with everything around it", "look:show", (
        Argument("record", REF), Argument("--raw", "the signed bytes alone"),
        Argument("--blob", "an artefact's bytes instead: `code`, `artefact`, …", "ROLE"),
    )),
    Command(("ledger",), LOOK, "the newest blocks, or one block", "look:ledger", (
        Argument("height", "a block's height", optional=True), Argument("--limit", "how many blocks", "N", type=int, default=20),
    )),
    Command(("members",), LOOK, "the organisations and their nodes", "look:members"),
    Command(("services",), LOOK, "the services and the models behind them", "look:services"),
    Command(("logs",), LOOK, "what the node has written lately", "look:logs", (
        Argument("--limit", "how many lines", "N", type=int, default=50),
        Argument("--level", "this level and above", "LEVEL", default="info", choices=("debug", "info", "warning", "error")),
    )),
    Command(("config", "show"), LOOK, "the node's settings", "look:config", (Argument("--origin", "and where each came from"),)),
    Command(("login",), SHELL, "print a link that opens the console once", "look:login"),
    Command(("completion",), SHELL, "print the completion script of a shell", "completion:completion", (
        Argument("shell", "which shell", choices=("bash", "zsh", "fish")),
    )),
)  # fmt: skip
