"""What strangers may have sent, and calls that are too large: answers are JSON all the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lakes
from cli import recorded
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import lake, reader
from hepswitch.queries import ladders
from hepswitch.queries.questions import Call, Calls, Export, Message, Messages
from hepswitch.queries.selection import Place, cursor_of
from queries import asked

SINCE = "2026-11-01T00:00"
XSS = '"><script>alert(1)</script>'


def stored(folder: Path, packets: list[bytes]) -> asked.Stores:
    lakes.store(folder, packets)
    return asked.Stores({"lake": LakeStore(url=f"lake:{folder}")})


def hostile() -> list[bytes]:
    ids = [XSS, "nul\x00", "../../etc/passwd", "\u202egpj", "a" * 50_000]
    made = [recorded.sip("INVITE sip:bob@example.net SIP/2.0", name, "1 INVITE", user=XSS, sdp=True) for name in ids]
    made += [
        b"INVITE sip:\xff\xfe@x SIP/2.0\r\nCall-ID: bytes\r\nFrom: <sip:\xc3\x28@y>;tag=\xff\r\nCSeq: 1 INVITE\r\n"
        b"\r\n\xff\x00",
        b"SIP/2.0 299 \xff\r\nCall-ID: broken\r\n folded\r\nno colon here\r\n: no name\r\n",
        b"INVITE sip:x SIP/2.0\nCall-ID: sdp\nContent-Type: application/sdp\n\nv=0\nm=audio 1 \xff " + b"0 " * 15_000
        + b"\na=rtpmap:0 \xff\xfe\n" * 1000,
    ]  # fmt: skip
    return [recorded.hep(n / 10, recorded.CALLER, recorded.PROXY, payload) for n, payload in enumerate(made)]


def test_hostile_messages(tmp_path: Path) -> None:
    stores = stored(tmp_path, hostile())
    messages = stores.told(Messages(since=SINCE, payload=True))["messages"]
    assert len(messages) == len(hostile())
    assert {call["call_id"] for call in stores.told(Calls(since=SINCE))["calls"]} >= {XSS, "bytes", "sdp"}
    for message in messages:
        call_id = message["call_id"]
        if call_id is None:
            continue
        ladder = stores.told(Call(call_id=call_id))
        assert message["id"] in {event["id"] for event in ladder["events"]}
        whole = stores.told(Message(call_id=call_id, id=message["id"]))
        assert whole["sip"]["start_line"]
        for form in ("pcap", "pcapng", "text", "json"):
            out = stores.ask(Export(call_id=[call_id], format=form))
            assert out.head.status == 200
            name = out.head.file_name or ""
            assert name.endswith((".pcap", ".pcapng", ".txt", ".json"))
            assert not set(name) & set("/\\\"'<>\r\n\x00 ")
    by_call = {message["call_id"]: message for message in messages}
    assert "payload" not in by_call["bytes"]
    assert by_call["bytes"]["payload_base64"]
    (other,) = (message for message in messages if message["status"] == 299)
    broken = stores.told(Message(call_id=other["call_id"], id=other["id"]))["sip"]
    assert broken["headers"] == [["Call-ID", "broken folded"], ["no colon here", ""], ["", "no name"]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladders, "MOST_EVENTS", 2400)
    monkeypatch.setattr(ladders, "WITH_PAYLOADS", 100)


def test_a_call_is_put_in_order_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "PORTION", 7)
    moments = [0, 1, *[2] * 40, *range(3, 30), *[30] * 8]

    def packet(number: int) -> bytes:
        payload = recorded.sip("OPTIONS sip:bob@example.net SIP/2.0", "huge", f"{number} OPTIONS")
        return recorded.hep(moments[number], recorded.CALLER, recorded.PROXY, payload, correlation_id=b"huge")

    stores = stored(tmp_path, [packet(number) for number in range(len(moments))])
    found: list[Any] = json.loads(stores.ask(Export(call_id=["huge"], format="json")).body)
    assert sorted(packet["cseq"] for packet in found) == list(range(len(moments)))
    times = [packet["ts"] for packet in found]
    assert times == sorted(times)
    for packet_found in found:
        assert stores.told(Message(call_id="huge", id=packet_found["id"]))["cseq"] == packet_found["cseq"]
    for wrong in ("", "x", "-", found[0]["id"] + "0", "f" * 200, "6608b1340cf18"):
        stores.told(Message(call_id="huge", id=wrong), 404)


def test_a_call_of_long_packets_comes_without_their_payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladders, "MOST_PAYLOAD", 50_000)
    more = {"proto_type": 100, "correlation_id": b"long"}
    line = recorded.hep(0, recorded.CALLER, recorded.PROXY, b"word " * 8_000, **more)
    one, two = (stored(tmp_path / str(count), [line] * count) for count in (1, 2))
    assert one.told(Call(call_id="long"))["events"][0]["message"]["payload"] == "word " * 8_000
    event = two.told(Call(call_id="long"))["events"][0]
    assert "payload" not in event["message"]
    assert event["label"].endswith("word…")
    assert len(event["label"]) == 400


def test_an_id_that_an_agent_gives_to_all_its_packets_ties_none_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MOST_LEGS", 3)

    def packet(number: int) -> bytes:
        payload = recorded.sip("OPTIONS sip:bob@example.net SIP/2.0", f"call-{number}", "1 OPTIONS")
        shared = b"0" if number < 4 else b"pair"
        return recorded.hep(number, recorded.CALLER, recorded.PROXY, payload, correlation_id=shared)

    stores = stored(tmp_path, [packet(number) for number in range(6)])
    calls = stores.told(Calls(since=SINCE))["calls"]
    assert [(call["call_id"], call["legs"]) for call in calls] == [
        ("call-5", 2), ("call-4", 2), ("call-3", 1), ("call-2", 1), ("call-1", 1), ("call-0", 1),
    ]  # fmt: skip
    alone, pair = (stores.told(Call(call_id=name)) for name in ("call-2", "call-4"))
    assert alone["legs"] == ["call-2"]
    assert alone["warnings"] == ["0: more than 3 calls have this id in common, so it ties none together"]
    assert (pair["legs"], pair["warnings"]) == (["call-4", "call-5"], [])


def test_times_at_the_end_of_the_calendar(tmp_path: Path) -> None:
    stores = stored(tmp_path, [])
    assert stores.told(Calls(until="0001-01-01T00:10"))["since"] == "0001-01-01T00:00:00.000000Z"
    place = Place(None, None, datetime.max.replace(tzinfo=UTC), "x")
    assert stores.told(Messages(cursor=cursor_of(place)))["messages"] == []


def test_a_huge_call(tmp_path: Path, small: None) -> None:
    def packet(number: int) -> bytes:
        payload = recorded.sip("OPTIONS sip:bob@example.net SIP/2.0", "huge", f"{number} OPTIONS")
        return recorded.hep(number / 100, recorded.CALLER, recorded.PROXY, payload)

    stores = stored(tmp_path, [packet(number) for number in range(3000)])
    ladder = stores.told(Call(call_id="huge"))
    assert len(ladder["events"]) == 2400
    assert ladder["call"]["messages"] == 3000
    assert "more than 2400 packets" in ladder["warnings"][0]
    carried = ladder["events"][0]["message"]
    assert carried["size"] > 0
    assert "payload" not in carried
    event = ladder["events"][0]
    assert stores.told(Message(call_id="huge", id=event["id"]))["payload"].startswith("OPTIONS")
    packets: list[Any] = json.loads(stores.ask(Export(call_id=["huge"], format="json")).body)
    assert [packet["cseq"] for packet in packets] == list(range(3000))
