"""The Live screen in a browser, before a switch through which packets go."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

import traffic
from browser import PHONE, Visit, browser, screenshots, visit
from hepswitch.control.live import MOST
from hepswitch.testing import hep_packet
from running import RunningSwitch, running_switch

__all__ = ["browser", "visit"]

CONFIG = """
listen = ["udp://127.0.0.1:0"]
[stores.lake]
url = "lake:./captures"
"""


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    with running_switch(tmp_path_factory.mktemp("live"), CONFIG) as switch:
        yield switch


def watch(visit: Visit, switch: RunningSwitch, query: str = "") -> Page:
    """The screen, when it has begun to watch."""
    page = visit(f"{switch.control}/live{query}")
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()
    return page


def messages(calls: int, seed: int = 1) -> list[bytes]:
    return [traffic.hep(message) for message in traffic.calls(calls, seed=seed)]


def test_packets_show_as_they_go_by(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)

    switch.send_udp(*messages(1))

    rows = page.locator(".packet")
    expect(rows).to_have_count(7)
    expect(rows.first).to_contain_text("INVITE")
    expect(rows.nth(3)).to_contain_text("200 OK")
    expect(rows.first).to_contain_text("2001 edge-7")
    expect(rows.first).to_contain_text("stored")
    expect(page.locator("#shown")).to_have_text("7 shown")
    expect(page.locator("#rate")).to_have_text(re.compile(r"[1-9][\d.]*/s match"))


def test_a_filter_decides_what_shows_and_is_in_the_address(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)

    page.keyboard.press("/")
    page.keyboard.type("sip.method = BYE")
    with page.expect_response("**/api/v1/live?filter=*"):
        page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()
    switch.send_udp(*messages(3, seed=2))

    expect(page.locator(".packet")).to_have_count(3)
    expect(page.locator(".packet").first).to_contain_text("BYE")
    assert page.url.endswith("?filter=sip.method+%3D+BYE")

    page.go_back()
    expect(page.get_by_label("Filter", exact=True)).to_have_value("")
    page.go_forward()
    expect(page.get_by_label("Filter", exact=True)).to_have_value("sip.method = BYE")


def test_a_wrong_filter_is_told_in_words(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)

    page.get_by_label("Filter", exact=True).fill("sip.metod = BYE")
    page.get_by_role("button", name="Filter").click()

    expect(page.get_by_role("alert")).to_contain_text("sip.metod")
    expect(page.locator("#state")).to_contain_text("not watching")
    page.complaints.clear()  # the browser tells of the refusal


def test_a_pause_loses_nothing_silently(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)
    switch.send_udp(*messages(1, seed=3))
    expect(page.locator("#shown")).to_have_text("7 shown")

    page.keyboard.press(" ")
    switch.send_udp(*messages(2, seed=4))
    expect(page.locator("#held")).to_have_text("14 waiting")
    expect(page.locator(".packet")).to_have_count(7)
    page.keyboard.press(" ")

    expect(page.locator("#shown")).to_have_text("21 shown")
    expect(page.locator("#unshown")).to_be_hidden()


def test_shown_and_not_shown_are_what_was_sent(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)
    sent = messages(600, seed=5)

    for _ in range(3):  # more than the switch holds for a watcher at one time
        switch.send_udp(*sent)

    page.wait_for_function(
        """(all) => ["shown", "unshown", "unasked"]
            .map((id) => parseInt(document.getElementById(id).textContent.replaceAll(",", "") || 0))
            .reduce((a, b) => a + b) === all""",
        arg=3 * len(sent),
    )
    assert int(page.locator("#list").get_attribute("aria-rowcount") or 0) <= 2000
    assert page.locator(".packet").count() < 60


@pytest.mark.parametrize("paused", [False, True])
def test_every_packet_of_a_tail_is_shown_held_or_unshown(visit: Visit, switch: RunningSwitch, paused: bool) -> None:
    """The arithmetic of the tail by itself: steps of all kinds, with a small bound."""
    page = watch(visit, switch)

    sums = page.evaluate(
        """async (paused) => {
            const { Tail } = await import("/web/js/live/tail.js");
            const tail = new Tail(5);
            let [seed, sent] = [7, 0];
            const dice = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
            const sums = [];
            tail.paused = paused;
            for (let step = 0; step < 3000; step += 1) {
                const kind = dice(16);
                if (kind < 10) { tail.add({ number: sent }); sent += 1; }
                else if (kind === 10) { tail.miss(3); sent += 3; }
                else if (kind === 11) tail.note("away");
                else if (kind === 12) { if (tail.paused) tail.resume(); else tail.paused = true; }
                else { tail.prune(); tail.drawn(); }
                sums.push([sent, tail.shown + tail.held + tail.unshown, tail.rows.length]);
            }
            return sums;
        }""",
        paused,
    )

    assert all(sent == told and rows <= 10 for sent, told, rows in sums)
    assert sums[-1][0] > 1500


def test_details_have_the_payload_when_it_is_asked_for_and_lead_to_the_call(
    visit: Visit, switch: RunningSwitch
) -> None:
    page = watch(visit, switch)
    details = page.get_by_role("complementary", name="The packet")
    switch.send_udp(*messages(1, seed=6))
    expect(page.locator(".packet")).to_have_count(7)

    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(details).to_contain_text("BYE")
    expect(details).to_contain_text("Payloads are not asked for")
    with page.expect_response("**/api/v1/live?payload=true"):
        details.get_by_role("button", name="Show those of packets to come").click()
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()

    image = "<img src=x onerror=alert(1)>"
    hostile = f"OPTIONS sip:x SIP/2.0\r\nCall-ID: a&b<i>@c\r\nFrom: <sip:{image}@x>\r\nCSeq: 1 OPTIONS\r\n\r\n".encode()
    switch.send_udp(bytes(hep_packet(hostile)))
    expect(page.locator("#shown")).to_have_text("8 shown")
    page.locator(".packet").last.click()
    expect(details.locator(".payload")).to_contain_text(image)
    link = details.get_by_role("link", name="Open the call").get_attribute("href")
    assert link == "/call?call_id=a%26b%3Ci%3E%40c"
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()


def test_the_list_stays_where_somebody_has_scrolled(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch)
    switch.send_udp(*messages(20, seed=7))
    expect(page.locator("#shown")).to_have_text("140 shown")

    page.locator("#list").hover()
    page.mouse.wheel(0, -10_000)
    to_end = page.get_by_role("button", name="To the newest")
    expect(to_end).to_be_visible()
    first = page.locator(".packet").first.text_content()
    switch.send_udp(*messages(20, seed=8))
    expect(page.locator("#shown")).to_have_text("280 shown")
    assert page.locator(".packet").first.text_content() == first

    to_end.click()
    expect(page.locator("#packet-279")).to_be_visible()
    expect(to_end).to_be_hidden()


def test_it_says_when_the_switch_is_away_and_comes_back(visit: Visit, tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        env = {"HEPSWITCH_CONTROL__LISTEN": f"127.0.0.1:{sock.getsockname()[1]}"}
    with running_switch(tmp_path, CONFIG, env) as switch:
        page = watch(visit, switch)
    expect(page.locator("#state")).to_contain_text("trying again")

    with running_switch(tmp_path, CONFIG, env) as switch:
        expect(page.locator("#state")).to_have_text("watching", timeout=20_000)
        expect(page.locator(".packet.gap")).to_contain_text("what passed meanwhile is not here")
        switch.send_udp(*messages(1, seed=9))
        expect(page.locator("#shown")).to_have_text("7 shown")
        page.goto("about:blank")
    page.complaints.clear()  # the browser tells of the requests that failed


def test_too_many_watchers_are_told_so(visit: Visit, switch: RunningSwitch) -> None:
    where = urlsplit(switch.control)
    with ExitStack() as stack:
        for _ in range(MOST):
            sock = stack.enter_context(socket.create_connection((where.hostname, where.port)))
            sock.sendall(f"GET /api/v1/live HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            assert b" 200 " in sock.recv(100)
        page = visit(f"{switch.control}/live")
        expect(page.locator("#state")).to_contain_text(f"{MOST} watch already")
    page.complaints.clear()

    expect(page.locator("#state")).to_have_text("watching", timeout=20_000)
    page.complaints.clear()


def test_pictures(visit: Visit, switch: RunningSwitch) -> None:
    page = watch(visit, switch, "?filter=src_ip+in+0.0.0.0/0")
    page.get_by_label("payloads").check()
    expect(page.get_by_role("status").filter(has_text="watching")).to_be_visible()
    switch.send_udp(*messages(12, seed=10))
    expect(page.locator("#shown")).to_have_text("84 shown")
    screenshots(page, "live")

    page.locator(".packet").nth(8).click()
    screenshots(page, "live-packet")
    assert page.viewport_size != PHONE
