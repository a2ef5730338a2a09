"""One visit from the first screen to the last: a customer's number, the call, the message, the pcap, live packets, a trace.

The screens by themselves: their own files beside this one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser import Visit, browser, visit
from control.web.search_stage import RECORDING, switch_with_calls
from running import RunningSwitch

__all__ = ["browser", "visit"]

CALL_ID = "5c38d50d3b945e57"
"""Of a call in the recording that was answered."""


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    with switch_with_calls(tmp_path_factory.mktemp("whole")) as switch:
        yield switch


def replay(switch: RunningSwitch) -> None:
    """The recording again, as of now."""
    url = next(url for url in switch.urls if url.startswith("tcp"))
    command = [sys.executable, "-m", "hepswitch.cli", "replay", str(RECORDING), "--to", url, "--rate", "max", "--now"]
    subprocess.run(command, check=True, capture_output=True)


def test_from_a_number_to_a_trace(visit: Visit, switch: RunningSwitch, tmp_path: Path) -> None:
    # The number is found, and the call opened.
    page = visit(f"{switch.control}/")
    box = page.get_by_role("searchbox")
    box.fill(CALL_ID)
    found = page.locator(f'#calls tr[data-call-id="{CALL_ID}"]')
    expect(found).to_be_visible()
    caller = found.locator("td").nth(3).inner_text().split("@")[0]
    box.fill(caller)
    expect(found).to_be_visible()
    found.click()
    page.wait_for_url("**/call?call_id=*")

    # Its first message is read.
    rows = page.get_by_role("option")
    expect(rows.first).to_contain_text("INVITE")
    rows.first.click()
    message = page.get_by_role("complementary", name="Message")
    expect(message.locator(".raw .line").first).to_contain_text("INVITE sip:")
    expect(message).to_contain_text(CALL_ID)

    # It is saved, and tshark reads the same messages.
    page.keyboard.press("e")
    with page.expect_download() as download:
        page.get_by_role("link", name="pcap for").click()
    download.value.save_as(tmp_path / "call.pcap")
    command = ["tshark", "-r", str(tmp_path / "call.pcap"), "-Y", "sip", "-T", "fields", "-e", "sip.Call-ID"]
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert read.count(CALL_ID) >= 4

    # The same packets are seen as they go by.
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()
    replay(switch)
    expect(page.locator(".packet").filter(has_text="INVITE").first).to_be_visible()

    # A trace of the caller takes the call when it comes again.
    page.get_by_role("link", name="Switch", exact=True).click()
    page.get_by_role("button", name="Start a trace…").click()
    form = page.get_by_role("dialog", name="Start a trace")
    form.get_by_label("Name", exact=True).fill("case-1")
    form.get_by_label("To", exact=True).fill(f"pcap:{tmp_path}/case.pcapng")
    form.get_by_label("Caller", exact=True).fill(caller)
    form.get_by_role("button", name="Start the trace").click()
    traced = page.get_by_role("row").filter(has_text="case-1")
    expect(traced).to_contain_text(caller)
    replay(switch)
    book = switch.wait_stats(lambda book: book["traces"]["case-1"]["packets"] >= 4, "traced packets")
    expect(traced).to_contain_text(str(book["traces"]["case-1"]["packets"]))
