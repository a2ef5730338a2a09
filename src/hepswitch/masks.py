"""Masks: how much of a packet's people its copies tell, by name.

    [masks.partner]
    users = "pseudonym"                 # the same number is the same pseudonym everywhere, under one key
    key = "file:mask.key"               # openssl rand -hex 32 > mask.key

Rules and scripts mask a packet for everything that comes after, a destination masks its own copy. Not here: the masking
(`wire.masking`).
"""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from hepswitch.tables import Secret, Table
from hepswitch.wire.masking import Authorization, CallIds, Masker, Users

SHORTEST_KEY: Final = 16
KEY_HINT: Final = (
    'make one with "openssl rand -hex 32 > mask.key" and write key = "file:mask.key", '
    'or keep it in the environment and write key = "env:MASK_KEY"'
)


class MaskTable(Table):
    """`[masks.NAME]`: one way to mask packets. Lengths and structure stay; whatever is SIP can still be read as SIP."""

    users: Users = Field(
        "pseudonym",
        description="Users, numbers and display names: "
        '"pseudonym": one of the same length, under `key` always the same (digits stay digits, a leading + stays; '
        'words of a few characters share theirs with others); "truncate": all but the beginning becomes 0 or x; '
        '"keep": as they are.',
    )
    key: Secret | None = Field(
        None, description='The key of pseudonyms, 16 bytes or more: "env:NAME", "file:PATH" or the key itself.'
    )
    keep: int = Field(
        4, ge=0, le=64, description='How many characters "truncate" keeps, but never more than half of a word.'
    )
    authorization: Authorization = Field(
        "remove",
        description='Authorization and Proxy-Authorization: "remove", or "keep": of a digest all but its user stays, '
        "of Basic, Bearer and others only the name of the scheme. In text they are overwritten.",
    )
    bodies: list[str] = Field(["MESSAGE"], description="Methods whose bodies are overwritten, in requests and replies.")
    dtmf: bool = Field(
        True, description="Overwrite dialled digits in bodies: application/dtmf-relay, dtmf, Nortel's digits, KPML."
    )
    call_ids: CallIds = Field(
        "keep",
        description='Call-IDs and correlation ids: "keep", or "pseudonym": the same one in SIP, RTCP, logs and legs.',
    )
    numbers: bool = Field(
        True,
        description="Also mask numbers of 7 to 17 digits and users before an @ in text: logs, strings of JSON, "
        "bodies, headers that are not known.",
    )

    @model_validator(mode="after")
    def _key_where_needed(self) -> MaskTable:
        if self.key is None and "pseudonym" in (self.users, self.call_ids):
            raise ValueError(f"pseudonyms need a key: {KEY_HINT}")
        if self.key is not None and len(self._octets) < SHORTEST_KEY:
            raise ValueError(f"the key has {len(self._octets)} bytes, {SHORTEST_KEY} are the least: {KEY_HINT}")
        return self

    @property
    def _octets(self) -> bytes:
        return b"" if self.key is None else self.key.get_secret_value().encode()

    def masker(self) -> Masker:
        """The mask, ready for use."""
        return Masker(
            users=self.users,
            key=self._octets,
            keep=self.keep,
            authorization=self.authorization,
            bodies=self.bodies,
            dtmf=self.dtmf,
            call_ids=self.call_ids,
            numbers=self.numbers,
        )
