"""The Switch screen in a browser, before a switch with a destination that is up, one that is down, a store and traces."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

import traffic
from browser import Visit, browser, screenshots, visit
from far_ends import UdpSink
from running import RunningSwitch, running_switch, wait_for

__all__ = ["browser", "visit"]

CONFIG = """
listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
[hep_route]
mode = "sip"
script = "route.py"
[destinations.homer]
urls = ["{one}", "{two}"]
[destinations.quality]
urls = ["tcp://127.0.0.1:{nobody}"]
spool = "10MiB"
[stores.lake]
url = "lake:./captures"
[traces.fraud]
to = ["store:lake"]
"""

ROUTE = """
from hepswitch import sip_route

@sip_route
def route(msg):
    if msg.method == "BYE":
        raise ValueError("no tenant <b>of this name</b>")
    if msg.method == "ACK":
        return msg.drop("not wanted")
    msg.relay("homer")
    if msg.status == 100:
        msg.relay("quality")
    msg.store()
"""


SMALL = """
listen = ["udp://127.0.0.1:0"]
receive_buffer = 4096
[stores.lake]
url = "lake:./captures"
"""


class Stage(NamedTuple):
    switch: RunningSwitch
    one: str
    two: str
    dead: str

    def get(self, path: str) -> Any:
        return json.loads(self.switch.get(f"/api/v1{path}"))

    def send(self, calls: int, seed: int = 1) -> None:
        self.switch.send_udp(*(traffic.hep(message) for message in traffic.calls(calls, seed=seed)))

    def state(self, node: str) -> str:
        nodes = [each for row in self.get("/destinations").values() for each in row["nodes"]]
        return next(each["state"] for each in nodes if each["url"] == node)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("switch")
    (folder / "route.py").write_text(ROUTE)
    with closing(UdpSink()) as one, closing(UdpSink()) as two, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: whoever connects is refused
        nobody = taken.getsockname()[1]
        config = CONFIG.format(one=one.url, two=two.url, nobody=nobody)
        with running_switch(folder, config) as switch:
            yield Stage(switch, one.url, two.url, f"tcp://127.0.0.1:{nobody}")


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def row(page: Page, name: str, words: str) -> Locator:
    """The row of the panel that has these words."""
    return panel(page, name).get_by_role("row").filter(has_text=words)


def figure(page: Page, name: str, words: str, column: str) -> Locator:
    """A cell of that row."""
    return row(page, name, words).locator(f'td[data-name="{column}"]')


def test_the_flow_has_every_part_with_its_rate_and_what_was_lost(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")
    flow = panel(page, "Flow")
    listener = flow.get_by_role("group", name="udp://")

    def flowing() -> bool:
        stage.send(2)
        return float(listener.locator(".rate").inner_text().rstrip("/s").replace(",", "").replace("–", "0")) > 0

    wait_for(flowing, "a rate at the listener")
    stage.switch.send_udp(b"no HEP")
    expect(listener).to_contain_text("1 malformed")
    expect(flow.get_by_role("group", name="route.py")).to_contain_text("dropped: not wanted")
    expect(flow.get_by_role("group", name="homer")).to_contain_text(stage.one)
    expect(flow.get_by_role("group", name="quality")).to_contain_text("spooled")
    expect(flow.get_by_role("group", name="quality")).to_contain_text("inactive")
    expect(flow.get_by_role("group", name="lake")).to_be_visible()
    expect(flow.get_by_role("group", name="traces")).to_contain_text("fraud")
    assert flow.locator(".wire path").count() == 6


def test_the_books_show_their_sums(visit: Visit, stage: Stage) -> None:
    stage.send(3, seed=2)
    page = visit(f"{stage.switch.control}/switch")
    books = panel(page, "Books")
    expect(books.locator(".badge")).to_have_text("balanced")

    def told() -> bool:
        book = stage.switch.stats()
        received = sum(each["packets"] for each in book["received"].values())
        accepted = figure(page, "Books", "lake", "accepted").inner_text()
        return f"received{received:,}=" in (books.text_content() or "") and accepted == (
            f"{book['stores']['lake']['accepted']:,}"
        )

    wait_for(told, "the books of the switch on the page")
    expect(figure(page, "Books", "lake", "holds")).to_have_text("✓")

    books.get_by_text("unrouted", exact=True).focus()
    expect(page.get_by_role("tooltip")).to_contain_text("neither sent them anywhere")


def test_a_destination_that_is_down_shows_so_with_its_spool(visit: Visit, stage: Stage) -> None:
    stage.send(5, seed=3)
    stage.switch.wait_stats(lambda book: book["destinations"]["quality"]["spooled"] >= 5, "a spool")
    page = visit(f"{stage.switch.control}/switch")

    def spooled() -> bool:
        told = stage.switch.stats()["destinations"]["quality"]["spooled"]
        return figure(page, "Destinations", stage.dead, "spooled").inner_text() == f"{told:,}"

    expect(figure(page, "Destinations", stage.dead, "state")).to_contain_text("inactive")
    wait_for(spooled, "the spool on the page")
    expect(figure(page, "Destinations", stage.dead, "last error")).to_contain_text("Connect call failed")


def test_a_node_is_disabled_and_enabled(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")
    node = row(page, "Destinations", stage.two)

    node.get_by_role("button", name="Disable").click()
    expect(page.locator(".toast")).to_contain_text(f"{stage.two}: state disabled")
    assert stage.state(stage.two) == "disabled"

    row(page, "Destinations", stage.one).get_by_role("button", name="Disable").click()
    expect(page.get_by_role("dialog")).to_contain_text("No other node of homer is active")
    page.get_by_role("button", name="Cancel").click()
    assert stage.state(stage.one) == "active"

    node.get_by_role("button", name="Enable").click()
    expect(figure(page, "Destinations", stage.two, "state")).to_contain_text("active")
    assert stage.state(stage.two) == "active"


def test_weight_and_priority_of_a_node_are_changed(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    row(page, "Destinations", stage.one).get_by_role("button", name="Change…").click()
    page.get_by_label("Weight").fill("2.5")
    page.get_by_label("Priority").fill("-1")
    page.get_by_role("button", name="Change", exact=True).click()

    expect(page.locator(".toast")).to_contain_text("weight 2.5, priority -1")
    expect(figure(page, "Destinations", stage.one, "weight")).to_have_text("2.5")
    node = next(each for each in stage.get("/destinations")["homer"]["nodes"] if each["url"] == stage.one)
    assert (node["weight"], node["priority"], node["state"]) == (2.5, -1, "active")


def test_capture_is_switched_off_and_on(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    page.get_by_role("button", name="Switch capture off").click()
    page.get_by_role("button", name="Cancel").click()
    assert stage.get("/capture") == {"on": True}

    page.get_by_role("button", name="Switch capture off").click()
    page.get_by_role("button", name="Switch it off").click()
    expect(page.locator(".toast")).to_contain_text("Capture is off")
    assert stage.get("/capture") == {"on": False}
    stage.send(1, seed=4)
    expect(panel(page, "Flow").get_by_role("group", name="lake")).to_contain_text("refused")

    page.get_by_role("button", name="Switch capture on").click()
    expect(page.get_by_role("button", name="Switch capture off")).to_be_visible()
    assert stage.get("/capture") == {"on": True}


def test_a_trace_is_started_counts_a_call_and_is_stopped(visit: Visit, stage: Stage, tmp_path: Path) -> None:
    page = visit(f"{stage.switch.control}/switch")
    messages = list(traffic.calls(1, seed=77))
    caller = messages[0].payload.split(b"From: ")[1].split(b"sip:")[1].split(b"@")[0].decode()

    page.get_by_role("button", name="Start a trace…").click()
    form = page.get_by_role("dialog", name="Start a trace")
    form.get_by_label("Name", exact=True).fill("case-7")
    form.get_by_label("To", exact=True).fill(f"file:{tmp_path}/case.sip")
    form.get_by_label("Filter", exact=True).fill("no.such = 1")
    form.get_by_role("button", name="Start the trace").click()
    expect(form.get_by_role("alert")).to_contain_text("no.such")
    page.complaints.clear()  # the browser tells of the refusal
    assert "case-7" not in stage.get("/traces")["traces"]

    form.get_by_label("Filter", exact=True).fill("")
    form.get_by_label("Caller", exact=True).fill(caller)
    form.get_by_role("button", name="Start the trace").click()
    expect(page.locator(".toast")).to_contain_text("Trace case-7 is started")
    assert stage.get("/traces")["traces"]["case-7"]["filter"] == f'caller = "{caller}"'

    stage.switch.send_udp(*(traffic.hep(message) for message in messages))
    expect(figure(page, "Traces", "case-7", "packets")).to_have_text("7")
    expect(figure(page, "Traces", "case-7", "calls")).to_have_text("1")

    row(page, "Traces", "case-7").get_by_role("button", name="Stop").click()
    expect(row(page, "Traces", "case-7")).to_have_count(0)
    assert "case-7" not in stage.get("/traces")["traces"]


def test_a_trace_of_the_file_and_all_tracing_are_switched(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    row(page, "Traces", "fraud").get_by_role("button", name="Off").click()
    expect(figure(page, "Traces", "fraud", "state")).to_have_text("off")
    assert stage.get("/traces")["traces"]["fraud"]["on"] is False
    row(page, "Traces", "fraud").get_by_role("button", name="On").click()
    expect(figure(page, "Traces", "fraud", "state")).to_have_text("on")

    page.get_by_role("button", name="Switch tracing off").click()
    expect(panel(page, "Traces")).to_contain_text("tracing is off")
    assert stage.get("/traces")["on"] is False
    page.get_by_role("button", name="Switch tracing on").click()
    expect(panel(page, "Traces")).to_contain_text("tracing is on")


def test_errors_of_the_script_show_with_their_line(visit: Visit, stage: Stage) -> None:
    stage.send(1, seed=5)
    page = visit(f"{stage.switch.control}/switch")

    raised = row(page, "Warnings and errors", "route raised").first
    expect(raised).to_contain_text("route.py:7: ValueError: no tenant <b>of this name</b>")
    expect(raised.locator('td[data-name="level"]')).to_have_text("error")


def test_agents_show_with_their_rates_and_clocks(visit: Visit, stage: Stage) -> None:
    late = traffic.calls(1, seed=6, start=time.time() - 120)
    stage.switch.send_udp(*(traffic.hep(message) for message in late))
    page = visit(f"{stage.switch.control}/switch")

    agent = row(page, "Agents", "edge-7")
    expect(agent).to_contain_text("2001")
    expect(agent).to_contain_text("127.0.0.1")
    expect(agent.locator('td[data-name="clock"]')).to_have_attribute("data-tone", "odd")
    expect(agent.locator('td[data-name="types"]')).to_contain_text("sip", ignore_case=True)


def test_a_reload_tells_what_changed(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    page.get_by_role("button", name="Reload").click()

    expect(page.locator(".toast")).to_contain_text("nothing in the file has changed")


def test_processes_and_the_configuration_are_there(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    expect(row(page, "Processes", "supervisor")).to_contain_text(str(stage.switch.process.pid))
    panel(page, "Configuration").get_by_text("Configuration").click()
    expect(panel(page, "Configuration").locator("pre")).to_contain_text('"mode": "sip"')


def test_a_hidden_tab_asks_nothing(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")
    expect(row(page, "Processes", "supervisor")).to_be_visible()
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    asked: list[str] = []

    with page.expect_response("**/api/v1/stats"):
        pass
    page.evaluate(hide, True)
    page.wait_for_load_state("networkidle")  # half a second without a question, and the page asks every second
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1500)
    assert not [url for url in asked if "/stats" in url]

    with page.expect_request("**/api/v1/stats"):
        page.evaluate(hide, False)


def test_who_may_read_sees_no_buttons_and_is_told_by_the_switch(visit: Visit, tmp_path: Path) -> None:
    password = "read-and-nothing-more"
    with running_switch(tmp_path, SMALL, {"HEPSWITCH_CONTROL__READ_TOKEN": password}) as switch:
        page = visit(f"{switch.control}/switch", password=password)
        expect(row(page, "Stores", "lake")).to_be_visible()
        expect(page.locator(".top")).to_contain_text("read")
        expect(page.locator("main").get_by_role("button")).to_have_count(0)

        page.route("**/api/v1/me", lambda route: route.fulfill(json={"user": None, "role": "operate"}))
        page.reload()
        page.get_by_role("button", name="Reload").click()
        expect(page.locator(".toast")).to_contain_text("changes and MI need the role operate")
        page.goto("about:blank")
        page.complaints.clear()  # the browser tells of the refusal


def test_drops_of_the_kernel_come_with_the_line_that_helps_and_the_end_is_told(visit: Visit, tmp_path: Path) -> None:
    with running_switch(tmp_path, SMALL) as switch:
        page = visit(f"{switch.control}/switch")
        expect(panel(page, "Books")).to_contain_text("lost in the kernel0")
        (worker,) = switch.workers()
        os.kill(worker, signal.SIGSTOP)
        switch.send_udp(*[b"x" * 500] * 200)
        os.kill(worker, signal.SIGCONT)

        expect(page.locator("#hints")).to_contain_text("sysctl -w net.core.rmem_max=")
        expect(panel(page, "Flow").get_by_role("group", name="udp://")).to_contain_text("lost in the kernel")
        drops = next(iter(switch.stats()["received"].values()))["kernel_drops"]
        expect(panel(page, "Books")).to_contain_text(f"lost in the kernel{drops:,}")
        switch.stop()

        expect(page.get_by_role("alert")).to_contain_text("The switch does not answer")
        page.goto("about:blank")
    page.complaints.clear()  # the browser tells of the requests that failed


def test_pictures(visit: Visit, stage: Stage) -> None:
    page = visit(f"{stage.switch.control}/switch")

    def flowing() -> bool:
        stage.send(20, seed=8)
        words = panel(page, "Flow").get_by_role("group", name="lake").locator(".rate").inner_text()
        return words not in ("–", "0/s")

    wait_for(flowing, "a rate")
    screenshots(page, "switch")
