"""HepLogHandler: log lines as HEP packets, each with its call, and never in the way of who logs."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from far_ends import UdpSink
from hepswitch.agent import HepLogHandler, HepSender, call, current_call
from hepswitch.testing import invite
from hepswitch.wire.hep import Hep
from running import running_switch, wait_for

Attach = Callable[..., logging.Logger]


@pytest.fixture
def sink() -> Iterator[UdpSink]:
    with closing(UdpSink()) as sink:
        yield sink


@pytest.fixture
def attach(sink: UdpSink) -> Iterator[Attach]:
    """A logger of its own with a handler for the sink."""
    logger = logging.Logger("phone", logging.DEBUG)

    def attach(**options: Any) -> logging.Logger:
        logger.addHandler(HepLogHandler(sink.url, **options))
        return logger

    yield attach
    for handler in logger.handlers:
        handler.close()


def lines(sink: UdpSink, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Text and call of each packet."""
    wait_for(lambda: len(sink.read()) >= count, f"{count} packets arrive")
    assert len(sink.frames) == count
    return [(hep.payload, hep.correlation_id) for hep in map(Hep, sink.frames)]


def test_a_line_is_formatted_and_has_its_records_time(attach: Attach, sink: UdpSink) -> None:
    logger = attach(captagent_id=7, node_name="pbx", src=["192.0.2.1", 5060], dst=("192.0.2.2", 5061))
    handler = logger.handlers[0]
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    record = logger.makeRecord("phone", logging.ERROR, __file__, 1, "no route to %s", ("böb",), None)
    record.created = 1_700_000_000.25
    logger.handle(record)
    assert lines(sink, 1) == [("ERROR phone: no route to böb".encode(), None)]
    hep = Hep(sink.frames[0])
    assert (hep.proto_type, hep.time, hep.captagent_id, hep.node_name) == ("LOG", 1_700_000_000.25, 7, "pbx")
    assert (hep.src_ip, hep.src_port, hep.dst_ip, hep.dst_port) == ("192.0.2.1", 5060, "192.0.2.2", 5061)


def test_the_call_of_a_line(attach: Attach, sink: UdpSink) -> None:
    logger = attach()
    logger.info("none")
    logger.info("of the record", extra={"call_id": "c1"})
    with call("c2"):
        logger.info("of the block")
        logger.info("of the record first", extra={"call_id": "c3"})
        with call("c4"):
            logger.info("of the inner block")
        logger.info("of the block again")
    logger.info("a number", extra={"call_id": 5})
    assert current_call() is None
    assert [correlation_id for _, correlation_id in lines(sink, 7)] == [
        None, b"c1", b"c2", b"c3", b"c4", b"c2", b"5",
    ]  # fmt: skip


def test_another_attribute_and_lines_of_calls_only(attach: Attach, sink: UdpSink) -> None:
    logger = attach(correlation_id="dialog", only_calls=True, level="INFO")
    logger.info("of no call", extra={"call_id": "c1"})
    logger.debug("below the level", extra={"dialog": "c2"})
    logger.info("kept", extra={"dialog": "c3"})
    assert lines(sink, 1) == [(b"kept", b"c3")]


async def test_tasks_do_not_share_their_call(attach: Attach, sink: UdpSink) -> None:
    logger = attach()
    both = asyncio.Barrier(2)

    async def work(call_id: str) -> None:
        with call(call_id):
            await both.wait()  # both tasks are inside
            logger.info("task")
            await asyncio.to_thread(logger.info, "thread")

    await asyncio.gather(work("c1"), work("c2"))
    assert sorted(lines(sink, 4), key=str) == [
        (b"task", b"c1"), (b"task", b"c2"), (b"thread", b"c1"), (b"thread", b"c2"),
    ]  # fmt: skip


def test_from_a_configuration(sink: UdpSink) -> None:
    before = list(logging.getLogger().handlers)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
            "handlers": {
                "hep": {
                    "class": "hepswitch.agent.HepLogHandler",
                    "sender": sink.url,
                    "captagent_id": 9,
                    "auth_key": "open sesame",
                    "src": ["192.0.2.1", 5060],
                    "formatter": "short",
                    "level": "WARNING",
                }
            },
            "loggers": {"configured": {"handlers": ["hep"], "propagate": False}},
        }
    )
    logger = logging.getLogger("configured")
    try:
        logger.info("not this")
        logger.warning("this", extra={"call_id": "c1"})
        assert lines(sink, 1) == [(b"WARNING this", b"c1")]
        hep = Hep(sink.frames[0])
        assert (hep.captagent_id, hep.src_ip, hep.auth_key) == (9, "192.0.2.1", b"open sesame")
        assert "sesame" not in repr(logger.handlers)
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        assert logging.getLogger().handlers == before


def test_a_handler_closes_the_sender_that_is_its_own(sink: UdpSink) -> None:
    with HepSender(sink.url) as shared:
        HepLogHandler(shared).close()
        assert shared.stats["state"] == "idle"
        own = HepLogHandler(sink.url)
        own.close()
        assert own.sender.stats["state"] == "closed"
        with pytest.raises(TypeError, match="captagent_id: options of a sender go with a URL"):
            HepLogHandler(shared, captagent_id=1)
        with pytest.raises(ValueError, match=r"src is an IP address and a port, .* not '192\.0\.2\.1'"):
            HepLogHandler(shared, src="192.0.2.1")


def test_a_record_that_cannot_be_sent_is_an_error_of_the_handler(attach: Attach, sink: UdpSink) -> None:
    logger = attach()
    failed: list[logging.LogRecord] = []
    logger.handlers[0].handleError = failed.append  # type: ignore[method-assign]
    logger.info("%d", "no number")
    logger.info("too much of an id", extra={"call_id": "c" * 70_000})
    logger.info("goes on")
    assert lines(sink, 1) == [(b"goes on", None)]
    assert [record.msg for record in failed] == ["%d", "too much of an id"]


def test_what_the_agent_logs_about_sending_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    with closing(UdpSink()) as gone:
        url = f"tcp://127.0.0.1:{gone.port}"
    root, level = logging.getLogger(), logging.getLogger().level
    handler = HepLogHandler(url)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        root.info("the only line")
        wait_for(lambda: "is away" in caplog.text, "the outage is said")
        assert any(record.name == "asyncio" for record in caplog.records)
        assert handler.sender.stats["accepted"] == 1
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.sender.close(0.0)
        handler.close()


def test_closing_does_not_wait_for_a_thread_that_wants_to_log(sink: UdpSink) -> None:
    """`logging.shutdown` closes a handler under the handler's own lock."""
    handler = HepLogHandler(sink.url)
    logger = logging.Logger("root")
    logger.addHandler(handler)
    record = logger.makeRecord("hepswitch.agent", logging.WARNING, __file__, 1, "is away", (), None)
    record.threadName = "hepswitch-agent"
    handler.acquire()
    try:
        thread = threading.Thread(target=logger.handle, args=(record,))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        handler.release()
        handler.close()


def test_a_call_and_its_log_are_found_together(tmp_path: Path) -> None:
    config = 'listen = ["tcp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:captures"\n'
    with running_switch(tmp_path, config) as switch:
        host, port = switch.address("tcp")
        with HepSender(f"tcp://{host}:{port}", captagent_id=77) as sender:
            logger = logging.Logger("phone")
            logger.addHandler(HepLogHandler(sender))
            message = invite(call_id="call-1@phone").payload
            assert message is not None
            assert sender.sip(message, ("192.0.2.1", 5060), ("192.0.2.2", 5060))
            with call("call-1@phone"):
                logger.info("no route to bob")
            with call("call-2@phone"):
                logger.info("another call")
        assert sender.stats["delivered"] == 3
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == 3, "all is stored")
        found = subprocess.run(
            [sys.executable, "-m", "hepswitch.cli", "search", "--lake", str(tmp_path / "captures"),
             "--call-id", "call-1@phone", "--messages", "--json"],
            check=True, capture_output=True, text=True,
        ).stdout.splitlines()  # fmt: skip
        rows = [json.loads(line) for line in found]
        assert [(row["method"], row["payload"] == "no route to bob") for row in rows] == [
            ("INVITE", False),
            (None, True),
        ]
        assert {row["captagent_id"] for row in rows} == {77}
        assert rows[1]["correlation_id"] == "call-1@phone"
        assert switch.stats()["balanced"]
