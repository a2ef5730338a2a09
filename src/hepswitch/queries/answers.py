"""What is answered, as JSON: the API's document is made of these. `answering` fills them.

Times are ISO 8601 UTC with microseconds and Z. Octets are text where they are UTF-8, else under `<name>_base64`.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Seconds = float


class Page(Struct, kw_only=True):
    """What every answer about many packets says."""

    since: Annotated[Time | None, Meta(description="From then on was looked; null: from the beginning.")]
    until: Annotated[Time | None, Meta(description="Before then was looked; null: to the end.")]
    asked: Annotated[dict[str, Any], Meta(description="What was looked for, after `q` was read.")]
    warnings: Annotated[list[str], Meta(description="What is missing from the answer.")]
    seconds: Annotated[Seconds, Meta(description="How long it took.")]


class FoundCall(Struct, kw_only=True):
    """A Call-ID, as far as its messages lie within the time asked about."""

    call_id: str
    start: Time
    end: Time
    method: str | None
    from_user: str | None
    from_domain: str | None
    to_user: str | None
    to_domain: str | None
    status: Annotated[int | None, Meta(description="First 2xx, else the last final, else the last provisional reply.")]
    reason: str | None
    setup: Annotated[
        Seconds | None, Meta(description="First INVITE to its first reply other than 100 (RFC 6076, 4.3).")
    ]
    duration: Annotated[Seconds | None, Meta(description="Answer to BYE.")]
    messages: int
    legs: Annotated[int, Meta(description="Call-IDs that are tied to it, itself included.")]


class FoundCalls(Page, kw_only=True):
    """A page of calls, the newest first."""

    calls: list[FoundCall]
    next: Annotated[str | None, Meta(description="`cursor` of the next page; null: this was the last.")]


class FoundMessage(Struct, kw_only=True):
    """A packet."""

    id: Annotated[str, Meta(description="The same whenever it is asked for.")]
    ts: Time
    src_ip: str | None
    src_port: int | None
    dst_ip: str | None
    dst_port: int | None
    proto_id: int | None
    proto_type: int | None
    captagent_id: int | None
    node_name: str | None
    call_id: str | None
    correlation_id: str | None
    method: str | None
    status: int | None
    reason: str | None
    cseq: int | None
    cseq_method: str | None
    from_user: str | None
    from_domain: str | None
    to_user: str | None
    to_domain: str | None
    user_agent: str | None
    received_ip: str | None
    custom_field1: str | None
    custom_field2: str | None
    custom_field3: str | None
    size: Annotated[int, Meta(description="Bytes of the payload.")]
    payload: str | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET


class FoundMessages(Page, kw_only=True):
    """A page of packets, the newest first."""

    messages: list[FoundMessage]
    next: str | None


class Bucket(Struct):
    """A part of the time asked about."""

    at: Time
    calls: Annotated[int, Meta(description="Calls whose first message is in it.")]
    failed: Annotated[int, Meta(description="Those of them that ended with 300 or above, but for 401, 407 and 487.")]


class Rates(Page, kw_only=True):
    """Calls over time."""

    step: Annotated[Seconds, Meta(description="Length of a part.")]
    buckets: list[Bucket]


class Endpoint(Struct):
    """A column of the ladder."""

    label: str
    host: str
    name: Annotated[str | None, Meta(description="Of the capture agent there, where only one can be meant.")]


class Quality(Struct):
    """What a media report says."""

    loss: Annotated[float | None, Meta(description="Percent.")]
    jitter: Annotated[float | None, Meta(description="Milliseconds.")]
    mos: float | None


class Carried(Struct, kw_only=True):
    """The packet of an event. The payload is left out of very large calls: `/message` has it."""

    src_ip: str | None
    src_port: int | None
    dst_ip: str | None
    dst_port: int | None
    proto: str | None
    captagent_id: int | None
    node_name: str | None
    size: int
    payload: str | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET


class LadderEvent(Struct, kw_only=True):
    """An arrow of the ladder or, when source is target, a note."""

    id: str
    at: Time
    offset: Annotated[Seconds, Meta(description="Since the first event.")]
    kind: Annotated[str, Meta(description="request, reply, rtcp, report, log or other.")]
    source: Annotated[int, Meta(description="Column.")]
    target: Annotated[int, Meta(description="Column.")]
    label: str
    leg: Annotated[int | None, Meta(description="Which of `legs`.")]
    status: int | None
    method: str | None
    cseq: int | None
    sdp: bool
    retransmission: bool
    copies: Annotated[int, Meta(description="Capture agents that sent this very message.")]
    dialog: Annotated[int | None, Meta(description="Number of the dialog; forks differ.")]
    quality: Quality | None
    message: Carried


class WholeCall(FoundCall, kw_only=True):
    """A call, and how it ended in words."""

    outcome: str


class Ladder(Struct, kw_only=True):
    """One call."""

    call: WholeCall
    legs: Annotated[list[str], Meta(description="Call-IDs in the order in which they appear.")]
    endpoints: list[Endpoint]
    events: list[LadderEvent]
    warnings: list[str]
    seconds: Seconds


class SipView(Struct):
    """A SIP message taken apart."""

    start_line: str
    headers: Annotated[list[tuple[str, str]], Meta(description="Name and value, in order, unfolded.")]
    body: str


class MediaView(Struct):
    """A medium of a session description."""

    kind: str
    port: int
    proto: str
    address: str | None
    codecs: list[str]
    direction: str


class SdpView(Struct):
    """A session description."""

    media: list[MediaView]


class WholeMessage(FoundMessage, kw_only=True):
    """A packet with its payload, as it is and taken apart."""

    sip: SipView | None
    sdp: SdpView | None


class Store(Struct):
    """A store that can be asked."""

    name: str
    kind: Annotated[str, Meta(description="lake, postgresql, mysql, sqlite or clickhouse.")]
    default: bool


class StoreList(Struct):
    """The stores."""

    stores: list[Store]


class Refusal(Struct):
    """Why there is no answer."""

    error: str
