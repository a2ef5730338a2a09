"""MI's commands: what they answer, and what they ask the supervisor for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from control.stand_in import NODE, Switch, trace
from hepswitch import books
from hepswitch.control.jsonrpc import CallError, Params
from hepswitch.control.mi import MI
from hepswitch.control.mi_commands import COMMANDS
from hepswitch.destinations.sets import NodeChange
from hepswitch.tracing.dynamic import TraceStart


async def mi(switch: Switch, method: str, *placed: Any, **named: Any) -> Any:
    params: Params = list(placed) or named
    return await MI(switch, COMMANDS).call(method, params)


async def refused(switch: Switch, method: str, *placed: Any, **named: Any) -> tuple[int, str, str]:
    with pytest.raises(CallError) as caught:
        await mi(switch, method, *placed, **named)
    return caught.value.code, caught.value.message, caught.value.data or ""


# ── how commands are called ──────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_command_is_told(switch: Switch) -> None:
    assert (await refused(switch, "tracer:nope"))[:2] == (-32601, "Method not found")


@pytest.mark.parametrize(
    ("placed", "named", "says"),
    [
        ((), {}, r"Too few or too many parameters \(dispatcher:set_state takes: state group address\)"),
        (("a", "homer"), {}, "Too few or too many parameters"),
        (("a", "homer", NODE, "x"), {}, "Too few or too many parameters"),
        ((), {"state": "a", "group": "homer", "adress": NODE}, "Named parameters do not match"),
        ((), {"state": "a", "group": "homer"}, "Too few or too many parameters"),
        (("a", "homer", ["x"]), {}, "address is a text"),
        (("a", "homer", None), {}, "address is a text"),
        (("a", "homer", True), {}, "address is a text"),
    ],
)
async def test_parameters_have_to_fit(
    switch: Switch, placed: tuple[Any, ...], named: dict[str, Any], says: str
) -> None:
    code, message, data = await refused(switch, "ds_set_state", *placed, **named)
    assert (code, message) == (-32602, "Invalid params")
    assert re.match(says, data)
    assert switch.changes == []


async def test_a_parameter_that_may_be_two_things_needs_its_name(switch: Switch) -> None:
    assert "use named parameters" in (await refused(switch, "tracer:trace", "off"))[2]


# ── core and statistics ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_core(switch: Switch) -> None:
    assert re.fullmatch(r"hepswitch \(\d+\.\d+\.\d+ \(.*/linux\)\)", (await mi(switch, "version"))["Server"])
    assert (await mi(switch, "uptime"))["Up time"] == "61 [sec]"
    rows = (await mi(switch, "ps"))["Processes"]
    assert rows == [{"ID": 0, "PID": 41, "Type": "supervisor"}, {"ID": 1, "PID": 42, "Type": "worker 0"}]


async def test_which_lists_commands_modules_and_parameters(switch: Switch) -> None:
    names = await mi(switch, "which")
    assert {"version", "ds_list", "dispatcher:list", "sip_trace", "get_statistics", "which"} <= {*names}
    assert len(names) == len({*names})
    assert await mi(switch, "which", "sipcapture") == ["sipcapture:capture", "sip_capture"]
    assert await mi(switch, "which", "sipcapture:") == ["sipcapture:capture", "sip_capture"]
    assert await mi(switch, "which", command="tracer:trace") == [[], ["id"], ["mode"], ["id", "mode"]]
    assert (await refused(switch, "which", "x"))[:2] == (404, "unknown MI command")


async def test_every_command_has_help(switch: Switch) -> None:
    assert "Usage" in await mi(switch, "help")
    for name, command in COMMANDS.items():
        told = await mi(switch, "help", name)
        assert told["Help"].startswith(command.help)
        assert len(command.help) > 20
        assert told["Exported by"] == command.module
    assert (await refused(switch, "help", "x"))[0] == 404


async def test_reload_of_routes_and_destinations(switch: Switch) -> None:
    assert await mi(switch, "reload_routes") == "OK"
    assert await mi(switch, "ds_reload", "default") == "OK"
    assert switch.reloads == [("hep_route", "rule", "lists", "masks"), ["destinations"]]
    assert (await refused(switch, "ds_reload"))[1] == "ERROR Reloading data"
    code, message, data = await refused(switch, "reload_routes")
    assert (code, message, data.splitlines()[1]) == (500, "Command failed", "hepswitch.toml:2: listen: no")
    assert (await refused(switch, "ds_reload", "x"))[:2] == (404, "ERROR Unknown partition")


@pytest.fixture
def busy(switch: Switch) -> Switch:
    listener = books.Listener("udp://127.0.0.1:9060", packets=9, bytes=900, malformed=1)
    listener.refused["address"] += 2
    account = books.Account(accepted=5, delivered=3, queued=1)
    account.discarded["queue full"] += 1
    routed = books.Routed(packets=6, unrouted=1, captured_requests=4, captured_replies=2)
    routed.dropped["lab"] += 2
    store = account.snapshot()
    switch.book = books.close(
        books.empty()
        | {
            "received": {listener.url: listener.snapshot()},
            "routed": routed.snapshot(),
            "stores": {"lake": store, "other": store},
            "traces": {"fraud": {"requests": 3, "replies": 4}, "old": {"requests": 1, "replies": 0}},
        },
        61.5,
    )
    return switch


async def test_statistics_are_the_books(busy: Switch) -> None:
    everything = await mi(busy, "get_statistics", ["all"])
    assert everything["core:timestamp"] == 61
    assert {name: everything[name] for name in everything if name.startswith("sipcapture:")} == {
        "sipcapture:captured_requests": 4,
        "sipcapture:captured_replies": 2,
    }
    assert await mi(busy, "statistics:get", statistics=["tracer:"]) == {
        "tracer:traced_requests": 4,
        "tracer:traced_replies": 4,
    }
    names = ["received_packets", "hep:Refused", "hepswitch:stores_discarded", "dropped", "nothing"]
    assert await mi(busy, "get_statistics", names) == {
        "hep:received_packets": 9,
        "hep:refused": 2,
        "hepswitch:stores_discarded": 2,
        "hepswitch:dropped": 2,
    }
    assert everything["hepswitch:balanced"] == 1
    assert await mi(busy, "get_statistics", "unrouted") == {"hepswitch:unrouted": 1}


async def test_statistics_are_listed_and_not_reset(busy: Switch) -> None:
    kinds = await mi(busy, "list_statistics")
    assert kinds.keys() == (await mi(busy, "get_statistics", "all")).keys()
    assert (kinds["hep:connections"], kinds["hep:malformed"]) == ("non-incremental", "incremental")
    assert await mi(busy, "statistics:list", ["stores_queued"]) == {"hepswitch:stores_queued": "non-incremental"}
    for command in ("get_statistics", "list_statistics", "reset_statistics"):
        assert (await refused(busy, command, ["nothing"]))[:2] == (404, "Statistics Not Found")
    assert (await refused(busy, "reset_statistics", ["all"]))[0] == 406
    assert (await refused(busy, "get_statistics", [["all"]]))[0] == -32602


# ── dispatcher ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sets_are_listed_as_a_dispatcher(switch: Switch) -> None:
    short = {"URI": NODE, "state": "Active", "first_hit_counter": 7}
    told = await mi(switch, "ds_list")
    assert told["PARTITIONS"][0]["name"] == "default"
    (homer,) = told["PARTITIONS"][0]["SETS"]
    assert (homer["id"], homer["Destinations"][0]) == ("homer", short)
    assert homer["Destinations"][1] == short | {"URI": "tcp://h:1", "state": "Inactive"}
    for params in ({"full": 1}, {"full": "1", "partition": "default"}):
        full = await mi(switch, "dispatcher:list", **params)
        assert full["PARTITIONS"][0]["SETS"][0]["Destinations"][0] == short | {"weight": 2.0, "priority": 1}
    assert (await refused(switch, "ds_list", partition="x"))[:2] == (404, "ERROR Unknown partition")


@pytest.mark.parametrize(
    ("letter", "state"),
    [("a", "enabled"), ("A", "enabled"), ("1", "enabled"), ("active", "enabled"), ("p", "enabled"), (2, "enabled"),
     ("i", "disabled"), (0, "disabled")],
)  # fmt: skip
async def test_a_destination_is_set_active_or_inactive(switch: Switch, letter: Any, state: Any) -> None:
    assert await mi(switch, "ds_set_state", letter, "homer", NODE) == "OK"
    assert await mi(switch, "dispatcher:set_state", state=letter, group="default:homer", address=NODE) == "OK"
    assert switch.changes == [NodeChange("homer", NODE, state)] * 2


async def test_a_state_or_destination_that_there_is_not_is_refused(switch: Switch) -> None:
    assert (await refused(switch, "ds_set_state", "x", "homer", NODE))[:2] == (500, "Bad state value")
    assert (await refused(switch, "ds_set_state", "", "homer", NODE))[:2] == (500, "Bad state value")
    assert await refused(switch, "ds_set_state", "a", "x", NODE) == (404, "destination not found", "no such set")
    assert (await refused(switch, "ds_set_state", "a", "x:homer", NODE))[0] == 404
    assert switch.changes == []


# ── sipcapture ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["sipcapture:capture", "sip_capture"])
async def test_capturing_is_told_and_switched(switch: Switch, name: str) -> None:
    assert await mi(switch, name) == {"SIP capturing": "on"}
    assert await mi(switch, name, "OFF") == "OK"
    assert await mi(switch, name) == {"SIP capturing": "off"}
    assert await mi(switch, name, capture_mode="on") == "OK"
    assert switch.capturing
    assert (await refused(switch, name, "maybe"))[:2] == (500, "Bad parameter value")


# ── tracer ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_traces_are_told_target_by_target(switch: Switch) -> None:
    switch.rows["t1"] = trace(
        ["hep:10.0.0.1:9060;transport=udp", "file:/x", "syslog"], dynamic=True, filter="caller = alice"
    )
    fraud = [
        {"name": "fraud", "type": "Database", "uri": "lake", "state": "on"},
        {"name": "fraud", "type": "SIP", "uri": "10.0.0.11:5060", "state": "on"},
    ]
    filters = [{"filter": "caller = alice"}]
    dynamic = [
        {"name": "t1", "type": "HEP", "uri": "10.0.0.1:9060;transport=udp", "state": "dynamic", "filters": filters},
        {"name": "t1", "type": "File", "uri": "/x", "state": "dynamic", "filters": filters},
        {"name": "t1", "type": "Syslog", "uri": "", "state": "dynamic", "filters": filters},
    ]
    for name in ("tracer:trace", "sip_trace", "trace"):
        assert await mi(switch, name) == {"global": "on", "trace destinations": fraud + dynamic}
    assert await mi(switch, "tracer:trace", id="t1") == {"trace destinations": dynamic}
    assert (await refused(switch, "tracer:trace", id="x"))[:2] == (400, "Bad trace id value")


async def test_tracing_is_switched_as_a_whole_and_by_id(switch: Switch) -> None:
    assert await mi(switch, "tracer:trace", mode="off") == "OK"
    assert await mi(switch, "tracer:trace", "fraud", "Off") == "OK"
    assert (switch.tracing, switch.rows["fraud"]["on"]) == (False, False)
    assert (await mi(switch, "tracer:trace"))["trace destinations"][0]["state"] == "off"
    assert await mi(switch, "tracer:trace", id="fraud", mode="on") == "OK"
    assert switch.rows["fraud"]["on"]
    assert (await refused(switch, "tracer:trace", id="x", mode="on"))[:2] == (400, "Bad parameter value")
    assert (await refused(switch, "tracer:trace", mode="maybe"))[:2] == (500, "Bad parameter value")


async def test_a_syslog_daemon_elsewhere_has_no_facility_in_front(switch: Switch) -> None:
    switch.rows = {"fraud": trace(["syslog@udp://10.0.0.5", "syslog", "syslog:local0@unix:/run/log"])}
    rows = (await mi(switch, "tracer:trace", id="fraud"))["trace destinations"]
    assert [(row["type"], row["uri"]) for row in rows] == [
        ("Syslog", "@udp://10.0.0.5"), ("Syslog", ""), ("Syslog", "local0@unix:/run/log"),
    ]  # fmt: skip
    assert await mi(switch, "tracer:start", id="t1", uri="syslog@udp://10.0.0.5") == "OK"
    assert switch.started[-1].to == ["syslog@udp://10.0.0.5"]


@pytest.mark.parametrize(
    ("said", "started"),
    [
        ({}, TraceStart("t1", ["file:/x"])),
        ({"filter": ["caller=alice", "Callee=bob@example.net", "ip=192.0.2.1"]},
         TraceStart("t1", ["file:/x"], caller="alice", callee="bob@example.net", ip="192.0.2.1")),
        ({"filter": "caller=alice", "scope": "t", "type": "sip|xlog"},
         TraceStart("t1", ["file:/x"], caller="alice", scope="t", types="sip|xlog")),
        ({"filter": ["sip.method = INVITE"], "seconds": "60", "packets": 10},
         TraceStart("t1", ["file:/x"], filter="sip.method = INVITE", seconds=60, packets=10)),
        ({"filter": ["caller=alice", "sip.method = INVITE or sip.method = BYE", "src_ip in 10.0.0.0/8"]},
         TraceStart("t1", ["file:/x"], caller="alice",
                    filter="(sip.method = INVITE or sip.method = BYE) and (src_ip in 10.0.0.0/8)")),
    ],
)  # fmt: skip
async def test_a_trace_is_started(switch: Switch, said: dict[str, Any], started: TraceStart) -> None:
    assert await mi(switch, "tracer:start", id="t1", uri="file:/x", **said) == "OK"
    assert switch.started == [started]
    assert await mi(switch, "trace_stop", "t1") == "OK"


async def test_a_trace_is_started_without_names_of_parameters(switch: Switch) -> None:
    caller = TraceStart("t1", ["file:/x"], caller="a")
    assert await mi(switch, "trace_start", "t1", "file:/x", ["caller=a"]) == "OK"
    await mi(switch, "tracer:stop", "t1")
    assert await mi(switch, "tracer:start", ["t1", "file:/x", "caller=a"]) == "OK", "as opensips-cli sends it"
    assert switch.started == [caller, caller]
    assert (await refused(switch, "tracer:start", ["t1"]))[0] == -32602


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("hep:10.0.0.1:9060;transport=udp;version=3", "hep:10.0.0.1:9060;transport=udp;version=3;mark=no"),
        ("hep:homer", "destination:homer"),
        ("hep:homer.example.net", "hep:homer.example.net;mark=no"),
        ("sip:10.0.0.1", "sip:10.0.0.1"),
        ("syslog", "syslog"),
        ("store:lake", "store:lake"),
    ],
)
async def test_where_a_trace_goes(switch: Switch, uri: str, target: str) -> None:
    assert await mi(switch, "tracer:start", "t1", uri) == "OK"
    assert switch.started[0].to == [target]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"uri": "mysql://root@localhost/opensips"}, (406, "DB not acceptable")),
        ({"id": "fraud"}, (500, "Bad parameter value")),
        ({"id": "t 1"}, (500, "Bad parameter value")),
        ({"filter": ["caller=a", "caller=b"]}, (500, "Bad parameter value")),
        ({"scope": "x"}, (500, "Bad parameter value")),
        ({"seconds": "soon"}, (500, "Bad parameter value")),
        ({"packets": "0"}, (500, "Bad parameter value")),
    ],
)
async def test_a_trace_that_cannot_be_is_refused(switch: Switch, said: dict[str, Any], expected: Any) -> None:
    assert (await refused(switch, "tracer:start", **{"id": "t1", "uri": "file:/x"} | said))[:2] == expected
    assert switch.started == []
    assert (await refused(switch, "tracer:stop", "fraud"))[:2] == (400, "Bad parameter value")
