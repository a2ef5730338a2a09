"""The frame of every screen: header, keys, theme."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from browser import Visit, browser, visit
from running import RunningSwitch, running_switch

__all__ = ["browser", "visit"]
SCREENS = {"/": "Search", "/live": "Live", "/switch": "Switch"}


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSwitch]:
    config = 'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:./captures"\n'
    with running_switch(tmp_path_factory.mktemp("shell"), config) as switch:
        yield switch


@pytest.mark.parametrize("path", SCREENS)
def test_each_screen_has_its_title_and_the_frame(visit: Visit, switch: RunningSwitch, path: str) -> None:
    page = visit(switch.control + path)

    expect(page.locator("h1")).to_have_text(SCREENS[path])
    links = page.get_by_role("navigation", name="Screens").get_by_role("link")
    expect(links).to_have_text(["Search", "Live", "Switch"])
    expect(page.locator('.top nav [aria-current="page"]')).to_have_text(SCREENS[path])
    expect(page.locator(".top .state").first).to_have_text("capturing")
    expect(page.locator(".top .state").nth(1)).to_have_text("operate")


def test_keys_lead_from_screen_to_screen_and_tell_what_they_do(visit: Visit, switch: RunningSwitch) -> None:
    page = visit(switch.control + "/switch")
    expect(page.locator(".top .state").first).to_have_text("capturing")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("local time or UTC")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("l")

    page.wait_for_url("**/live")


def test_a_chosen_theme_outlives_the_page(visit: Visit, switch: RunningSwitch) -> None:
    page = visit(switch.control + "/switch")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(ground)
    page.reload()

    assert light != dark
    assert page.evaluate(ground) == dark
