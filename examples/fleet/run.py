"""A fleet on one machine: two edges, a stream of three servers, two storing nodes. One of each is killed under load.

    python examples/fleet/run.py --seconds 60 --rate 2000 [--stream kafka] [--s3] [--folder DIR]

Packets of calls go over UDP to both edges. An edge, a server of the stream and a storing node are killed in turn (kill -9 of
all their processes) and started again. Then the books of the whole are shown; exit status 1 when they do not balance.
Everything happens on loopback, on free ports, in a folder that goes away afterwards unless it was named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "examples"), str(ROOT / "tests")]

from fleet.drive import Plan, drive  # noqa: E402
from fleet.streams import STREAMS  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long packets are sent (%(default)s)")
    parser.add_argument("--rate", type=int, default=2000, help="packets a second, over both edges (%(default)s)")
    parser.add_argument(
        "--away", type=float, default=3.0, help="seconds until what was killed starts again (%(default)s)"
    )
    parser.add_argument(
        "--stream", choices=STREAMS, default="nats", help="kafka: librdkafka's mock brokers (%(default)s)"
    )
    parser.add_argument("--s3", action="store_true", help="both storing nodes write one lake in object storage")
    parser.add_argument("--no-kills", action="store_true", help="let everybody live")
    parser.add_argument("--json", action="store_true", help="all figures as well, as JSON")
    parser.add_argument("--folder", type=Path, help="a new folder for all of it, which stays")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what was started is ended
    plan = Plan(wanted.stream, wanted.rate, wanted.seconds, wanted.away, kills=not wanted.no_kills, s3=wanted.s3)
    with contextlib.ExitStack() as stack:
        if wanted.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hepswitch-fleet-")))
        else:
            folder = wanted.folder.resolve()
            folder.mkdir(parents=True)
        books = drive(plan, folder, lambda line: print(line, flush=True))
    print("\n".join(books.told()))
    if wanted.json:
        print(json.dumps(books.figures, indent=2))
    for wrong in books.wrong:
        print(f"WRONG: {wrong}")
    print("The books of the whole do not balance." if books.wrong else "The books of the whole balance.")
    return 1 if books.wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
