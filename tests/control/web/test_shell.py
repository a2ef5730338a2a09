"""The frame of every screen: header, keys, theme, zone of times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from browser import Visit, browser, visit
from control.web.standin import Standin, standing_in

__all__ = ["browser", "visit"]
SCREENS = {"/": "Search", "/call?call_id=a84b4c76e66710@10.0.0.1": "Call", "/live": "Live", "/switch": "Switch"}


@pytest.fixture(scope="module")
def server() -> Iterator[Standin]:
    with standing_in() as standin:
        yield standin


@pytest.mark.parametrize("path", SCREENS)
def test_each_screen_has_its_title_and_the_frame(visit: Visit, server: Standin, path: str) -> None:
    page = visit(server.url + path)

    expect(page.locator("h1")).to_have_text(SCREENS[path])
    expect(page.get_by_role("navigation", name="Screens").get_by_role("link")).to_have_text(
        ["Search", "Live", "Switch"]
    )
    expect(page.locator(".top .state").first).to_have_text("capturing")
    expect(page.locator(".top .state").nth(1)).to_have_text("operate")


def test_keys_lead_from_screen_to_screen_and_tell_what_they_do(visit: Visit, server: Standin) -> None:
    page = visit(server.url + "/switch")
    expect(page.locator(".top .state").first).to_have_text("capturing")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("local time or UTC")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("l")

    page.wait_for_url("**/live")


def test_a_chosen_theme_outlives_the_page(visit: Visit, server: Standin) -> None:
    page = visit(server.url + "/switch")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(ground)
    page.reload()

    assert light != dark
    assert page.evaluate(ground) == dark
