"""A masked capture is a capture: tshark reads it without errors as the same calls, and nobody's number or name is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interop.tools import CALLS, dissected, hepswitch, need, recorded, run
from running import running_switch

CONFIG = (
    'listen = ["udp://127.0.0.1:0"]\n[stores.lake]\nurl = "lake:./captures"\nflush = "10ms"\n'
    '[masks.partner]\nkey = "env:MASK_KEY"\n'
)
ROUTE = """
from hepswitch import hep_route


@hep_route
def switch(hep):
    hep.mask("partner")
    hep.store()
"""
WAYS = {
    "script": '[hep_route]\nmode = "script"\nscript = "route.py"\n',
    "rules": '[[rule]]\nname = "mask"\nmask = "partner"\nstore = true\n',
}
USERS = ("sip.from.user", "sip.to.user", "sip.contact.user", "sip.r-uri.user", "sip.auth.username", "sip.display.info")
STRUCTURE = ("sip.Call-ID", "sip.CSeq", "sip.Status-Code", "sip.Method", "sip.from.tag", "sip.to.tag", "sip.Via.branch",
             "sip.Content-Length", "sdp.media.port", "ip.src", "ipv6.src")  # fmt: skip
ENDS = re.compile(rb"[^A-Za-z0-9+]")


@pytest.fixture(scope="module", params=WAYS)
def masked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded calls, masked by a script or a rule, stored and exported."""
    folder = tmp_path_factory.mktemp("masked")
    (folder / "route.py").write_text(ROUTE)
    with running_switch(
        folder, CONFIG + WAYS[request.param], env={"MASK_KEY": "0123456789abcdef0123456789abcdef"}
    ) as switch:
        host, port = switch.address()
        hepswitch("replay", CALLS, "--to", f"udp://{host}:{port}", "--rate", "2000")
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] > 120 and book["balanced"], "stored")
        assert book["routed"]["errors"] == 0
    path = folder / "masked.pcapng"
    hepswitch("export", "--ip", "*", "--lake", folder / "captures", "-o", path)
    return path


def test_tshark_finds_nothing_wrong(masked: Path) -> None:
    checks = [word for kind in ("ip", "udp", "tcp") for word in ("-o", f"{kind}.check_checksum:TRUE")]
    assert run(need("tshark"), "-r", masked, *checks, "-Y", "_ws.malformed or _ws.expert.severity == error") == ""
    assert len(dissected(masked, "sip.Call-ID")) > 100


def test_the_calls_are_the_same(masked: Path) -> None:
    assert sorted(dissected(masked, *STRUCTURE)) == sorted(recorded(*STRUCTURE))


def test_none_of_the_users_is_left(masked: Path) -> None:
    """Every user and display name that tshark sees in the recording, wherever in the masked file it might be."""
    told = {word.encode() for row in recorded(*USERS) for field in row for word in field.split(",") if word}
    assert {b"alice", b"dave", b"+493055501", b"reception"} <= told
    written = masked.read_bytes()
    kept = ",".join(row[0] for row in recorded("sip.Call-ID"))  # which ends in the name of a host: pbx
    assert told & set(ENDS.split(written)) - set(ENDS.split(kept.encode())) == set()
    for number in {name.lstrip(b"+") for name in told if name.lstrip(b"+").isdigit()}:
        assert number not in written


def test_a_number_is_one_pseudonym_throughout(masked: Path) -> None:
    """Who called whom is still there: as many different users as in the recording, pair by pair."""
    fields = "sip.Call-ID", "sip.CSeq", "sip.from.user", "sip.to.user"
    pairs = [sorted(recorded(*fields)), sorted(dissected(masked, *fields))]
    names: dict[str, str] = {}
    for (*before, caller, callee), (*after, masked_caller, masked_callee) in zip(*pairs, strict=True):
        assert before == after
        for name, pseudonym in ((caller, masked_caller), (callee, masked_callee)):
            assert names.setdefault(name, pseudonym) == pseudonym
    assert len(set(names.values())) == len(names)
