"""`python -m benchmarks`: measures a node, a network, joint training and predictions, and prints one table.

python -m benchmarks [--write] [--peer anvil] [--quick]
python -m benchmarks --url http://127.0.0.1:8545 [--token T]       any running node: ledger figures only
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import life, peer, report
from benchmarks.ledger import Figures, measure
from benchmarks.load import Load, Target
from benchmarks.report import Row
from benchmarks.wallet import ANVIL_KEY, FUNDS_BANK_WEI
from comity.record.keys import PrivateKey
from comity.shell import credentials, demo, dev

FINALITY_PER_SECOND = 10


def talk(text: str) -> None:
    """To stderr: stdout is the table."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextmanager
def network(organisations: int, block_period_ms: int) -> Iterator[dev.Network]:
    """A development network of the first `organisations`, whose genesis funds the benchmark's bank."""
    bank = PrivateKey.from_bytes(ANVIL_KEY).address
    with tempfile.TemporaryDirectory(prefix="comity-bench-") as folder:
        made = dev.Network(
            Path(folder), organisations=dev.ORGANISATIONS[:organisations], port=_base_port(), block_period_ms=block_period_ms,
            alloc={bank: FUNDS_BANK_WEI},
        )  # fmt: skip
        with made:
            yield made


def _base_port() -> int:
    return 20_000 + peer.free_port() % 120 * 100  # below the ports that systems give out of their own accord


def target(made: dev.Network, name: str) -> Target:
    """The JSON-RPC of the first organisation's node."""
    own = credentials.load(dev.ORGANISATIONS[0].name, home=made.root)
    return Target(name, own.url.rstrip("/") + "/rpc", own.token)


def ledger_rows(figures: Figures, base: Figures | None) -> list[Row]:
    """Three rows a target; with a base, its ratio to it."""

    def ratio(load: Load, other: Load | None) -> str:
        return f"; {load.per_second / other.per_second:.2f} of anvil's" if other else ""

    rows = []
    for what, load, other in (
        ("ether transfers", figures.ether, base.ether if base else None),
        ("EIP-20 transfers", figures.token, base.token if base else None),
    ):
        how = f"{load.count:,} in {load.blocks} blocks over JSON-RPC, first send to last in a block{ratio(load, other)}"
        rows.append(Row(f"{what}, {figures.target}", f"{load.per_second:,.0f} tx/s", how))
    delay = figures.finality
    figure = f"{delay.quantile(0.5) * 1000:.0f} / {delay.quantile(0.99) * 1000:.0f} ms"
    how = f"{delay.count} transfers at {FINALITY_PER_SECOND} a second, request to sight in a block"
    rows.append(Row(f"finality p50 / p99, {figures.target}", figure, how))
    return rows


def life_rows(rounds: int, predictions: int) -> list[Row]:
    """Training and predictions on a network of four."""
    with network(4, 250) as made, tempfile.TemporaryDirectory() as work:
        talk(f"{rounds} rounds of joint training …")
        trained = life.train(made, Path(work), demo.STUDY, rounds)
        talk(f"{predictions} predictions …")
        life.deploy(made)
        answered = life.predict(made, predictions)
    p50, p99 = answered.quantile(0.5) * 1000, answered.quantile(0.99) * 1000
    return [
        Row("joint-training round, 3 sites, 4 validators", f"{trained.seconds_each:.2f} s",
            f"mean of {trained.count}: commit, reveal, aggregate, attest; 250 ms blocks"),
        Row("predictions, one node", f"{answered.per_second:,.0f} /s",
            f"{answered.count:,} over HTTP by 4 callers, each receipt durable first"),
        Row("prediction p50 / p99", f"{p50:.0f} / {p99:.0f} ms", "the same run"),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, and with --write put the table into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--url", help="measure this running node's JSON-RPC instead of starting networks")
    parser.add_argument("--token", default="", help="bearer token for --url")
    parser.add_argument("--peer", choices=["anvil"], help="measure this too, in the same run, for comparison")
    parser.add_argument("--only", choices=["ledger", "life"], help="one half")
    parser.add_argument(
        "--transactions", type=int, default=6_000, help="transfers a load (default 6,000: less than a pool holds)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: to see that it works")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    tenth = 10 if options.quick else 1
    count = max(200, min(options.transactions, 200_000) // tenth)

    rows: list[Row] = []
    base: Figures | None = None
    if options.peer:
        talk("anvil …")
        with peer.anvil(1) as yardstick:
            base = measure(yardstick, transactions=count, steady_per_second=FINALITY_PER_SECOND)
        rows += ledger_rows(base, None)
    if options.url:
        figures = measure(
            Target(options.url, options.url, options.token), transactions=count, steady_per_second=FINALITY_PER_SECOND
        )
        rows += ledger_rows(figures, base)
    elif options.only != "life":
        for organisations, name in ((1, "1 node"), (4, "4 nodes")):
            talk(f"{name} …")
            with network(organisations, 1000) as made:
                figures = measure(target(made, name), transactions=count, steady_per_second=FINALITY_PER_SECOND)
            rows += ledger_rows(figures, base)
    if not options.url and options.only != "ledger":
        rows += life_rows(rounds=20 // (2 if options.quick else 1), predictions=2_000 // tenth)

    command = "make bench" + (f' BENCH="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else "")
    block = report.text(rows, command, load_before)
    sys.stdout.write(block + "\n")
    if options.write:
        report.write(block)


if __name__ == "__main__":
    main()
