"""A person before the page: Debian's chromium by Playwright, without windows of its own where there is that package.

That is half the work. Whatever the browser complains about fails the test: console errors, exceptions, requests that failed,
violations of the content security policy.

`browser` and `visit` are fixtures: a test module imports them. The browser is a module's own, because Playwright's
synchronous API holds an event loop for as long as it lives: no asynchronous test may stand in the same module.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
PROGRAMS = ("chromium-headless-shell", "chromium")
DESK = {"width": 1280, "height": 720}
PHONE = {"width": 390, "height": 844}
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 30_000
"""Milliseconds that a busy machine may take for whatever a test waits for."""

expect.set_options(timeout=PATIENCE)

WATCH_POLICY = """addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy: ${event.violatedDirective} refuses ${event.blockedURI} ${event.sample}`);
});"""

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, f"chromium is missing: sudo apt-get install {PROGRAMS[0]}"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(url, viewport=DESK, scheme="light", zone="UTC", password=None)`: a page of a fresh browser profile; the person
    before it logs in with the password. `page.complaints` may be read and cleared by a test that provokes some."""
    contexts = []
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"console: {message.text}")

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a question that the page gave up, a download
            complaints.append(f"request: {request.url} {request.failure}")

    def visit(
        url: str,
        viewport: dict[str, int] = DESK,
        scheme: str = "light",
        zone: str = "UTC",
        password: str | None = None,
    ) -> Page:
        login = None if password is None else {"username": "", "password": password}
        context = browser.new_context(
            viewport=viewport,
            color_scheme=scheme,
            timezone_id=zone,
            locale="en-GB",
            accept_downloads=True,
            http_credentials=login,
        )
        contexts.append(context)
        context.add_init_script(WATCH_POLICY)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.on("requestfailed", failed)
        page.complaints = complaints
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


def screenshots(page: Page, name: str) -> None:
    """Pictures of the page as it is: build/screenshots/NAME-light.png, -dark.png, and both of a phone."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for viewport, suffix in ((PHONE, "-phone"), (DESK, "")):
        page.set_viewport_size(viewport)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}{suffix}.png")
