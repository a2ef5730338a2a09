"""`make screenshots`: the pictures in docs/tutorial.md, of switches that do what the tutorial says.

They go to docs/images, 1280 × 720, taken by chromium and brought to 256 colours by pngquant; Debian has both. The route and
the destination of the tutorial's last parts are read out of it. It takes two minutes, since the recording is replayed as it
was. Not here: the pictures that tests keep (build/screenshots), and what the page must do (tests/control/web).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from demo import CAPTURE, HEPSWITCH, running, wait_until_stored

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
FAR_END = "tcp://127.0.0.1:9063"
"""Where the tutorial's second switch listens; here it has a free port."""

PATIENCE = 60_000
"""Milliseconds that a busy machine may take for whatever is waited for."""

BUSY, ANSWERED = "1-busy-tcp4@pbx.example.net", "5c38d50d3b945e57"
"""Call-IDs of the recording."""


def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hepswitch-screenshots-") as name, person() as page:
        folders = [Path(name) / part for part in ("first", "second", "own")]
        for folder in folders:
            folder.mkdir()
        with running(folders[0]) as said:
            found_call(page, said)
        own_switch(page, *folders[1:])
    return 0


@contextmanager
def person() -> Iterator[Page]:
    """A page in Debian's chromium."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 720}, timezone_id="UTC", locale="en-GB")
        page.set_default_timeout(PATIENCE)
        yield page
        chromium.close()


def take(page: Page, name: str, scheme: str = "light") -> None:
    """The picture NAME of the page as it is."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.mouse.move(1279, 719)  # points at nothing
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    subprocess.run(["pngquant", "--force", "--strip", "--speed", "1", "--output", path, "256", path], check=True)
    print(f"docs/images/{path.name}: {path.stat().st_size >> 10} KiB", flush=True)


def replay(to: str, *options: str) -> subprocess.Popen[bytes]:
    """Send the recording, its times moved to the present."""
    command = [*HEPSWITCH, "replay", str(CAPTURE), "--to", to, "--now", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def ended(process: subprocess.Popen[bytes]) -> None:
    if process.wait(120):
        sys.exit("the recording was not sent")


# ── a customer calls ─────────────────────────────────────────────────────────────────────────────────────────────────


def found_call(page: Page, said: dict[str, Any]) -> None:
    """Live packets, the search, the call, its messages."""
    control, udp = said["control"], next(url for url in said["on"] if url.startswith("udp"))
    page.goto(f"{control}/live")
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()
    sending = replay(udp)
    packets = page.locator(".packet")
    expect(packets.filter(has_text="486").first).to_be_visible()
    packets.filter(has_text="486").first.click()
    expect(page.locator("#details")).to_contain_text("Busy Here")
    take(page, "live")
    ended(sending)
    wait_until_stored(control)

    page.goto(f"{control}/")
    calls = page.locator("#calls tr[data-call-id]")
    expect(calls).to_have_count(13)
    expect(page.locator("#chart svg")).to_be_visible()
    expect(page.locator("#busy.on")).to_have_count(0)
    take(page, "search")
    page.get_by_role("searchbox").fill("030 55502")
    page.keyboard.press("Enter")
    expect(calls).to_have_count(1)
    calls.first.click()
    page.wait_for_url(f"**/call?call_id={BUSY.replace('@', '**')}*")
    rows = page.get_by_role("option")
    opened(page, rows.filter(has_text="486").first, "SIP/2.0 486 Busy Here")
    take(page, "message")

    opened(page, rows.filter(has_text="INVITE").nth(1), "INVITE sip:")
    page.keyboard.press("d")
    expect(page.locator("#stage.comparing")).to_be_visible()
    take(page, "compare", "dark")

    page.goto(f"{control}/call?call_id={ANSWERED}")
    opened(page, rows.filter(has_text="INVITE").first, "INVITE sip:")
    take(page, "call")


def opened(page: Page, row: Locator, words: str) -> None:
    """A message of the ladder, open beside it."""
    row.click()
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Message")).to_contain_text(words)


# ── a route of one's own ─────────────────────────────────────────────────────────────────────────────────────────────


def own_switch(page: Page, far: Path, own: Path) -> None:
    """The Switch screen: a trace is started, all is well, the far end is away."""
    with ExitStack() as second:
        there = second.enter_context(running(far))
        configure(own, next(url for url in there["on"] if url.startswith("tcp")))
        with running(own, "--config", "hepswitch.toml") as said:
            control, udp = said["control"], next(url for url in said["on"] if url.startswith("udp"))
            page.goto(f"{control}/switch")
            page.get_by_role("button", name="Start a trace…").click()
            form = page.get_by_role("dialog", name="Start a trace")
            form.get_by_label("Name", exact=True).fill("case-7")
            form.get_by_label("To", exact=True).fill("pcap:case-7.pcapng")
            form.get_by_label("Callee", exact=True).fill("+493055502")
            take(page, "trace")
            form.get_by_role("button", name="Start the trace").click()
            expect(page.get_by_role("row", name="case-7 on")).to_be_visible()
            sending = replay(udp, "--rate", "15")
            until(control, lambda book: book["traces"]["case-7"]["packets"] >= 9)
            expect(page.get_by_role("group", name="route.py")).to_contain_text("keep-alive")
            page.evaluate("scrollTo(0, 0)")
            take(page, "switch")
            ended(sending)

            second.close()
            sending = replay(udp, "--rate", "15")
            until(control, lambda book: book["destinations"]["homer"]["spooled"] >= 60)
            expect(page.get_by_role("group", name="homer")).to_contain_text("spooled")
            take(page, "switch-away", "dark")
            ended(sending)


def configure(folder: Path, far_end: str) -> None:
    """What the tutorial tells to write, in `folder`."""
    subprocess.run([*HEPSWITCH, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    (folder / "route.py").write_text(block("python", "@hep_route"), encoding="utf-8")
    with (folder / "hepswitch.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + block("toml", FAR_END).replace(FAR_END, far_end))


def block(language: str, mark: str) -> str:
    """The code in the tutorial in which `mark` stands."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
    return next(text for text in blocks if mark in text)


def until(control: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for the books to say so."""
    end = time.monotonic() + PATIENCE / 1000
    while not holds(stats(control)):
        if time.monotonic() > end:
            sys.exit("what the picture shows did not happen")
        time.sleep(0.2)


def stats(control: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{control}/api/v1/stats", timeout=10) as answer:
        book: dict[str, Any] = json.load(answer)
        return book


if __name__ == "__main__":
    sys.exit(main())
