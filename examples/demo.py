"""`make demo`: a switch, a recording of real calls sent into it as HEP, the books, the ladder of a call.

Everything happens in a temporary folder and on free ports. On a terminal the switch then goes on until Ctrl-C;
otherwise it ends here. The commands shown are the ones that a person types.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CAPTURE = Path(os.path.relpath(Path(__file__).resolve().parent / "calls.pcapng"))
HEPSWITCH = (sys.executable, "-m", "hepswitch.cli")
FREE_PORTS = {
    "HEPSWITCH_LISTEN": '["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]',
    "HEPSWITCH_CONTROL__LISTEN": "127.0.0.1:0",
    "HEPSWITCH_LOG__FORMAT": "json",
}
DEADLINE = 30.0


def show(*arguments: str) -> None:
    """Run a hepswitch command as a person would, and show what was typed. Ends the demo when it fails."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}$ hepswitch {' '.join(arguments)}{plain}", flush=True)
    subprocess.run([*HEPSWITCH, *arguments], check=True)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """`hepswitch run`, without a configuration unless `options` name one, in `folder`; gives the log line that says where
    it listens."""
    process = subprocess.Popen(
        [*HEPSWITCH, "run", *options], cwd=folder, env=os.environ | FREE_PORTS, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            said = json.loads(line) if line.startswith("{") else {"event": line}
            if said["event"] == "listening":
                break
            print(line, end="", file=sys.stderr)
        else:
            sys.exit("the switch did not start")
        threading.Thread(target=list, args=(process.stderr,), daemon=True).start()  # keep the pipe empty
        yield said
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)


def stored(control: str) -> int:
    with urllib.request.urlopen(f"{control}/api/stats", timeout=10) as answer:
        count: int = json.load(answer)["stores"]["lake"]["delivered"]
        return count


def wait_until_stored(control: str) -> None:
    """Wait until the packets that were sent have reached the lake: their number stands still."""
    end = time.monotonic() + DEADLINE
    before = -1
    while (now := stored(control)) == 0 or now != before:
        if time.monotonic() > end:
            sys.exit("the packets did not reach the lake")
        before = now
        time.sleep(0.3)


def completed_call(lake: str) -> str:
    """The Call-ID of a call that was set up and ended with BYE."""
    query = "SELECT call_id FROM messages WHERE method = 'BYE' ORDER BY ts LIMIT 1"
    command = [*HEPSWITCH, "search", "--lake", lake, "--sql", query, "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    call_id: str = json.loads(output.splitlines()[0])["call_id"]
    return call_id


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hepswitch-demo-") as name:
        folder = Path(name)
        print("$ hepswitch run")
        with running(folder) as said:
            udp = next(url for url in said["on"] if url.startswith("udp"))
            control, lake = said["control"], str(folder / "captures")
            print(f"listening on {', '.join(said['on'])}, everything is stored in {lake}")
            show("replay", str(CAPTURE), "--to", udp, "--rate", "500", "--now")
            wait_until_stored(control)
            show("stats", "--url", control)
            show("ladder", "--lake", lake, completed_call(lake))
            print(
                "\nGo on:\n"
                f"  {control} in a browser: find the call there\n"
                f"  .venv/bin/hepswitch search --lake {lake} --method INVITE\n"
                f"  .venv/bin/hepswitch stats --url {control} --watch 1\n"
                f"  point a capture agent (heplify, Kamailio, OpenSIPS, sngrep …) at {udp}\n"
                "  docs/tutorial.md: your own route, step by step"
            )
            if sys.stdin.isatty():
                print("\nThe switch goes on; Ctrl-C ends it and removes its folder.", flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
