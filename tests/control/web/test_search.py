"""The Search screen: the question, the chart, the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from browser import PHONE, Visit, browser, screenshots, visit
from control.web import standin_data as data
from control.web.standin import Standin, calls, standing_in
from running import wait_for

__all__ = ["browser", "visit"]


@pytest.fixture
def server() -> Iterator[Standin]:
    with standing_in() as standin:
        yield standin


@pytest.fixture
def page(visit: Visit, server: Standin) -> Page:
    page = visit(server.url + "/")
    expect(page.locator("#calls tr")).to_have_count(100)
    return page


def asked(server: Standin, path: str) -> list[dict[str, str]]:
    """The parameters of every question for that path."""
    urls = [urlsplit(one) for one in server.log if one.startswith(f"/api/v1{path}?")]
    return [{name: values[0] for name, values in parse_qs(url.query).items()} for url in urls]


def test_the_screen(page: Page) -> None:
    row = page.locator("#calls tr").first
    expect(page.locator("#count")).to_have_text("100+ calls")
    expect(row.locator("td.c-start")).to_contain_text(data.CALLS[0]["start"][11:23])
    expect(row.locator("td.c-call-id a")).to_have_text(data.CALLS[0]["call_id"])
    expect(page.locator(".chart .line")).to_contain_text("failed")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("x")
    screenshots(page, "search")


def test_what_is_typed_is_asked_when_the_keys_rest(page: Page, server: Standin) -> None:
    page.keyboard.type("alice", delay=20)

    expect(page.locator("#read")).to_contain_text("user alice")
    expect(page).to_have_url(server.url + "/?q=alice")
    assert [one.get("q") for one in asked(server, "/calls")] == [None, "alice"]


def test_a_new_question_gives_the_slow_one_up(page: Page, server: Standin) -> None:
    def slow(parameters: dict[str, list[str]]) -> object:
        if parameters.get("q") == ["bob"]:
            server.over.wait(5)
        return calls(parameters)

    server.answers["/calls"] = slow
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    wait_for(lambda: any(one.get("q") == "bob" for one in asked(server, "/calls")), "the slow question")
    page.get_by_role("searchbox").fill("alice")
    page.keyboard.press("Enter")

    expect(page.locator("#read")).to_contain_text("user alice")
    expect(page.locator("#slow")).to_be_hidden()


def test_a_slow_question_can_be_cancelled_and_what_was_there_stays(page: Page, server: Standin) -> None:
    server.answers["/calls"] = lambda parameters: server.over.wait(20) or calls(parameters)
    page.get_by_role("button", name="6 h").click()
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_text("The question was given up")).to_be_visible()
    expect(page.locator("#calls tr")).to_have_count(100)
    expect(page.locator("#slow")).to_be_hidden()


def test_a_wrong_question_is_said_in_words(page: Page) -> None:
    page.keyboard.type("(src_ip")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("a parenthesis is not closed")
    expect(page.get_by_role("searchbox")).to_have_attribute("aria-invalid", "true")
    page.complaints.clear()  # the browser logs every 400


def test_the_address_holds_the_question_and_goes_back(page: Page, server: Standin) -> None:
    page.get_by_role("button", name="6 h").click()
    page.wait_for_url("**/?since=6h")
    page.get_by_label("from").fill("2026-11-18 11:00")
    page.get_by_label("from").press("Enter")
    page.wait_for_url("**/?since=2026-11-18T11%3A00%3A00.000000Z")
    page.go_back()

    expect(page.get_by_role("button", name="6 h")).to_have_attribute("aria-pressed", "true")
    wait_for(lambda: asked(server, "/calls")[-1].get("since") == "6h", "the question before")


def test_a_time_that_is_none_is_said(page: Page) -> None:
    page.get_by_label("from").fill("yesterday")
    page.get_by_label("from").press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("“yesterday” is not a time. Write 2h, 14:30 or 2026-11-25 14:30")


def test_a_brush_by_mouse_chooses_a_range_and_a_double_click_widens_it(page: Page, server: Standin) -> None:
    box = page.locator(".chart svg").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.51, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.74, box["y"] + 40, steps=3)
    page.mouse.up()

    page.wait_for_url("**/?since=*&until=*")
    begin, end = asked(server, "/calls")[-1]["since"], asked(server, "/calls")[-1]["until"]
    assert begin == data.stamp(data.NOW - 3600 + 61 * 30)
    assert end == data.stamp(data.NOW - 3600 + 89 * 30)

    page.locator(".chart svg").dblclick()
    wait_for(
        lambda: asked(server, "/calls")[-1]["since"] == data.stamp(data.NOW - 3600 + 33 * 30), "the wider question"
    )


def test_a_brush_by_keyboard(page: Page, server: Standin) -> None:
    chart = page.get_by_role("slider")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(chart).to_have_attribute("aria-valuetext", page_text := chart.get_attribute("aria-valuetext") or "")
    assert "from 2026-11-18" in page_text
    page.keyboard.press("Enter")

    page.wait_for_url("**/?since=*&until=*")
    assert asked(server, "/calls")[-1]["since"] == data.stamp(data.NOW - 3600 + 30)
    assert asked(server, "/calls")[-1]["until"] == data.stamp(data.NOW - 3600 + 90)


def test_older_calls_come_while_one_scrolls(page: Page) -> None:
    for count in (200, 300, 400):
        page.mouse.move(600, 500)
        page.mouse.wheel(0, 100_000)
        wait_for(lambda count=count: page.locator("#calls tr").count() >= count, "older calls")
    ids = page.locator("#calls tr").evaluate_all("rows => rows.map(row => row.dataset.callId)")
    assert ids == [one["call_id"] for one in data.CALLS[: len(ids)]]


def test_a_thousand_rows_stay_quick(page: Page, server: Standin) -> None:
    server.answers["/calls"] = lambda parameters: calls(parameters | {"limit": ["1000"]})
    page.get_by_role("button", name="6 h").click()
    expect(page.locator("#calls tr")).to_have_count(1000)
    page.get_by_role("searchbox").press("ArrowDown")
    for _ in range(40):
        page.keyboard.press("j")

    expect(page.locator("#calls tr").nth(40)).to_be_focused()


def test_the_keyboard_alone_leads_to_the_call(page: Page) -> None:
    page.get_by_role("searchbox").press("ArrowDown")
    page.keyboard.press("j")
    expect(page.locator("#calls tr").nth(1)).to_be_focused()
    page.keyboard.press("Enter")

    page.wait_for_url("**/call?call_id=*")
    assert parse_qs(urlsplit(page.url).query)["call_id"] == [data.CALLS[1]["call_id"]]


def test_chosen_calls_are_saved_as_one_file(page: Page, tmp_path: Path) -> None:
    page.locator("#calls tr").nth(0).get_by_role("checkbox").check()
    page.locator("#calls tr").nth(2).get_by_role("checkbox").check()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Export pcap").click()
    saving.value.save_as(tmp_path / "saved")

    assert saving.value.suggested_filename == "calls.pcap"
    assert (tmp_path / "saved").read_text().split() == [data.CALLS[0]["call_id"], data.CALLS[2]["call_id"]]


def test_the_live_end_brings_new_calls_and_keeps_the_place(page: Page, server: Standin) -> None:
    page.clock.install()
    page.get_by_role("searchbox").press("ArrowDown")
    page.get_by_label("live end").check()
    wait_for(lambda: len(asked(server, "/calls")) == 2, "the first look")
    expect(page.locator("#busy")).not_to_have_class("busy on")
    fresh = data.call(1) | {"call_id": "fresh@10.0.0.1", "start": data.stamp(data.NOW)}
    server.answers["/calls"] = lambda parameters: (
        (found := calls(parameters)) | {"calls": [fresh, *found["calls"][:99]]}
    )
    page.clock.run_for(6000)

    expect(page.locator("#calls tr").first.locator("td.c-call-id a")).to_have_text("fresh@10.0.0.1")
    expect(page.locator("#calls tr")).to_have_count(101)
    expect(page.locator('#calls tr[aria-selected="true"]')).to_have_attribute("data-call-id", data.CALLS[0]["call_id"])


def test_nothing_found_says_what_to_do(page: Page, server: Standin) -> None:
    empty = {
        "calls": [],
        "next": None,
        "since": None,
        "until": None,
        "asked": {},
        "warnings": ["the file x is damaged"],
    }
    server.answers["/calls"] = lambda _: empty | {"seconds": 0.1}
    page.keyboard.type("nobody")
    page.keyboard.press("Enter")

    expect(page.locator("#end")).to_contain_text("No call is like that in this time.")
    expect(page.get_by_role("alert")).to_have_text("the file x is damaged")
    page.get_by_role("button", name="Look at the last 7 days").click()
    page.wait_for_url("**/?q=nobody&since=7d")


def test_several_stores_are_offered(visit: Visit, server: Standin) -> None:
    both = [
        {"name": "lake", "kind": "lake", "default": True},
        {"name": "homer", "kind": "postgresql", "default": False},
    ]
    server.answers["/stores"] = lambda _: {"stores": both}
    page = visit(server.url + "/")
    page.get_by_label("Store").select_option("homer (postgresql)")

    page.wait_for_url("**/?store=homer")
    wait_for(lambda: asked(server, "/calls")[-1].get("store") == "homer", "the question for the other store")


def test_times_are_those_of_the_browser_or_utc(visit: Visit, server: Standin) -> None:
    page = visit(server.url + "/?since=2026-11-18T11:00:00Z", zone="Asia/Kolkata")
    start = page.locator("#calls tr td.c-start").first
    expect(start).to_contain_text(f"17:3{data.CALLS[0]['start'][15:23]}")
    expect(page.get_by_label("from")).to_have_value("2026-11-18 16:30:00")
    page.keyboard.press("Escape")
    page.keyboard.press("z")

    expect(start).to_contain_text(data.CALLS[0]["start"][11:23])
    expect(page.get_by_label("from")).to_have_value("2026-11-18 11:00:00")


def test_a_phone_shows_it_without_scrolling_sideways(visit: Visit, server: Standin) -> None:
    page = visit(server.url + "/", viewport=PHONE)
    expect(page.locator("#calls tr")).to_have_count(100)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
