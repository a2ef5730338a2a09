"""Scripted calls have exact counts, whoever captured them, in whatever order, on how many hops."""

from __future__ import annotations

import itertools
import struct

import pytest

from hepswitch import books
from hepswitch.metering import words
from hepswitch.wire.hep import Hep
from metering.scene import OTHER, PROXY, START, UAC, UAS, Stage


def answered(stage: Stage, **said: str) -> None:
    """A call of 16 seconds that rings after 0.3."""
    stage.say("INVITE", 0.0, **said)
    stage.reply(100, 0.02, to_tag="", **said)
    stage.reply(180, 0.3, **said)
    stage.reply(200, 4.0, **said)
    stage.say("ACK", 4.05, "1 ACK", branch="b2", to_tag="callee", **said)
    stage.say("BYE", 20.0, "2 BYE", branch="b3", to_tag="callee", **said)
    stage.reply(200, 20.1, "2 BYE", branch="b3", **said)


def test_an_answered_call() -> None:
    stage = Stage()
    answered(stage)
    assert stage.messages() == {
        "INVITE/INVITE": 1, "INVITE/100": 1, "INVITE/180": 1, "INVITE/200": 1, "ACK/ACK": 1, "BYE/BYE": 1, "BYE/200": 1,
    }  # fmt: skip
    row = stage.calls()
    assert row["attempts"] == 1
    assert stage.outcomes() == {"answered": 1}
    assert row["retransmissions"] == {"requests": 0, "replies": 0}
    assert (sum(row["setup"]["counts"].values()), row["setup"]["sum"]) == (1, pytest.approx(0.3))
    assert (sum(row["duration"]["counts"].values()), row["duration"]["sum"]) == (1, pytest.approx(16.0))
    assert (row["setup"]["counts"]["2"], row["duration"]["counts"]["3"]) == (1, 1), "0.25 < 0.3 <= 0.5, 10 < 16 <= 30"
    mean = stage.meter.snapshot()["means"]["heplify_kpi_srd"]["target_name=unknown&node_id=7"]
    assert mean["total"] / mean["weight"] == pytest.approx(0.3e9)


def test_a_challenge_is_no_new_attempt() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.reply(407, 0.1)
    stage.say("ACK", 0.11, "1 ACK", to_tag="callee")
    stage.say("INVITE", 0.2, "2 INVITE", branch="c1")
    stage.reply(180, 0.9, "2 INVITE", branch="c1")
    stage.reply(200, 2.0, "2 INVITE", branch="c1")
    row = stage.calls()
    assert row["attempts"] == 1
    assert stage.outcomes() == {"answered": 1}
    assert row["setup"]["sum"] == pytest.approx(0.7), "from the INVITE with credentials"
    assert stage.messages()["INVITE/INVITE"] == 2
    assert stage.messages()["INVITE/407"] == 1


def test_retransmissions_count_as_such() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0, times=3)
    stage.reply(180, 0.5, times=2)  # provisional replies may be sent again and again: RFC 3261 section 13.3.1.1
    stage.reply(486, 1.0, times=4)
    stage.say("ACK", 1.1, "1 ACK", to_tag="callee", times=4)
    row = stage.calls()
    assert row["retransmissions"] == {"requests": 2, "replies": 3}
    assert row["attempts"] == 1
    assert stage.outcomes() == {"user": 1}
    assert stage.messages() == {"INVITE/INVITE": 1, "INVITE/180": 1, "INVITE/486": 1, "ACK/ACK": 1}


def test_two_agents_on_one_hop_are_no_retransmission() -> None:
    stage = Stage()
    for agent in (7, 8):
        stage.say("INVITE", 0.0, agent=agent)
    for agent in (8, 7):
        stage.reply(200, 1.0, agent=agent)
    row = stage.calls()
    assert row["attempts"] == 1
    assert stage.outcomes() == {"answered": 1}
    assert row["retransmissions"] == {"requests": 0, "replies": 0}
    assert stage.messages() == {"INVITE/INVITE": 1, "INVITE/200": 1}


def test_what_one_agent_says_late_is_no_retransmission() -> None:
    """Two workers: the other agent's copy of the request comes between the first agent's reply and its request."""
    stage = Stage()
    stage.reply(100, 0.02, to_tag="", agent=7)
    stage.say("INVITE", 0.0, agent=8)
    stage.say("INVITE", 0.0, agent=7)
    assert stage.calls()["retransmissions"] == {"requests": 0, "replies": 0}
    stage.say("INVITE", 0.5, agent=8)
    stage.say("INVITE", 0.5, agent=7)
    assert stage.calls()["retransmissions"] == {"requests": 1, "replies": 0}


def test_a_forked_call_is_answered_once() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.say("INVITE", 0.01, branch="f1", source=PROXY, target=UAS)
    stage.say("INVITE", 0.01, branch="f2", source=PROXY, target=OTHER)
    stage.reply(180, 0.5, branch="f1", source=UAS, target=PROXY)
    stage.reply(180, 0.51)
    stage.reply(486, 0.6, branch="f2", source=OTHER, target=PROXY, to_tag="other")
    assert stage.outcomes() == {}, "another branch may answer"
    stage.reply(200, 3.0, branch="f1", source=UAS, target=PROXY)
    stage.reply(200, 3.01)
    assert stage.calls()["attempts"] == 1
    assert stage.outcomes() == {"answered": 1}
    assert stage.calls()["setup"]["sum"] == pytest.approx(0.51), "as the caller saw it"


def test_a_fork_fails_as_the_caller_was_told() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    for branch, status in (("f1", 503), ("f2", 486)):
        stage.say("INVITE", 0.01, branch=branch, source=PROXY, target=UAS)
        stage.reply(status, 0.5, branch=branch, source=UAS, target=PROXY)
    assert stage.outcomes() == {}
    stage.reply(486, 0.6)
    assert stage.outcomes() == {"user": 1}


def test_a_canceled_call() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.reply(180, 0.5)
    stage.say("CANCEL", 5.0, "1 CANCEL")
    stage.reply(200, 5.01, "1 CANCEL")
    stage.reply(487, 5.02)
    stage.say("ACK", 5.03, "1 ACK", to_tag="callee")
    assert stage.outcomes() == {"canceled": 1}
    assert stage.messages()["CANCEL/CANCEL"] == stage.messages()["CANCEL/200"] == 1


def test_a_reply_traced_without_via_is_that_to_the_caller() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.say("INVITE", 0.01, branch="f1", source=PROXY, target=UAS)
    stage.reply(180, 0.5, branch="f1", source=UAS, target=PROXY)
    stage.reply(180, 0.51, branch="")
    stage.reply(487, 5.0, branch="f1", source=UAS, target=PROXY)
    assert stage.outcomes() == {}
    stage.reply(487, 5.01, branch="")
    assert stage.outcomes() == {"canceled": 1}


def test_a_redirected_call_is_another_attempt() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.reply(302, 0.1)
    stage.say("INVITE", 0.2, "2 INVITE", branch="r")
    stage.reply(503, 0.3, "2 INVITE", branch="r")
    assert stage.calls()["attempts"] == 2
    assert stage.outcomes() == {"redirected": 1, "ineffective": 1}


def test_a_reinvite_is_no_attempt() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.reply(200, 1.0)
    stage.say("INVITE", 9.0, "2 INVITE", branch="x", to_tag="callee")
    stage.reply(488, 9.1, "2 INVITE", branch="x")
    assert stage.calls()["attempts"] == 1
    assert stage.outcomes() == {"answered": 1}


def test_the_callee_may_hang_up() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0)
    stage.reply(200, 1.0)
    stage.say("BYE", 4.0, "1 BYE", branch="z", source=PROXY, target=UAC, from_tag="callee", to_tag="caller", times=2)
    assert stage.calls()["duration"]["sum"] == pytest.approx(3.0)
    assert sum(stage.calls()["duration"]["counts"].values()) == 1


def test_registrations() -> None:
    stage = Stage()
    for number in (1, 11):  # a refresh is another one
        stage.say("REGISTER", number, f"{number} REGISTER", branch=f"r{number}")
        stage.reply(401, number + 0.05, f"{number} REGISTER", branch=f"r{number}")
        stage.say("REGISTER", number + 0.1, f"{number + 1} REGISTER", branch=f"s{number}")
        stage.reply(200, number + 0.3, f"{number + 1} REGISTER", branch=f"s{number}")
    stage.say("REGISTER", 30.0, "1 REGISTER", call_id="wrong")
    stage.reply(403, 30.1, "1 REGISTER", call_id="wrong")
    row = stage.calls()
    assert row["registrations"] == 3
    assert row["registered"] == {"registered": 2, "failed": 1, "unfinished": 0}
    assert (sum(row["registration"]["counts"].values()), row["registration"]["sum"]) == (2, pytest.approx(0.4))
    assert row["attempts"] == 0


def test_the_order_of_a_few_messages_does_not_matter() -> None:
    """Workers read at their own pace."""
    said = [
        lambda stage: stage.say("INVITE", 0.0),
        lambda stage: stage.reply(100, 0.01, to_tag=""),
        lambda stage: stage.reply(180, 0.3),
        lambda stage: stage.reply(200, 1.0),
        lambda stage: stage.say("ACK", 1.1, "1 ACK", branch="a", to_tag="callee"),
    ]
    for order in itertools.permutations(said):
        stage = Stage(transactions=64)
        for message in order:
            message(stage)
        assert stage.calls()["attempts"] == 1
        assert stage.outcomes() == {"answered": 1}
        assert sum(stage.messages().values()) == 5
        assert sum(stage.calls()["setup"]["counts"].values()) == 1


def test_workers_share_what_they_know() -> None:
    """Each counts its part; together it is as if there were one."""
    one = Stage()
    two = Stage(memory=one.memory)
    stages = itertools.cycle((one, two))
    for number in range(50):
        for start, at, more in (
            ("INVITE", 0.0, {}), (180, 0.2, {}), (180, 0.2, {"agent": 9}), (200, 1.0, {}), (200, 1.0, {"agent": 9}),
        ):  # fmt: skip
            stage = next(stages)
            call_id = f"shared-{number}"
            if isinstance(start, int):
                stage.reply(start, at, call_id=call_id, **more)
            else:
                stage.say(start, at, call_id=call_id, **more)
    total = books.add(one.sip, two.sip)
    row = total["calls"]["unknown"][""]
    assert row["attempts"] == 50
    assert row["outcomes"]["answered"] == 50
    assert one.outcomes() == two.outcomes() == {"answered": 25}
    assert row["retransmissions"] == {"requests": 0, "replies": 0}
    counts = [
        one.messages().get(key, 0) + two.messages().get(key, 0) for key in ("INVITE/INVITE", "INVITE/180", "INVITE/200")
    ]
    assert counts == [50, 50, 50]


def test_targets_have_calls_of_their_own() -> None:
    stage = Stage()
    stage.tell_apart(access=["10.0.0.1"], carrier=["10.0.0.3/32", "2001:db8::/32"])
    stage.say("INVITE", 0.0)  # access → proxy
    stage.say("INVITE", 0.01, branch="p", source=PROXY, target=UAS)  # proxy → carrier
    stage.reply(486, 1.0, branch="p", source=UAS, target=PROXY)
    stage.reply(486, 1.01)
    stage.say("OPTIONS", 2.0, "1 OPTIONS", call_id="elsewhere", source=PROXY, target=OTHER)
    for target, direction in (("access", "src"), ("carrier", "dst")):
        assert stage.calls(target, direction)["attempts"] == 1
        assert stage.outcomes(target, direction) == {"user": 1}
    assert stage.messages("access", "src") == {"INVITE/INVITE": 1}
    assert stage.messages("access", "dst") == {"INVITE/486": 1}
    assert stage.messages("carrier", "src") == {"INVITE/486": 1}
    assert stage.messages() == {"OPTIONS/OPTIONS": 1}
    stage.tell_apart(north=["10.0.0.1"])
    stage.say("INVITE", 9.0, call_id="later")
    assert stage.calls("north", "src")["attempts"] == 1
    assert stage.calls("access", "src")["attempts"] == 1, "what was counted stays"


def test_what_happens_inside_a_target_is_not_what_happens_outside() -> None:
    stage = Stage()
    stage.tell_apart(access=["10.0.0.1", "10.0.0.4"])
    stage.say("INVITE", 0.0, source=UAC, target=OTHER)
    stage.say("INVITE", 0.0, source=PROXY, target=UAS, branch="on")
    assert stage.calls("access", "src")["attempts"] == stage.calls()["attempts"] == 1


def test_absurd_times_overflow_no_sum() -> None:
    stage = Stage()
    for number in range(3):
        stage.say("INVITE", -START, call_id=f"c{number}")  # no time: now
        stage.say("INVITE", -START + 1, call_id=f"d{number}")
        stage.reply(200, 2**32 - 1 - START, call_id=f"d{number}")
    setup = stage.calls()["setup"]
    assert (setup["counts"]["13"], setup["sum"]) == (3, 3 * 86400.0)


def test_messages_that_are_made_up_have_bounded_series() -> None:
    stage = Stage(nodes=40, transactions=100_000)
    sent = 0
    for node in range(40):
        for response in words.RESPONSES[15:]:
            for method in words.METHODS:
                sent += 1
                stage.say(int(response), 0.0, f"1 {method}", call_id=f"c{sent}", agent=node)
    series = [
        count
        for methods in stage.sip["messages"]["unknown"][""].values()
        for responses in methods.values()
        for count in responses.values()
    ]
    assert sum(series) == sent > 40_000
    assert 30_000 <= len(series) <= 30_000 + 40


def test_headers_that_are_passed_over_hide_none_and_fold_as_others() -> None:
    """What is not read is not taken apart: names in any case, compact ones, folds and broken lines among the others."""
    stage = Stage()
    plain = b"INVITE sip:bob@b SIP/2.0\r\n%b\r\n"
    headers = (
        b"Max-Forwards: 70\r\n f: <sip:x>;tag=no\r\n\tCall-ID: no\r\nno colon here\r\n@: what\r\n"
        b"V: SIP/2.0/UDP h;branch=z9hG4bKb1\r\nUser-Agent:\r\n i: no\r\nf: <sip:a@a>;tag=caller\r\nt: <sip:b@b>\r\n"
        b"I: call-1\r\nAllow: INVITE\r\ncsEQ: 1 INVITE\r\n"
    )
    stage.run(bytes(Hep.new(plain % headers, src_ip=UAC, dst_ip=PROXY, time=START)))
    stage.reply(486, 1.0)
    assert stage.outcomes() == {"user": 1}, "the reply belongs to it: Call-ID, tag, CSeq and branch are the same"
    stage.run(bytes(Hep.new(plain % b"Max-Forwards: 70\r\n i: folded\r\n", src_ip=UAC, dst_ip=PROXY, time=START)))
    assert stage.sip["unreadable"] == 1


def test_an_entry_that_another_worker_has_spoilt_does_no_harm() -> None:
    stage = Stage(transactions=64)
    stage.say("INVITE", 0.0)
    call, until, registration, legs = 1, 0, 29, 59  # the bit of its key, and offsets in calls.pxd
    for start in range(512, len(stage.memory), 512):
        for way in range(7):
            (key,) = struct.unpack_from("<Q", stage.memory, start + 8 + 8 * way)
            entry = start + 64 + 64 * way
            if key & call:
                struct.pack_into("<Q", stage.memory, entry + until, 1)
                stage.memory[entry + registration] = 0xFF
            elif key:
                stage.memory[entry + legs] = 0xFF
    stage.reply(180, 1.0, branch="unheard")
    for _ in range(8):
        stage.meter.sweep()
    row = stage.calls()
    assert (row["registered"]["unfinished"], row["outcomes"]["unfinished"]) == (1, 0)
    assert stage.messages() == {"INVITE/INVITE": 1, "INVITE/180": 1}


def test_second_legs_of_asterisk_belong_to_the_first() -> None:
    stage = Stage()
    stage.say("INVITE", 0.0, call_id="x")
    stage.say("INVITE", 0.0, call_id="x_b2b-1_b2b-1", branch="other")
    assert stage.calls()["attempts"] == 1


def test_causes_and_unknown_words_make_no_series() -> None:
    stage = Stage()
    stage.say("BYE", 0.0, "2 BYE", to_tag="t", headers='Reason: Q.850;cause=16;text="Normal"\r\n')
    stage.say("BYE", 0.0, "3 BYE", to_tag="t", headers="Reason: SIP;cause=200\r\n")
    for number in range(100):
        stage.say(f"EVIL{number}", 1.0, f"{number} EVIL{number}", call_id=f"evil-{number}")
        stage.reply(300 + number, 1.0, "5 INVITE", call_id=f"evil-{number}")
    assert stage.sip["reasons"] == {"unknown": {"16": {"BYE": 1}}}
    assert stage.messages()["other/other"] == 100
    assert stage.messages()["INVITE/other"] > 80
    assert len(stage.messages()) < 12


def test_room_is_bounded_and_what_gives_way_is_counted() -> None:
    stage = Stage(transactions=64)
    for number in range(500):
        stage.say("INVITE", 0.0, call_id=f"flood-{number}")
    assert stage.calls()["attempts"] == 500
    assert 800 < stage.sip["evicted"] < 1000
