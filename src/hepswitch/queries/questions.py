"""What may be asked: one Struct for each question, with a line about each field, from which the API's document is made.

`read` makes one of the parameters of a URL. Not here: what they come to (`selection`, `answering`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from msgspec import Meta, Struct, ValidationError, convert

LIMIT, MOST = 100, 1000
"""Calls or messages of a page, unless told; and at most."""

BUCKETS, MOST_BUCKETS = 120, 1000

MOST_TEXT, MOST_WORD = 8192, 256
"""Characters of a parameter: a condition may have as many (`filters.tokens.LONGEST`), like a Call-ID; others fewer."""

MOST_CALLS = 100
"""Calls of one file."""

MEDIA_TYPES = {
    "pcap": "application/vnd.tcpdump.pcap",
    "pcapng": "application/x-pcapng",
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
}
"""What a file of calls may be, and how HTTP calls that."""

Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Word = Annotated[str, Meta(max_length=MOST_WORD)]


def _said(doc: str, **limits: Any) -> Meta:
    return Meta(description=doc, **limits)


class OfStore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to one store."""

    store: Annotated[Word, _said("Name of the store. Without it: the default store.")] | None = None


class Selection(OfStore, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which packets are meant; everything given must hold. `*` and `?` make patterns of Call-IDs, users and addresses."""

    q: (
        Annotated[
            Text,
            _said(
                "The one box: a Call-ID, a number, a user, user@domain, an address or network, a status (486, 4xx), a "
                "method, or a condition. How it was read is in `asked`."
            ),
        ]
        | None
    ) = None
    call_id: Annotated[Text, _said("Call-ID, or the call that RTCP and logs belong to.")] | None = None
    from_user: Annotated[Word, _said("User of From.")] | None = None
    to_user: Annotated[Word, _said("User of To.")] | None = None
    user: Annotated[Word, _said("User of From, To, request URI or P-Asserted-Identity.")] | None = None
    method: Annotated[Word, _said("Method of a request; with `status` that of its replies.")] | None = None
    status: Annotated[Word, _said("Status of a reply: 486, or 4xx.")] | None = None
    ip: Annotated[Word, _said("Source or destination address.")] | None = None
    user_agent: Annotated[Word, _said("Some part of User-Agent or Server, in upper or lower case.")] | None = None
    filter: Annotated[Text, _said("A condition in the language of filters.")] | None = None
    since: (
        Annotated[
            Text,
            _said(
                "From then on: ISO 8601 (UTC unless it says otherwise), or so long ago (2h). Without it: one hour, unless "
                "`call_id` is exact."
            ),
        ]
        | None
    ) = None
    until: Annotated[Word, _said("Before then: ISO 8601, or so long ago.")] | None = None


class Paged(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A selection that is given in pages, the newest first."""

    limit: Annotated[int, _said("Rows of a page.", ge=1, le=MOST)] = LIMIT
    cursor: Annotated[Text, _said("`next` of the page before: what follows it.")] | None = None


class Calls(Paged, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The calls in which some message is what is meant."""


class Messages(Paged, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The packets that are meant."""

    payload: Annotated[bool, _said("Payloads, too.")] = False


class Rate(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many calls began, and how many failed, over the time asked about."""

    buckets: Annotated[int, _said("Parts of that time.", ge=1, le=MOST_BUCKETS)] = BUCKETS


class Call(OfStore, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call: its ladder with all legs, media reports and logs."""

    call_id: Annotated[Text, _said("Its Call-ID.", min_length=1)]
    legs: Annotated[Literal["all", "one"], _said("All Call-IDs that are tied to it, or this one alone.")] = "all"


class Message(OfStore, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One packet."""

    call_id: Annotated[Text, _said("The Call-ID, or correlation id, that it has.", min_length=1)]
    id: Annotated[Word, _said("Its `id`, as calls and messages have it.", min_length=1)]
    format: Annotated[Literal["json", "raw"], _said("As JSON, or the octets of the payload alone.")] = "json"


class Export(OfStore, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calls as a file."""

    call_id: Annotated[list[Text], _said("Call-IDs.", min_length=1, max_length=MOST_CALLS)]
    format: Annotated[Literal["pcap", "pcapng", "text", "json"], _said("What the file is.")] = "pcap"
    legs: Annotated[Literal["all", "one"], _said("With all Call-IDs that are tied to them, or these alone.")] = "all"


class Stores(Struct, frozen=True, forbid_unknown_fields=True):
    """The stores that can be asked."""


Question = Calls | Messages | Rate | Call | Message | Export | Stores

KINDS: dict[str, type[Question]] = {
    kind.__name__: kind for kind in (Calls, Messages, Rate, Call, Message, Export, Stores)
}
"""Every question by its name."""

Asked = TypeVar("Asked", bound=Struct)


def read(kind: type[Asked], parameters: Iterable[tuple[str, str]]) -> Asked:
    """The question of a URL's parameters. Raises ValueError with what is wrong, in words."""
    lists = {name for name, hint in get_type_hints(kind).items() if hint == list[Text] or hint == list[str]}
    found: dict[str, Any] = {}
    for name, value in parameters:
        if name in lists:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise ValueError(f"{name} is there twice")
        else:
            found[name] = value
    try:
        return convert(found, kind, strict=False)
    except ValidationError as error:
        raise ValueError(str(error).replace("Object", "the question")) from None
