"""The Search screen in a browser, before a switch with calls: the question, the chart, the table."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from browser import DESK, PHONE, Visit, browser, screenshots, visit
from control.web.search_stage import CALLS, switch_with_calls
from running import RunningSwitch, wait_for
from traffic import calls as made
from traffic import hep

__all__ = ["browser", "visit"]

ROWS = "#calls tr"


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    with switch_with_calls(tmp_path_factory.mktemp("search")) as switch:
        yield switch


@pytest.fixture
def page(visit: Visit, switch: RunningSwitch) -> Page:
    return opened(visit, switch)


def opened(visit: Visit, switch: RunningSwitch, query: str = "", **options: Any) -> Page:
    page = visit(f"{switch.control}/{query}", **options)
    page.wait_for_selector(f"{ROWS}, #end .hint", timeout=60_000)  # the first question starts its process
    return page


def asked(page: Page, endpoint: str) -> list[dict[str, str]]:
    """The parameters of every question that the page has asked that endpoint, the latest last."""
    urls: list[str] = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    questions = [parts for parts in map(urlsplit, urls) if parts.path == f"/api/v1{endpoint}"]
    return [{name: values[0] for name, values in parse_qs(parts.query).items()} for parts in questions]


def found(switch: RunningSwitch, **asked: Any) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads(switch.get(f"/api/v1/calls?{urlencode(asked)}"))["calls"]
    return calls


def ids(page: Page) -> list[str]:
    texts: list[str] = page.locator(ROWS).evaluate_all("rows => rows.map(row => row.dataset.callId)")
    return texts


def hold(page: Page, endpoint: str) -> None:
    """Questions to that endpoint get no answer from now on."""

    def silent(route: Route) -> None:
        """Whoever asks waits."""

    page.route(f"**/api/v1{endpoint}?*", silent)


def test_a_call_is_a_row_with_all_that_is_known(page: Page, switch: RunningSwitch) -> None:
    first = found(switch)[0]
    row = page.locator(ROWS).first

    expect(page.locator("#count")).to_have_text("100+ calls")
    expect(row.locator("td.c-start")).to_have_text(first["start"][:23].replace("T", " "))
    expect(row.locator("td.c-from")).to_have_text(f"{first['from_user']}@{first['from_domain']}")
    expect(row.locator("td.c-status")).to_have_text(f"{first['status']}{first['reason']}")
    expect(row.locator("td.c-messages")).to_have_text(str(first["messages"]))
    expect(row.locator("td.c-call-id a")).to_have_text(first["call_id"])
    expect(page.locator(".chart .line")).to_contain_text("calls, ")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("x")
    screenshots(page, "search")


def test_what_is_typed_is_asked_when_the_keys_rest(page: Page, switch: RunningSwitch) -> None:
    number = found(switch, limit=200)[-1]["from_user"]
    page.keyboard.type(number[-6:], delay=5)

    expect(page.locator("#read")).to_have_text(f"read asuser *{number[-6:].lstrip('0')}")
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page).to_have_url(f"{switch.control}/?q={number[-6:]}")
    assert asked(page, "/calls")[-1]["q"] == number[-6:]
    expect(page.locator("#end")).to_have_text("These are all.")


def test_a_new_question_gives_the_slow_one_up(page: Page) -> None:
    hold(page, "/calls")
    page.keyboard.type("486")
    page.keyboard.press("Enter")
    expect(page.locator("#slow")).to_be_visible()
    page.unroute_all()
    page.get_by_role("searchbox").fill("404")
    page.keyboard.press("Enter")

    expect(page.locator("#read")).to_have_text("read asstatus 404")
    expect(page.locator("#slow")).to_be_hidden()


def test_a_slow_question_can_be_cancelled_and_what_was_there_stays(page: Page) -> None:
    hold(page, "/calls")
    page.get_by_role("button", name="6 h").click()
    expect(page.locator("#slow")).to_contain_text("Searching for")
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_text("The question was given up")).to_be_visible()
    expect(page.locator(ROWS)).to_have_count(100)
    expect(page.locator("#slow")).to_be_hidden()


def test_a_wrong_question_is_said_in_words(page: Page) -> None:
    page.keyboard.type("src_ip in 10.0.0.0/99")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("10.0.0.0/99")
    expect(page.get_by_role("searchbox")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(ROWS)).to_have_count(100)
    page.complaints.clear()  # the browser logs every 400


def test_an_example_is_a_question(page: Page, switch: RunningSwitch) -> None:
    page.get_by_role("button", name="Examples of questions").click()
    page.get_by_role("button", name="486").click()

    expect(page.locator("#read")).to_have_text("read asstatus 486")
    expect(page.locator("#busy")).not_to_have_class("busy on")
    assert ids(page) == [one["call_id"] for one in found(switch, status="486")]
    expect(page.locator(ROWS).first.locator(".badge.s4")).to_have_text("486")


def test_the_address_holds_the_question_and_goes_back(page: Page) -> None:
    page.get_by_role("button", name="6 h").click()
    page.wait_for_url("**/?since=6h")
    page.get_by_label("from").fill("2026-11-18 11:00")
    page.get_by_label("from").press("Enter")
    page.wait_for_url("**/?since=2026-11-18T11%3A00%3A00.000000Z")
    page.go_back()

    expect(page.get_by_role("button", name="6 h")).to_have_attribute("aria-pressed", "true")
    wait_for(lambda: asked(page, "/calls")[-1].get("since") == "6h", "the question before")


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("yesterday", "", "“yesterday” is not a time. Write 2h, 14:30 or 2026-11-25 14:30"),
        ("2026-13-01", "", "“2026-13-01” is not a time"),
        ("14:30", "14:20", "“from” is not before “to”"),
    ],
)
def test_a_time_that_is_none_is_said(page: Page, since: str, until: str, words: str) -> None:
    page.get_by_label("to", exact=True).fill(until)
    page.get_by_label("from").fill(since)
    page.get_by_label("from").press("Enter")

    expect(page.get_by_role("alert")).to_contain_text(words)


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def test_a_brush_by_mouse_chooses_a_range_and_a_double_click_widens_it(page: Page) -> None:
    expect(page.locator(".chart .line")).to_contain_text("calls, ")
    chart = page.locator(".chart svg")
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.253, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.497, box["y"] + 40, steps=3)
    expect(page.locator(".chart .line")).to_contain_text(" from 20")
    page.mouse.up()

    page.wait_for_url("**/?since=*&until=*")
    wait_for(lambda: len(asked(page, "/calls")) == 2, "the narrower question")
    narrow = asked(page, "/calls")[-1]
    assert seconds(narrow["until"]) - seconds(narrow["since"]) == pytest.approx(30 * 30, abs=1)  # buckets 30 to 59

    expect(page.locator("#busy")).not_to_have_class("busy on")
    chart.dblclick()
    wait_for(lambda: len(asked(page, "/calls")) == 3, "the wider question")
    wide = asked(page, "/calls")[-1]
    assert seconds(narrow["since"]) - seconds(wide["since"]) == pytest.approx(30 * 30, abs=1)


def test_a_brush_by_keyboard(page: Page) -> None:
    chart = page.get_by_role("slider")
    expect(page.locator(".chart .line")).to_contain_text("calls, ")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert " from 20" in (chart.get_attribute("aria-valuetext") or "")
    page.keyboard.press("Enter")

    page.wait_for_url("**/?since=*&until=*")
    wait_for(lambda: len(asked(page, "/calls")) == 2, "the narrower question")
    narrow = asked(page, "/calls")[-1]
    assert seconds(narrow["until"]) - seconds(narrow["since"]) == pytest.approx(2 * 30, abs=0.1)


def test_older_calls_come_while_one_scrolls(page: Page, switch: RunningSwitch) -> None:
    page.mouse.move(600, 500)

    def scrolled() -> bool:
        page.mouse.wheel(0, 100_000)
        return page.locator("#end").text_content() == "These are all."

    wait_for(scrolled, "the oldest call")
    assert ids(page) == [one["call_id"] for one in found(switch, limit=1000)]
    assert len(ids(page)) > CALLS


def test_a_thousand_rows_stay_quick(page: Page, switch: RunningSwitch) -> None:
    some = found(switch, limit=100)
    many = [call | {"call_id": f"{number}-{call['call_id']}"} for number in range(10) for call in some]

    def answer(route: Route) -> None:
        body = json.loads(route.fetch().text())
        route.fulfill(json=body | {"calls": many})

    page.route("**/api/v1/calls?*", answer)
    page.get_by_role("button", name="6 h").click()
    expect(page.locator(ROWS)).to_have_count(1000)
    page.get_by_role("searchbox").press("ArrowDown")
    for _ in range(40):
        page.keyboard.press("j")

    expect(page.locator(ROWS).nth(40)).to_be_focused()


def test_the_keyboard_alone_leads_to_the_call(page: Page, switch: RunningSwitch) -> None:
    second = found(switch)[1]["call_id"]
    page.get_by_role("searchbox").press("ArrowDown")
    page.keyboard.press("j")
    expect(page.locator(ROWS).nth(1)).to_be_focused()
    page.keyboard.press("Enter")

    page.wait_for_url("**/call?call_id=*")
    assert parse_qs(urlsplit(page.url).query)["call_id"] == [second]


def test_chosen_calls_are_saved_as_one_pcap_that_tshark_reads(
    page: Page, switch: RunningSwitch, tmp_path: Path
) -> None:
    calls = found(switch, until="300s", limit=3)
    page.get_by_label("to", exact=True).fill("300s")
    page.get_by_label("to", exact=True).press("Enter")
    for place in (0, 2):
        page.locator(f'{ROWS}[data-call-id="{calls[place]["call_id"]}"]').get_by_role("checkbox").check()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Export pcap").click()
    saving.value.save_as(tmp_path / "saved.pcap")

    assert saving.value.suggested_filename.endswith(".pcap")
    command = ["tshark", "-r", tmp_path / "saved.pcap", "-T", "fields", "-e", "sip.Call-ID"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(lines) == sorted([calls[0]["call_id"]] * 7 + [calls[2]["call_id"]] * 7)


def test_the_live_end_brings_new_calls_and_keeps_the_place(visit: Visit, switch: RunningSwitch) -> None:
    page = opened(visit, switch)
    before = ids(page)
    page.get_by_role("searchbox").press("ArrowDown")
    page.get_by_label("live end").check()
    page.wait_for_url("**/?live=1")
    latest = seconds(found(switch)[0]["start"])
    switch.send_udp(*map(hep, made(1, seed=7, start=latest + 0.5)))
    wait_for(lambda: found(switch, limit=1)[0]["call_id"] != before[0], "the new call in the lake")

    expect(page.locator(ROWS)).to_have_count(101, timeout=20_000)
    assert ids(page)[1:] == before
    expect(page.locator(f'{ROWS}[aria-selected="true"]')).to_have_attribute("data-call-id", before[0])


def test_what_came_unseen_is_not_left_out_by_the_live_end(visit: Visit, switch: RunningSwitch) -> None:
    page = opened(visit, switch)
    kept = page.evaluate(
        """async (calls) => {
            const { Results } = await import("/web/js/search/results.js");
            const body = document.createElement("tbody");
            const results = new Results(body, () => {});
            const shown = () => [...body.rows].map((row) => row.dataset.callId);
            results.show(calls.slice(100), "");
            const gap = results.renew(calls.slice(0, 50), 1000);
            const joined = results.renew(calls.slice(50, 150), 1000);
            const full = results.renew(calls.slice(0, 100), 100);
            return [gap, joined, full, shown()];
        }""",
        [{**call, "call_id": f"{number}"} for number, call in enumerate(found(switch, limit=200))],
    )
    assert kept == [False, True, False, [f"{number}" for number in range(50, 200)]]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?since=T", "T"),
        ("?since=yesTerday&until=Tomorrow", "yesTerday"),
        ("?since=2026-02-31T99:99:99Z", "2026-02-31T99:99:99Z"),
        ("?since=2026-11-18T11:00", "2026-11-18 11:00:00"),
        ("?since=2026-11-18T11:00:00.000001Z", "2026-11-18 11:00:00.000001"),
        ("?q=%00%ff&store=%3Cimg%3E&since=__proto__&live=1", "__proto__"),
    ],
)
def test_whatever_the_address_says_there_is_an_answer(
    visit: Visit, switch: RunningSwitch, query: str, shown: str
) -> None:
    page = visit(f"{switch.control}/{query}")
    expect(page.get_by_label("from")).to_have_value(shown)
    expect(page.locator(f"{ROWS}, #trouble .bad").first).to_be_attached()
    page.complaints.clear()  # the browser tells of every 400
    page.get_by_label("from").fill("1h")
    page.get_by_label("from").press("Enter")
    page.wait_for_url(re.compile(r"since=1h"))
    page.wait_for_load_state("networkidle")
    page.complaints[:] = [each for each in page.complaints if not each.startswith("console: Failed to load")]


def test_nothing_found_says_what_to_do(page: Page) -> None:
    page.keyboard.type("nobody-at-all")
    page.keyboard.press("Enter")

    expect(page.locator("#end")).to_contain_text("No call is like that in this time.")
    page.get_by_role("button", name="Look at the last 7 days").click()
    page.wait_for_url("**/?q=nobody-at-all&since=7d")


def test_an_empty_store_says_where_agents_send_to(visit: Visit, switch: RunningSwitch) -> None:
    page = opened(visit, switch, "?store=second")

    expect(page.get_by_label("Store")).to_have_value("second")
    expect(page.locator("#end")).to_contain_text(f"Agents send HEP to {', '.join(switch.urls)}.")
    page.get_by_label("Store").select_option("lake")
    page.wait_for_url(switch.control + "/")
    expect(page.locator(ROWS)).to_have_count(100)


def test_times_are_those_of_the_browser_or_utc(visit: Visit, switch: RunningSwitch) -> None:
    first = found(switch)[0]["start"]
    page = opened(visit, switch, "?since=2026-11-18T11:00:00Z", zone="Asia/Kolkata")
    start = page.locator(ROWS).first.locator("td.c-start")
    expect(page.get_by_label("from")).to_have_value("2026-11-18 16:30:00")
    expect(start).not_to_contain_text(first[11:16])
    page.keyboard.press("Escape")
    page.keyboard.press("z")

    expect(start).to_have_text(first[:23].replace("T", " "))
    expect(page.get_by_label("from")).to_have_value("2026-11-18 11:00:00")


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_wider_than_the_screen(visit: Visit, switch: RunningSwitch, viewport: dict[str, int]) -> None:
    page = opened(visit, switch, viewport=viewport)

    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
