"""Fuzz the decoders: random and mutated inputs through the targets, at a rate that makes millions feasible.

    python fuzz/run.py --count 100000 --seed 1 --target hep

Prints counts; exit status 1 on anything but a kept invariant, with the input saved in `fuzz/found/`. The same seed gives
the same inputs.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path
from random import Random

import inputs
import targets

from hepswitch.wire import hep

FOUND = Path(__file__).resolve().parent / "found"


def fuzz(name: str, count: int, seed: int) -> bool:
    """Put `count` inputs through a target. False at the first that breaks it; the input is then in `fuzz/found/`."""
    target, seeds, random = targets.TARGETS[name], inputs.seeds(name), Random(seed)
    began = time.perf_counter()
    for i in range(count):
        data = seeds[i] if i < len(seeds) else inputs.make(seeds, random)
        try:
            target(data, random)
        except Exception:  # noqa: BLE001 (whatever it is, it is the finding)
            FOUND.mkdir(exist_ok=True)
            path = FOUND / f"{name}-{seed}-{i}.bin"
            path.write_bytes(data)
            print(
                f"{name}: input {i} of seed {seed} breaks it, saved as {path}\n{traceback.format_exc()}",
                file=sys.stderr,
            )
            return False
    took = time.perf_counter() - began
    print(f"{name}: {count:,} inputs, seed {seed}, {took:.1f} s, {count / took:,.0f}/s: nothing found", flush=True)
    return True


def main() -> int:
    """The command line. Gives the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the decoders of hepswitch.")
    parser.add_argument("--count", type=int, default=100_000, help="inputs for each target (default 100,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list(targets.TARGETS), action="append", help="default: all")
    parser.add_argument(
        "--core", type=Path, help="refuse to run over any build of the core but the one in this directory"
    )
    options = parser.parse_args()
    if options.core and not Path(hep.__file__).is_relative_to(options.core):
        parser.error(f"the core in use is {hep.__file__}, not one in {options.core}")
    names = options.target or list(targets.TARGETS)
    return 0 if all(fuzz(name, options.count, options.seed) for name in names) else 1


if __name__ == "__main__":
    sys.exit(main())
