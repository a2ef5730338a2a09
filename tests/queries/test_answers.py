"""Every question, to a lake and to stores in databases."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lakes
from batches import batch_of
from cli import recorded
from hepswitch.databases import kinds
from hepswitch.databases.server import Mark
from hepswitch.destinations.databases import DatabaseStore, PostgresStore, SqliteStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.stores import searchable
from hepswitch.destinations.streams import KafkaStore, NatsStore
from hepswitch.queries.export import file_name
from hepswitch.queries.questions import Call, Calls, Export, Message, Messages, Rate, Stores, read
from hepswitch.wire import pcap
from hepswitch.wire.hep import Hep
from queries import asked
from servers import postgres
from traffic import START, calls, hep

A, B = "call-a@example.net", "call-b@example.net"
SINCE, UNTIL = "2026-11-18T00:00", "2026-11-24T00:00"


def traffic() -> list[bytes]:
    return [
        *recorded.answered(),
        *recorded.refused(),
        *(hep(message) for message in calls(20, per_second=2.0, start=START + 60)),
    ]


def load(store: DatabaseStore, waiting: Sequence[bytes]) -> None:
    async def loaded() -> None:
        server: Any = kinds.server(store)
        await server.open()
        await server.load(
            batch_of([Hep(packet, lakes.ARRIVAL) for packet in waiting], server.layout.extras),
            Mark("0123456789abcdef" * 2, 0, len(waiting), 0),
        )
        await server.close()

    asyncio.run(loaded())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[asked.Stores]:
    folder = tmp_path_factory.mktemp("answers")
    packets = traffic()
    half = len(packets) // 2
    lakes.store(folder / "lake", packets[:half])
    lakes.sealed(folder / "lake")
    lakes.store(folder / "lake", packets[half:])
    sqlite = SqliteStore(url=f"sqlite:{folder}/one.db")
    load(sqlite, packets)
    with postgres() as server:
        database = PostgresStore(url=server.url)
        load(database, packets)
        yield asked.Stores({"lake": LakeStore(url=f"lake:{folder}/lake"), "sqlite": sqlite, "postgres": database})


STORES = pytest.mark.parametrize("store", ["lake", "sqlite", "postgres"])


def test_the_stores(stores: asked.Stores) -> None:
    assert stores.told(Stores()) == {
        "stores": [
            {"name": "lake", "kind": "lake", "default": True},
            {"name": "sqlite", "kind": "sqlite", "default": False},
            {"name": "postgres", "kind": "postgresql", "default": False},
        ]
    }


@STORES
def test_a_call_is_found_by_what_people_know_of_it(stores: asked.Stores, store: str) -> None:
    for q in (
        A,
        "alice",
        "sip:bob@example.net",
        "INVITE",
        "192.0.2.10",
        "192.0.2.0/24",
        'sip.header("Call-ID") contains call-a',
    ):
        found = stores.told(Calls(store=store, since=SINCE, until=UNTIL, q=q))
        assert A in {call["call_id"] for call in found["calls"]}, q
    (call,) = stores.told(Calls(store=store, call_id=A))["calls"]
    assert call == call | {
        "call_id": A, "method": "INVITE", "from_user": "alice", "to_user": "bob", "status": 200, "reason": "OK",
        "setup": 1.1, "duration": pytest.approx(3.0, abs=0.1), "legs": 2,
    }  # fmt: skip
    assert call["start"] == "2026-11-18T11:06:40.000000Z"


@STORES
def test_times_and_what_was_read_are_told(stores: asked.Stores, store: str) -> None:
    found = stores.told(Calls(store=store, q="030/1234"))
    assert (found["asked"], found["calls"], found["next"], found["until"]) == ({"user": "*301234"}, [], None, None)
    since = datetime.fromisoformat(found["since"])
    assert timedelta(0) <= datetime.now(UTC) - timedelta(hours=1) - since < timedelta(minutes=1)
    exact = stores.told(Calls(store=store, call_id=A))
    assert exact["since"] is None
    hour = stores.told(Calls(store=store, until="2026-11-18T12:00"))
    assert hour["since"] == "2026-11-18T11:00:00.000000Z"


@STORES
def test_what_means_nothing_is_said_in_words(stores: asked.Stores, store: str) -> None:
    for question, words in [
        (Calls(store=store, filter="src_ip ="), "filter: a value is expected"),
        (Calls(store=store, status="9999"), "'9999' is no SIP status"),
        (Calls(store=store, since="yesterday"), "'yesterday' is no time"),
        (Calls(store=store, since="1h", until="2h"), "is not before"),
        (Calls(store=store, q="alice", user="bob"), "the box and user"),
        (Calls(store=store, cursor="AAAA"), "cursor: take it from `next`"),
        (Messages(store=store, cursor="\u00fc"), "cursor: take it from `next`"),
    ]:
        assert words in stores.told(question, 400)["error"]
    assert "no call 'nobody'" in stores.told(Call(store=store, call_id="nobody"), 404)["error"]
    assert "no call 'nobody'" in stores.told(Export(store=store, call_id=[A, "nobody"]), 404)["error"]
    assert "no message 'x'" in stores.told(Message(store=store, call_id=A, id="x"), 404)["error"]
    assert "no store 'other'" in stores.told(Calls(store="other"), 404)["error"]


@STORES
def test_rate(stores: asked.Stores, store: str) -> None:
    begin = datetime.fromtimestamp(START, UTC)
    asked_about = {"since": begin.isoformat(), "until": (begin + timedelta(seconds=120)).isoformat()}
    found = stores.told(Rate(store=store, buckets=4, **asked_about))
    assert found["step"] == 30.0
    assert [bucket["at"] for bucket in found["buckets"]][:2] == [
        "2026-11-18T11:06:40.000000Z",
        "2026-11-18T11:07:10.000000Z",
    ]
    counts = [(bucket["calls"], bucket["failed"]) for bucket in found["buckets"]]
    assert counts[2:] == [(20, 0), (0, 0)]
    every = stores.told(Calls(store=store, limit=1000, **asked_about))["calls"]
    assert sum(calls for calls, _ in counts) == len(every)
    failed = [call for call in every if (call["status"] or 0) >= 300 and call["status"] not in (401, 407, 487)]
    assert sum(failed for _, failed in counts) == len(failed) > 0
    assert stores.told(Rate(store=store, call_id=A, buckets=1))["buckets"][0]["calls"] == 1


@STORES
def test_the_ladder_of_a_call(stores: asked.Stores, store: str) -> None:
    found = stores.told(Call(store=store, call_id=A))
    assert found["call"]["outcome"] == "answered, 3.0 s"
    assert (found["legs"], found["call"]["legs"]) == ([A, B], 2)
    events = found["events"]
    assert [event["leg"] for event in events if event["kind"] == "request"][:3] == [0, 0, 1]
    assert events[0]["message"]["payload"].startswith("INVITE sip:bob")
    assert events[0] == events[0] | {
        "offset": 0.0, "kind": "request", "label": "INVITE", "method": "INVITE", "cseq": 1, "sdp": True,
        "dialog": 0, "quality": None,
    }  # fmt: skip
    assert {event["dialog"] for event in events if event["leg"] == 1 and event["kind"] != "rtcp"} == {1}
    assert found == stores.told(Call(store=store, call_id=B)) | {
        "call": found["call"], "seconds": found["seconds"],
    }  # fmt: skip
    one = stores.told(Call(store=store, call_id=A, legs="one"))
    assert one["legs"] == [A]
    assert {event["kind"] for event in one["events"]} >= {"request", "reply", "rtcp"}


@STORES
def test_a_message_by_its_id(stores: asked.Stores, store: str) -> None:
    event = stores.told(Call(store=store, call_id=A))["events"][0]
    listed = stores.told(Messages(store=store, call_id=A))["messages"]
    assert event["id"] in {message["id"] for message in listed}
    assert "payload" not in listed[0]
    found = stores.told(Message(store=store, call_id=A, id=event["id"]))
    assert found["payload"] == event["message"]["payload"]
    assert found["sip"]["start_line"] == "INVITE sip:bob@example.net SIP/2.0"
    assert ["Call-ID", A] in found["sip"]["headers"]
    assert found["sdp"] == {
        "media": [
            {"kind": "audio", "port": 4000, "proto": "RTP/AVP", "address": "192.0.2.10", "codecs": ["PCMA/8000"],
             "direction": "sendrecv"}
        ]
    }  # fmt: skip
    raw = stores.ask(Message(store=store, call_id=A, id=event["id"], format="raw"))
    assert (raw.head.media_type, raw.body.decode()) == ("application/octet-stream", found["payload"])
    assert raw.head.file_name == "call-a-example-net.bin"


@STORES
def test_files(stores: asked.Stores, store: str) -> None:
    (call,) = stores.told(Calls(store=store, call_id=A))["calls"]
    for form in ("pcap", "pcapng"):
        out = stores.ask(Export(store=store, call_id=[A, B, A], format=form, legs="all"))
        frames = list(pcap.read(io.BytesIO(out.body)))
        assert len(frames) == sum(event["kind"] in ("request", "reply") for event in _events(stores, store))
        assert out.head.file_name == f"3-calls.{form}"
    one = stores.ask(Export(store=store, call_id=[A], format="pcap", legs="one"))
    assert len(list(pcap.read(io.BytesIO(one.body)))) == call["messages"]
    text = stores.ask(Export(store=store, call_id=[A], format="text")).body.decode()
    assert "2026-11-18T11:06:40.000000Z  192.0.2.10:5060 → 192.0.2.1:5060  UDP SIP\nINVITE sip:bob" in text
    packets = json.loads(stores.ask(Export(store=store, call_id=[A], format="json")).body)
    assert [packet["ts"] for packet in packets] == sorted(packet["ts"] for packet in packets)
    assert packets[0]["payload"].startswith("INVITE")


def _events(stores: asked.Stores, store: str) -> list[dict[str, Any]]:
    """The packets of the call, each copy by itself."""
    events: list[dict[str, Any]] = stores.told(Call(store=store, call_id=A))["events"]
    return [event for event in events for _ in range(event["copies"])]


def test_a_lake_that_is_not_there(tmp_path: Path) -> None:
    stores = asked.Stores({"lake": LakeStore(url=f"lake:{tmp_path}/none")})
    assert "there is no lake here" in stores.told(Calls(), 503)["error"]


@given(st.text())
def test_file_names_are_safe(call_id: str) -> None:
    name = file_name(call_id)
    assert name.isascii()
    assert name
    assert all(letter.isalnum() or letter in "-_" for letter in name)


def test_parameters_of_a_url() -> None:
    assert read(Calls, [("q", "alice"), ("limit", "5")]) == Calls(q="alice", limit=5)
    assert read(Messages, [("payload", "true")]) == Messages(payload=True)
    assert read(Export, [("call_id", "a"), ("call_id", "b")]) == Export(call_id=["a", "b"])
    for kind, parameters, words in [
        (Calls, [("limit", "0")], "limit"),
        (Calls, [("limit", "1001")], "limit"),
        (Calls, [("colour", "red")], "colour"),
        (Calls, [("q", "a"), ("q", "b")], "q is there twice"),
        (Export, [], "call_id"),
        (Call, [("call_id", "")], "call_id"),
    ]:
        with pytest.raises(ValueError, match=words):
            read(kind, parameters)


def test_a_switch_whose_stores_are_streams_has_nothing_to_search() -> None:
    nothing = asked.Stores(searchable({"bus": NatsStore(url="nats://n1/HEP")}))
    assert nothing.told(Stores())["stores"] == []
    assert "packets only pass through it" in nothing.told(Calls(), 404)["error"]
    lake = asked.Stores(searchable({"lake": LakeStore(url="lake:./x"), "bus": KafkaStore(url="kafka://k1/hep")}))
    assert [each["name"] for each in lake.told(Stores())["stores"]] == ["lake"]
    assert lake.told(Calls(store="bus"), 404)["error"] == (
        "there is no store 'bus' that can be searched; these can: lake"
    )
