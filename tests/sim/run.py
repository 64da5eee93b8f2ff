"""Replay a seed, or try many: `python tests/sim/run.py --seed 7 --trace`, `python tests/sim/run.py --seeds 1..5000`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.network import Network
from sim.plain_world import PlainWorld


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", help="a range A..B, both included")
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--world", choices=("evm", "plain"), default="evm", help="what executes blocks")
    arguments = parser.parse_args()
    first, _, last = (arguments.seeds or f"{arguments.seed or 0}..{arguments.seed or 0}").partition("..")
    if arguments.world == "evm":
        from sim.evm_world import EvmWorld

        world: EvmWorld | PlainWorld = EvmWorld()
    else:
        world = PlainWorld()
    failed = []
    began = time.perf_counter()
    for seed in range(int(first), int(last) + 1):
        network = Network(seed, world, say=print if arguments.trace else None)
        try:
            fingerprint = network.run()
            if first == last:
                print(
                    f"seed {seed}: {fingerprint}, heights {network.laws.heights}, {network.now / 1000} s of virtual time"
                )
        except AssertionError as error:
            failed.append(seed)
            print(f"seed {seed} FAILED: {error}", file=sys.stderr)
    seconds = time.perf_counter() - began
    print(f"{int(last) - int(first) + 1} seeds, {len(failed)} failed {failed[:20]}, {seconds:.1f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
