"""The tool box of routing in a running switch: rules, policies, masks, loops, and what a reload changes."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from far_ends import UdpSink
from hepswitch.testing import hep_packet, invite, rtcp, sip
from hepswitch.wire.hep import Hep
from running import running_switch, wait_for

LISTEN = 'listen = ["udp://127.0.0.1:0"]\n'


def _arrived(sink: UdpSink, count: int) -> list[Hep]:
    wait_for(lambda: len(sink.read()) >= count, f"{count} packets")
    return [Hep(frame) for frame in sink.frames]


def test_rules_lists_and_masks_route_without_a_script(tmp_path: Path) -> None:
    (tmp_path / "fraud.txt").write_text("+4930123\n")
    with closing(UdpSink()) as homer, closing(UdpSink()) as fraud:
        config = (
            LISTEN
            + f"""
            [destinations.homer]
            urls = ["{homer.url}"]
            filter = "sip"
            mask = "gdpr"
            [destinations.fraud]
            urls = ["{fraud.url}"]
            [masks.gdpr]
            users = "truncate"
            [lists.fraud]
            file = "fraud.txt"
            kind = "numbers"
            [[rule]]
            name = "lab"
            when = "captagent_id = 9"
            drop = "lab"
            [[rule]]
            name = "fraud"
            when = "sip.ruri_user in @fraud"
            relay = "fraud"
            [[rule]]
            name = "all"
            relay = "homer"
        """
        )
        with running_switch(tmp_path, config) as switch:
            packets = [invite(to_user="+4930123"), invite(captagent_id=9), rtcp(), sip(200)]
            switch.send_udp(*map(bytes, packets))
            assert [hep.sip.ruri_user for hep in _arrived(fraud, 1) if hep.sip] == ["+4930123"]
            users = [hep.sip.to_user for hep in _arrived(homer, 2) if hep.sip]
            assert users == ["+4930000", "bxx"], "its own copy is masked"
            book = switch.wait_stats(lambda book: book["routed"]["packets"] == 4, "all packets")
            assert book["rules"] == {"lab": 1, "fraud": 1, "all": 3}
            assert book["routed"]["dropped"] == {"lab": 1}
            assert book["destinations"]["homer"]["refused"] == {"filter": 1}
            assert book["balanced"]
            assert 'hepswitch_rule_hits_total{rule="all"} 3.0' in switch.get("/metrics")


def test_a_reload_takes_rules_lists_masks_and_access(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        text = LISTEN + f'[destinations.homer]\nurls = ["{sink.url}"]\n'
        with running_switch(tmp_path, text + '[[rule]]\nname = "one"\nrelay = "homer"\n') as switch:
            switch.send_udp(bytes(invite()))
            assert _arrived(sink, 1)[0].sip is not None
            config = tmp_path / "hepswitch.toml"
            control = '[control]\nlisten = "127.0.0.1:0"\n'
            config.write_text(text + '[[rule]]\nwhen = "sip.methd = BYE"\nrelay = "homer"\n' + control)
            with pytest.raises(urllib.error.HTTPError) as refused:
                switch.post("/api/v1/reload", {})
            assert "did you mean sip.method?" in refused.value.read().decode()
            config.write_text(
                text + '[masks.m]\nusers = "truncate"\n[[rule]]\nname = "two"\nmask = "m"\nrelay = "homer"\n' + control
            )
            assert set(switch.post("/api/v1/reload", {})["changed"]) == {"rule", "masks"}
            switch.send_udp(bytes(invite()))
            masked = _arrived(sink, 2)[1].sip
            assert masked is not None
            assert masked.from_user == "alxxx"
            config.write_text(
                text + '[access]\ndeny = ["127.0.0.1"]\n[[rule]]\nname = "two"\nrelay = "homer"\n' + control
            )
            switch.post("/api/v1/reload", {})
            switch.send_udp(bytes(invite()))
            book = switch.wait_stats(lambda book: _refused(book) == {"not allowed": 1}, "a refused packet")
            assert book["rules"] == {"one": 1, "two": 1}, "what was counted stays"
            assert book["balanced"]


def _refused(book: dict[str, Any]) -> dict[str, int]:
    (row,) = book["received"].values()
    refused: dict[str, int] = row["refused"]
    return refused


def test_a_policy_of_the_script_chooses_nodes(tmp_path: Path) -> None:
    (tmp_path / "route.py").write_text(
        "from hepswitch import hep_route, limit, policy\n"
        "@policy\n"
        "def by_agent(hep, nodes):\n"
        "    return nodes[hep.captagent_id % len(nodes)]\n"
        "@hep_route\n"
        "def route(hep):\n"
        "    if limit(hep.captagent_id, '1/h', 2):\n"
        "        hep.relay('far')\n"
        "    else:\n"
        "        hep.drop('too many')\n"
    )
    with closing(UdpSink()) as one, closing(UdpSink()) as two:
        config = LISTEN + (
            '[hep_route]\nmode = "script"\nscript = "route.py"\n'
            f'[destinations.far]\nurls = ["{one.url}", "{two.url}"]\npolicy = "script:by_agent"\n'
        )
        with running_switch(tmp_path, config) as switch:
            switch.send_udp(*(bytes(hep_packet(b"x", captagent_id=n)) for n in (0, 1, 0, 3, 0)))
            assert [hep.captagent_id for hep in _arrived(one, 2)] == [0, 0]
            assert [hep.captagent_id for hep in _arrived(two, 2)] == [1, 3]
            book = switch.wait_stats(lambda book: book["routed"]["packets"] == 5, "all packets")
            assert book["routed"]["dropped"] == {"too many": 1}
            assert book["destinations"]["far"]["policy_errors"] == 0


def test_a_policy_that_is_not_there_is_told_before_the_start(tmp_path: Path) -> None:
    config = LISTEN + '[destinations.far]\nurls = ["udp://127.0.0.1:9"]\npolicy = "script:best"\n'
    with (
        pytest.raises(AssertionError, match="needs a function best marked @policy"),
        running_switch(tmp_path, config),
    ):
        pass


MASKED = (
    '[destinations.homer]\nurls = ["{url}"]\nmask = "m"\n[masks.m]\nusers = "{users}"\n'
    '[[rule]]\nrelay = "homer"\n{more}'
)
CONTROL = '[control]\nlisten = "127.0.0.1:0"\n'


def _user(hep: Hep) -> str | None:
    return hep.sip.from_user if hep.sip else None


def test_a_reload_takes_a_changed_mask_into_destinations(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        text = LISTEN + MASKED.format(url=sink.url, users="keep", more="")
        with running_switch(tmp_path, text) as switch:
            switch.send_udp(bytes(invite()))
            assert _user(_arrived(sink, 1)[0]) == "alice"
            (tmp_path / "hepswitch.toml").write_text(text.replace('"keep"', '"truncate"') + CONTROL)
            assert switch.post("/api/v1/reload", {})["changed"] == ["masks"]
            switch.send_udp(bytes(invite()))
            assert _user(_arrived(sink, 2)[1]) == "alxxx"


def test_a_refused_reload_takes_nothing(tmp_path: Path) -> None:
    """Another set cannot be had (its spool is locked): the mask that was stays, and so do the nodes."""
    (tmp_path / "spool" / "other").mkdir(parents=True)
    (tmp_path / "spool" / "other" / "w0").write_text("no folder")
    with closing(UdpSink()) as sink:
        text = LISTEN + MASKED.format(url=sink.url, users="truncate", more="")
        with running_switch(tmp_path, text) as switch:
            bad = text.replace('"truncate"', '"keep"') + '[destinations.other]\nurls = ["tcp://127.0.0.1:1"]\n'
            (tmp_path / "hepswitch.toml").write_text(bad + CONTROL)
            with pytest.raises(urllib.error.HTTPError):
                switch.post("/api/v1/reload", {})
            switch.send_udp(*[bytes(invite())] * 10)
            assert {_user(hep) for hep in _arrived(sink, 10)} == {"alxxx"}
            book = switch.stats()
            assert (list(book["destinations"]), book["destinations"]["homer"]["delivered"]) == (["homer"], 10)


def test_a_reload_of_the_sets_must_fit_what_runs(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        text = LISTEN + MASKED.format(url=sink.url, users="truncate", more="")
        with running_switch(tmp_path, text) as switch:
            for bad in (
                text.replace("destinations.homer", "destinations.other").replace('relay = "homer"', 'relay = "other"'),
                text.replace('mask = "m"', 'mask = "n"').replace("masks.m", "masks.n"),
                text.replace('mask = "m"', 'mask = "m"\npolicy = "script:nope"'),
            ):
                (tmp_path / "hepswitch.toml").write_text(bad + CONTROL)
                with pytest.raises(urllib.error.HTTPError):
                    switch.post("/api/v1/reload", {"only": "dispatcher"})
            for _ in range(2):
                (tmp_path / "hepswitch.toml").write_text(text + CONTROL)
                switch.post("/api/v1/reload", {"only": "dispatcher"})
            switch.send_udp(*[bytes(invite())] * 3)
            assert {_user(hep) for hep in _arrived(sink, 3)} == {"alxxx"}
            book = switch.wait_stats(lambda book: book["routed"]["packets"] == 3, "the packets")
            assert (book["rules"], book["routed"]["errors"]) == ({"1": 3}, 0)


def test_a_stand_in_gets_what_was_masked_for_the_one_it_stands_in_for(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        more = f'[destinations.backup]\nurls = ["{sink.url}"]\n'
        text = LISTEN + MASKED.format(url="tcp://127.0.0.1:1", users="truncate", more=more)
        with running_switch(tmp_path, text.replace('mask = "m"', 'mask = "m"\nfallback = "backup"')) as switch:
            switch.send_udp(bytes(invite()))
            assert _user(_arrived(sink, 1)[0]) == "alxxx"


def test_a_key_that_was_checked_ends_here(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        text = LISTEN + f'[access]\nauth_key = ["k"]\n[destinations.homer]\nurls = ["{sink.url}"]\n'
        with running_switch(tmp_path, text + '[[rule]]\nrelay = "homer"\n') as switch:
            switch.send_udp(bytes(invite(auth_key=b"k")))
            assert _arrived(sink, 1)[0].auth_key is None


def test_the_id_of_a_switch_is_kept(tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        text = LISTEN + f'[destinations.homer]\nurls = ["{sink.url}"]\n[[rule]]\nrelay = "homer"\n'
        for _ in range(2):
            with running_switch(tmp_path, text) as switch:
                switch.send_udp(bytes(invite()))
                _arrived(sink, 1)
        hops = {tuple(hep.hops) for hep in _arrived(sink, 2)}
        assert hops == {(int((tmp_path / "spool" / "switch-id").read_text()),)}


def test_probes_of_another_switch_are_refused_as_what_they_are(tmp_path: Path) -> None:
    with running_switch(tmp_path, LISTEN + "switch_id = 7\n") as switch:
        switch.send_udp(bytes(hep_packet(b"", proto_type=96, keep_alive=10)), bytes(hep_packet(b"", proto_type=96)))
        book = switch.wait_stats(lambda book: book["routed"]["packets"] == 1, "the other one")
        assert _refused(book) == {"keep-alive": 1}


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_loop_between_two_switches_is_cut_and_counted(tmp_path: Path) -> None:
    ports = [_free_port(), _free_port()]
    folders = [tmp_path / "a", tmp_path / "b"]
    texts = []
    for folder, own, other in zip(folders, ports, reversed(ports), strict=True):
        folder.mkdir()
        texts.append(
            f'listen = ["udp://127.0.0.1:{own}"]\n[destinations.other]\nurls = ["udp://127.0.0.1:{other}"]\n'
            '[[rule]]\nrelay = "other"\n'
        )
    with running_switch(folders[0], texts[0]) as a, running_switch(folders[1], texts[1]) as b:
        a.send_udp(bytes(invite()))
        book = a.wait_stats(lambda book: _refused(book) == {"loop": 1}, "the loop")
        assert book["routed"]["packets"] == 1
        assert book["balanced"]
        other = b.stats()
        assert (other["routed"]["packets"], _refused(other)) == (1, {})
