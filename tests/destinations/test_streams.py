"""Streams as stores: their tables in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hepswitch.config import ConfigError, load
from hepswitch.destinations.stores import kind_of, store_of
from hepswitch.destinations.streams import KafkaStore, NatsStore
from hepswitch.preflight import examine
from hepswitch.streams.address import Login
from hepswitch.tables import REVEALED


def config(folder: Path, text: str) -> Path:
    path = folder / "hepswitch.toml"
    path.write_text(f"[stores.bus]\n{text}")
    return path


def test_a_table_goes_to_the_loader_whole_with_its_secrets_and_files(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    path = config(tmp_path, 'url = "nats+tls://n1/HEP?ca=ca.pem"\nuser = "u"\npassword = "file:pw"\nkeep = "2d"\n')
    store = load(path).stores["bus"]
    told = store_of(store.model_dump(mode="json", context=REVEALED))
    assert isinstance(told, NatsStore)
    assert told == store
    assert kind_of(told) == "nats"
    assert told.address.options == {"ca": str(tmp_path / "ca.pem")}
    assert told.login == Login("u", "s3cret")
    assert "s3cret" not in f"{store!r}{store.model_dump_json()}"
    path = config(tmp_path, 'url = "nats://n1/HEP"\ncredentials = "edge.creds"\n')
    store = load(path).stores["bus"]
    assert isinstance(store, NatsStore)
    assert store.login == Login(credentials=str(tmp_path / "edge.creds"))
    path = config(tmp_path, 'url = "kafka+tls://k1/hep?ca=ca.pem&sasl=scram-sha-256"\nuser = "u"\npassword = "p"\n')
    store = load(path).stores["bus"]
    assert isinstance(store, KafkaStore)
    assert store.address.options == {"ca": str(tmp_path / "ca.pem"), "sasl": "scram-sha-256"}
    assert store.login == Login("u", "p")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "nats://n1"', "2: stores.bus.url: 'nats://n1' names no stream"),
        ('url = "nats://n1/HEP?group=x"', "the URL knows no option group"),
        ('url = "nats://n1/HEP"\nsubject = "hep.*"', "3: stores.bus.subject: "),
        ('url = "nats://n1/HEP"\npartitions = 5000', "3: stores.bus.partitions: "),
        ('url = "nats://n1/HEP"\nuser = "u"\ntoken = "t"', "user and token exclude each other"),
        ('url = "nats://n1/HEP"\npassword = "hush"', "a password needs a user: add user"),
        ('url = "nats://n1/HEP"\npacket = 5', "stores.bus.packet: unknown key: did you mean packets?"),
        ('url = "kafka://k1/hep?sasl=md5"', "sasl=md5 in the URL is none of plain, scram-sha-256, scram-sha-512"),
        ('url = "kafka://k1/hep"\nuser = "u"', "user and password come together: give both"),
        ('url = "kafka://k1/hep"\nsubject = "x"', "stores.bus.subject: unknown key"),
    ],
)  # fmt: skip
def test_mistakes_are_said_with_their_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(config(tmp_path, text))
    assert said in str(error.value)
    assert "hush" not in str(error.value)


def test_files_that_are_missing_are_said_by_check(tmp_path: Path) -> None:
    path = config(tmp_path, 'url = "nats+tls://n1/HEP?ca=none.pem"\ncredentials = "none.creds"\n')
    with pytest.raises(ConfigError, match=r"(?s)none\.pem: No such file.*|none\.creds.*") as error:
        examine(path)
    assert "none.pem" in str(error.value)
    assert "none.creds" in str(error.value)
