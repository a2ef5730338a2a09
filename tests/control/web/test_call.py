"""The Call screen in a browser, before a switch that stored real calls (examples/calls.pcapng) and one made of everything
that a ladder has (`forked_call`). What is drawn is compared with the API's answer, what is shown with the bytes sent.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from browser import DESK, Visit, browser, screenshots, visit
from control.web import forked_call
from hepswitch.cli.recordings import Selection
from hepswitch.wire.hep import Hep
from interop.tools import need
from running import RunningSwitch, running_switch

__all__ = ["browser", "visit"]

RECORDED = Path(__file__).parents[3] / "examples" / "calls.pcapng"
CONFIG = """
listen = ["tcp://127.0.0.1:0"]
[stores.lake]
url = "lake:./captures"
"""
TALL = {"width": 1280, "height": 2000}
"""All rows of an ordinary call are in sight."""

LONG = 2400
"""Messages: more than come with their payloads."""


class Stage(NamedTuple):
    switch: RunningSwitch
    forked: list[Hep]
    recorded: list[Hep]

    def call(self, call_id: str, legs: str = "all") -> Any:
        return json.loads(self.switch.get(f"/api/v1/call?{urlencode({'call_id': call_id, 'legs': legs})}"))

    def address(self, call_id: str = forked_call.CALL_ID, **more: str) -> str:
        return f"{self.switch.control}/call?{urlencode({'call_id': call_id, **more}, quote_via=quote)}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    forked = forked_call.packets()
    recorded = [each.packet for each in Selection().read((RECORDED,))]
    packets = [*forked, *recorded, *forked_call.long_call(LONG)]
    with running_switch(tmp_path_factory.mktemp("call"), CONFIG) as switch:
        with socket.create_connection(switch.address("tcp")) as agent:
            agent.sendall(b"".join(packets))
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == len(packets), "all packets are stored")
        yield Stage(switch, [Hep(packet) for packet in forked], [Hep(packet) for packet in recorded])


def seen(visit: Visit, url: str, viewport: dict[str, int] = DESK) -> Page:
    """The page of a call, when it is drawn."""
    page = visit(url, viewport)
    expect(rows(page).first).to_be_visible()
    return page


def rows(page: Page) -> Locator:
    """The messages of the ladder that are in sight, or near."""
    return page.get_by_role("option")


def opened(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Message")


def raw(page: Page) -> str:
    """The raw message as it is shown, with the line ends of SIP."""
    lines = opened(page).locator(".raw .line")
    expect(lines.first).to_be_visible()
    return "\r\n".join(lines.all_text_contents())


def drawn(page: Page) -> list[tuple[str, str]]:
    """(id, words of the label) of each row, from top to bottom."""
    places = rows(page).evaluate_all(
        "rows => rows.map(row => [row.offsetTop, row.dataset.id, row.querySelector('.words').textContent])"
    )
    return [(id, words) for _, id, words in sorted(places)]


def said(event: Any, times: int = 1) -> str:
    """The label of a row that stands for an event of the API."""
    name = event["label"].removesuffix(f" ({event['method']})") if event["kind"] == "reply" else event["label"]
    if event["quality"] is not None:
        loss, jitter = event["quality"]["loss"], event["quality"]["jitter"]
        name = f"RTCP · loss {loss:.1f} % · jitter {f'{jitter:.1f}' if jitter < 10 else int(jitter + 0.5)} ms"
    marks = ["SDP" * event["sdp"], f"×{times}" * (times > 1), "↻" * event["retransmission"]]
    return name + "".join(marks) + f"{event['copies']} agents" * (event["copies"] > 1)


def recorded_calls() -> dict[str, str]:
    """Call-IDs of examples/calls.pcapng by what happens there."""
    return {"answered": "5c38d50d3b945e57", "busy": "1-busy-tcp4@pbx.example.net", "register": "bf1e6e0fd426a71c"}


@pytest.mark.parametrize("what", recorded_calls())
def test_a_recorded_call_is_drawn_as_the_api_tells_it(visit: Visit, stage: Stage, what: str) -> None:
    call_id = recorded_calls()[what]
    told = stage.call(call_id)
    page = seen(visit, stage.address(call_id, repeats="yes"), TALL)

    expect(page.locator("#summary .badge")).to_have_text(told["call"]["outcome"])
    expect(page.locator(".heads .head")).to_have_text([each["label"] for each in told["endpoints"]])
    assert [id for id, _ in drawn(page)] == [event["id"] for event in told["events"]]
    assert [words for _, words in drawn(page)] == [said(event) for event in told["events"]]


def test_repeats_are_folded_and_counted(visit: Visit, stage: Stage) -> None:
    told = stage.call(forked_call.CALL_ID)
    page = seen(visit, stage.address(), TALL)
    firsts = [event for event in told["events"] if not event["retransmission"]]

    times = {firsts[0]["id"]: 3}
    assert [(id, words) for id, words in drawn(page) if "WARNING" not in words] == [
        (event["id"], said(event, times.get(event["id"], 1))) for event in firsts if event["kind"] != "log"
    ]
    page.keyboard.press("r")
    expect(rows(page)).to_have_count(len(told["events"]))
    assert [words for _, words in drawn(page)][:3] == ["INVITESDP", "INVITESDP↻", "INVITESDP↻"]


def test_arrows_lead_from_column_to_column_in_the_colour_of_their_dialog(visit: Visit, stage: Stage) -> None:
    told = stage.call(forked_call.CALL_ID)
    page = seen(visit, stage.address(repeats="yes"), TALL)
    signalling = {event["id"]: event for event in told["events"] if event["kind"] in ("request", "reply")}

    arrows = page.locator(".event").evaluate_all(
        "rows => rows.map(row => { const lives = row.querySelector('.life').getAttribute('d').matchAll(/M([\\d.]+)/g);"
        " const x = [...lives].map(found => Number(found[1]));"
        " const shaft = row.querySelector('line.shaft'); return shaft && [row.dataset.id,"
        " x.indexOf(shaft.x1.baseVal.value), shaft.x2.baseVal.value, x, getComputedStyle(shaft).stroke]; })"
    )

    inks: dict[int, set[str]] = {}
    for id, source, tip, columns, ink in (arrow for arrow in arrows if arrow and arrow[0] in signalling):
        event = signalling[id]
        nearest = min(range(len(columns)), key=lambda place: abs(columns[place] - tip))
        assert (source, nearest) == (event["source"], event["target"])
        inks.setdefault(event["dialog"], set()).add(ink)
    assert all(len(ink) == 1 for ink in inks.values())
    assert len({next(iter(ink)) for ink in inks.values()}) == len(inks) == 3


def test_what_is_hidden_is_left_out_and_silence_is_marked(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(), TALL)

    expect(page.locator(".drawn.media")).to_have_count(10)
    expect(page.locator(".drawn.log .words")).to_contain_text("WARNING: route 7: gateway")
    expect(page.locator(".gap .when").first).to_have_text("⋮ 3.300 s")
    page.get_by_role("button", name="RTCP").click()
    page.get_by_role("button", name="Logs").click()

    expect(page.locator(".drawn.media, .drawn.log")).to_have_count(0)
    expect(page).to_have_url(re.compile("rtcp=no&logs=no"))
    assert [text for text in page.locator(".gap .when").all_text_contents() if text == "⋮ 11.6 s"]


def test_times_are_since_start_delta_and_of_the_day(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(), TALL)
    second = rows(page).nth(1).locator(".when")

    expect(second).to_have_text("A+1.520")
    expect(rows(page).nth(2).locator(".when")).to_have_text("B+1.550")
    page.keyboard.press("t")
    expect(rows(page).nth(2).locator(".when")).to_have_text("B+0.030000")
    page.keyboard.press("t")
    expect(second).to_have_text("A11:06:41.520")
    expect(page).to_have_url(re.compile("time=absolute"))


def test_buttons_work_by_keyboard_and_keep_it(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(), TALL)
    logs = page.get_by_role("button", name="Logs")

    logs.focus()
    page.keyboard.press("Space")
    expect(page.locator(".drawn.log")).to_have_count(0)
    expect(logs).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator(".drawn.log")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Spacemark the message")


def test_the_keyboard_walks_and_opens_messages(visit: Visit, stage: Stage) -> None:
    told = stage.call(forked_call.CALL_ID)
    page = seen(visit, stage.address())
    selected = page.locator("[role=option][aria-selected=true]")

    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    expect(selected).to_have_attribute("data-id", told["events"][3]["id"])
    expect(opened(page)).to_be_hidden()
    page.keyboard.press("Enter")
    expect(opened(page).get_by_role("heading")).to_have_text("100 Trying")
    page.keyboard.press("k")
    expect(opened(page).get_by_role("heading")).to_have_text("INVITE")
    page.keyboard.press("End")
    expect(selected).to_be_in_viewport()
    expect(selected).to_have_attribute("data-id", told["events"][-1]["id"])
    expect(page).to_have_url(re.compile(f"event={told['events'][-1]['id']}"))
    page.keyboard.press("Escape")
    expect(opened(page)).to_be_hidden()
    page.keyboard.press("/")
    page.wait_for_url(f"{stage.switch.control}/")


def test_every_message_is_shown_as_it_was_sent(visit: Visit, stage: Stage) -> None:
    call_id = recorded_calls()["answered"]
    page = seen(visit, stage.address(call_id, repeats="yes"), TALL)
    sent = [each.payload for each in stage.recorded if each.sip is not None and each.sip.call_id == call_id]

    shown = []
    for row in [row for row in rows(page).all() if row.locator(".drawn.media").count() == 0]:
        row.click()
        expect(row).to_have_attribute("aria-selected", "true")
        expect(page).to_have_url(re.compile(f"event={row.get_attribute('data-id')}"))
        expect(opened(page).get_by_role("tabpanel")).to_have_attribute("data-id", row.get_attribute("data-id") or "")
        shown.append(raw(page).encode())
    assert shown == sent


def test_octets_that_are_no_utf8_are_spelled_out_and_saved_as_they_are(visit: Visit, stage: Stage) -> None:
    first = stage.call(forked_call.CALL_ID)["events"][0]
    page = seen(visit, stage.address(event=first["id"]))
    sent = stage.forked[0].payload
    assert sent is not None

    assert raw(page).encode() == sent.replace(b"\xfc", rb"\xfc")
    expect(opened(page).get_by_text("Not all of it is UTF-8")).to_be_visible()
    with page.expect_download() as download:
        opened(page).get_by_role("link", name="Save").click()
    assert Path(download.value.path()).read_bytes() == sent


def test_sdp_is_explained_and_the_parsed_message_has_its_headers(visit: Visit, stage: Stage) -> None:
    events = stage.call(forked_call.CALL_ID)["events"]
    held = next(event for event in events if event["method"] == "INVITE" and event["cseq"] == 2)
    page = seen(visit, stage.address(event=held["id"]))

    line = opened(page).locator(".line", has_text="m=audio 20000 RTP/AVP 8")
    expect(line).to_have_attribute("data-note", "audio to port 20000: PCMA")
    expect(opened(page).locator(".line", has_text="a=sendonly")).to_have_attribute("data-note", re.compile("on hold"))
    expect(opened(page).locator("mark.tie")).to_have_text(["z9hG4bKa3", "1928301774", "sbc-a", forked_call.CALL_ID])
    page.keyboard.press("p")
    table = opened(page).get_by_role("table").last
    expect(table.get_by_role("row", name="Call-ID")).to_contain_text(forked_call.CALL_ID)
    expect(opened(page).get_by_role("row", name="audio RTP/AVP")).to_contain_text("sendonly")


def test_names_that_every_object_has_are_no_words_of_sdp(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address())
    names = ["constructor", "toString", "__proto__", "hasOwnProperty"]
    body = ["v=0", f"m=audio 1 RTP/AVP {' '.join(names)}", *(f"a={name}" for name in names)]
    text = "\r\n".join(["INVITE sip:b SIP/2.0", "Content-Type: application/sdp", "", *body])

    lines = page.evaluate(
        "async (text) => (await import('/web/js/call/highlight.js')).highlighted(text, 'request')"
        ".map(line => [line.textContent, line.dataset.note ?? ''])",
        text,
    )
    assert [line for line, _ in lines] == text.split("\r\n")
    assert [note for _, note in lines][-5:] == [f"audio to port 1: {', '.join(names)}", "", "", "", ""]


def test_two_messages_are_compared_word_by_word(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(), TALL)

    rows(page).nth(2).click()
    page.keyboard.press(" ")
    rows(page).nth(4).click()
    page.keyboard.press("d")

    difference = page.get_by_role("table", name="Difference")
    expect(difference.locator(".new .right")).to_have_text(
        ["Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKb1", "Record-Route: <sip:192.0.2.2;lr>"]
    )
    expect(difference.locator(".changed mark")).to_contain_text(["4989222", "bob"])
    expect(page).to_have_url(re.compile("event=.*&with="))
    page.reload()
    expect(difference.locator(".changed mark")).to_contain_text(["4989222", "bob"])
    page.keyboard.press("Escape")
    expect(opened(page).get_by_role("heading")).to_have_text("INVITE")


def test_differences_give_both_texts_back(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address())
    given = ["a b c d", "x: 1\ny: 2\nz: 3", "x: 1\nw: 9\ny: 4\nz: 3\nx: 1", "", "y: 2", "v=0\na=one:1\na=two:2"]

    for left in given:
        for right in given:
            found = page.evaluate(
                "async ([left, right]) => (await import('/web/js/call/diff.js')).difference(left, right)",
                [left.split("\n"), right.split("\n")],
            )
            assert [row["left"]["text"] for row in found if row["left"]] == left.split("\n")
            assert [row["right"]["text"] for row in found if row["right"]] == right.split("\n")
            assert all(row["left"]["text"] == row["right"]["text"] for row in found if row["kind"] == "same")
            assert (left == right) == all(row["kind"] == "same" for row in found)


@pytest.mark.parametrize(("legs", "name"), [("all", "All legs"), ("one", "This leg")])
def test_exports_open_in_tshark_with_the_messages_of_these_legs(
    visit: Visit, stage: Stage, tmp_path: Path, legs: str, name: str
) -> None:
    page = seen(visit, stage.address())
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")

    page.keyboard.press("e")
    with page.expect_download() as download:
        page.get_by_role("link", name="pcap for").click()

    file = tmp_path / "call.pcap"
    download.value.save_as(file)
    command = [need("tshark"), "-r", str(file), "-Y", "sip", "-T", "fields", "-e", "sip.Call-ID", "-e", "sip.CSeq"]
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    wanted = {forked_call.CALL_ID} if legs == "one" else {forked_call.CALL_ID, forked_call.SECOND_CALL_ID}
    sent = [each.sip for each in stage.forked if each.sip is not None and each.sip.call_id in wanted]
    assert read == [f"{sip.call_id}\t{sip.header('CSeq')}" for sip in sent]
    assert download.value.suggested_filename.endswith(".pcap")


def test_one_leg_and_the_way_to_the_other(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(legs="one"), TALL)

    expect(page.locator(".heads .head")).to_have_count(2)
    page.keyboard.press("l")
    expect(page.locator(".heads .head")).to_have_count(5)
    page.get_by_role("list", name="Call-IDs").get_by_role("link").click()
    page.wait_for_url("**/call?call_id=b2bua*")
    expect(page.locator("#summary strong")).to_have_text(forked_call.SECOND_CALL_ID)


def test_a_link_opens_the_same_view_elsewhere(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address(), TALL)
    rows(page).nth(5).click()
    for key in ("t", "n", "r", "p"):
        page.keyboard.press(key)
    expect(opened(page).get_by_role("table").last).to_be_visible()

    other = seen(visit, page.url, TALL)

    expect(opened(other).get_by_role("table").last).to_be_visible()
    assert drawn(other) == drawn(page)
    assert rows(other).locator(".when").all_text_contents() == rows(page).locator(".when").all_text_contents()
    expect(opened(other).get_by_role("tab", name="Parsed")).to_have_attribute("aria-selected", "true")
    expect(other.locator("[aria-selected=true][role=option]")).to_have_count(1)


def test_a_trace_of_the_caller_is_started(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address())

    page.get_by_role("button", name="Trace…").click()
    form = page.get_by_role("dialog", name="Trace")
    form.get_by_label("Where it goes").fill("nowhere:at-all")
    form.get_by_role("button", name="Start").click()
    expect(form.get_by_role("alert")).to_contain_text("nowhere:at-all")
    page.complaints.clear()  # the browser tells of every 400
    form.get_by_label("Where it goes").fill("store:lake")
    form.get_by_label("Its name").fill("case-7")
    form.get_by_role("button", name="Start").click()

    expect(form).to_have_count(0)
    traces = json.loads(stage.switch.get("/api/v1/traces"))["traces"]
    assert traces["case-7"]["filter"] == 'caller = "+4930111"'
    assert traces["case-7"]["to"] == ["store:lake"]


def test_a_call_that_is_not_there_is_told_in_words(visit: Visit, stage: Stage) -> None:
    page = visit(stage.address("nobody@nowhere"))

    expect(page.get_by_role("alert")).to_contain_text("No such call")
    expect(page.get_by_role("alert")).to_contain_text("nobody@nowhere")
    assert page.complaints.pop().endswith("404 (Not Found)")


def test_a_call_of_thousands_of_messages_draws_what_is_in_sight(visit: Visit, stage: Stage) -> None:
    told = stage.call(forked_call.LONG_CALL_ID)["events"]
    assert "payload" not in told[0]["message"]
    page = seen(visit, stage.address(forked_call.LONG_CALL_ID))

    assert 20 < rows(page).count() < 120
    page.keyboard.press("End")
    expect(rows(page).last).to_have_attribute("data-id", told[-1]["id"])
    page.keyboard.press("Enter")
    assert raw(page).startswith("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.10")
    took = page.evaluate("performance.getEntriesByName('call-drawn')[0].duration")
    print(f"{len(told)} messages: drawn {took:.0f} ms after the answer")


def test_paper_has_every_message(visit: Visit, stage: Stage) -> None:
    told = stage.call(forked_call.CALL_ID)["events"]
    page = seen(visit, stage.address(repeats="yes"))

    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    expect(rows(page)).to_have_count(len(told))
    expect(page.locator("#tools")).to_be_hidden()


def test_screenshots(visit: Visit, stage: Stage) -> None:
    page = seen(visit, stage.address())
    screenshots(page, "call")
    page.set_viewport_size(DESK)
    rows(page).nth(2).click()
    expect(opened(page).locator(".line").first).to_be_visible()
    screenshots(page, "call-message")
    page.set_viewport_size(DESK)
    page.keyboard.press("d")
    expect(page.get_by_role("table", name="Difference")).to_be_visible()
    screenshots(page, "call-difference")
