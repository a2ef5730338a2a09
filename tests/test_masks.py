"""[masks.NAME] gives a mask or says what is missing, and no key shows anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from hepswitch.masks import MaskTable
from hepswitch.tables import REVEALED
from hepswitch.wire.masking import Masker

KEY = "0123456789abcdef-secret"
TEXT = b"call to +4930555501"


def test_the_key_may_be_in_the_file_the_environment_or_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mask.key").write_text(KEY + "\n")
    monkeypatch.setenv("MASK_KEY", KEY)
    expected = Masker(key=KEY.encode()).mask(TEXT)
    for source in (KEY, "env:MASK_KEY", f"file:{tmp_path}/mask.key"):
        assert MaskTable.model_validate({"key": source}).masker().mask(TEXT) == expected
    assert expected != TEXT


def test_a_relative_file_is_that_of_the_configurations_folder(tmp_path: Path) -> None:
    (tmp_path / "mask.key").write_text(KEY)
    table = MaskTable.model_validate({"key": "file:mask.key"}, context={"base": tmp_path})
    assert table == MaskTable.model_validate({"key": KEY})


def test_a_worker_gets_the_key(tmp_path: Path) -> None:
    table = MaskTable.model_validate({"key": KEY})
    assert MaskTable.model_validate(table.model_dump(mode="json", context=REVEALED)) == table


def test_every_key_of_the_table_counts() -> None:
    table = MaskTable.model_validate(
        {"users": "truncate", "keep": 2, "numbers": False, "authorization": "keep", "bodies": [], "dtmf": False}
    )
    mask = table.masker()
    assert mask.mask(b"sip:alice@x 4930555501") == b"sip:alxxx@x 4930555501"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "pseudonyms need a key: make one with .openssl rand -hex 32"),
        ({"users": "truncate", "call_ids": "pseudonym"}, "pseudonyms need a key"),
        ({"key": "short"}, "the key has 5 bytes, 16 are the least: make one with .openssl rand"),
        ({"key": 5}, "a secret is a text"),
        ({"users": "hide"}, "pseudonym"),
        ({"key": KEY, "mode": 1}, "Extra inputs"),
    ],
)
def test_mistakes_are_told(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        MaskTable.model_validate(table)
    assert KEY not in str(caught.value.errors(include_input=False))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("env:NO_SUCH_KEY", "NO_SUCH_KEY is not set"),
        ("file:/nowhere/mask.key", "/nowhere/mask.key cannot be read: No such file"),
        ("env:SHORT_KEY", "the key has 5 bytes"),
    ],
)
def test_a_key_that_cannot_be_used_is_told(source: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "short")
    with pytest.raises(ValidationError, match=message):
        MaskTable.model_validate({"key": source})


def test_a_key_never_shows() -> None:
    table = MaskTable.model_validate({"key": KEY})
    shown = [repr(table), str(table), table.model_dump_json(), json.dumps(table.model_dump(mode="json"))]
    shown += [repr(table.key), str(table.key), f"{table.masker()!r}"]
    for text in shown:
        assert KEY not in text
