from hepswitch.wire.sdp import Sdp

class Sip:
    """A SIP message as it was captured (RFC 3261), read when asked for. Never raises on bad SIP.

    Text is UTF-8 with `surrogateescape`, unfolded; what is absent or unreadable is None. Of a repeated header the first
    counts. Hosts are without port, IPv6 in its brackets; users are without password and parameters.
    """

    raw: bytes
    """The message, as given."""

    def __init__(self, raw: bytes) -> None: ...
    @property
    def is_request(self) -> bool:
        """False for a reply (a status line), else True."""
    @property
    def method(self) -> str | None:
        """The request's method; None for replies (see `cseq_method`)."""
    @property
    def status(self) -> int | None:
        """The reply's status, 100..699; None for requests."""
    @property
    def reason(self) -> str | None:
        """The reply's reason phrase. For the Reason header ask `header("Reason")`."""
    @property
    def ruri(self) -> str | None:
        """The Request-URI."""
    @property
    def ruri_user(self) -> str | None: ...
    @property
    def ruri_domain(self) -> str | None: ...
    @property
    def call_id(self) -> str | None: ...
    @property
    def cseq(self) -> int | None:
        """The number in CSeq, at most 4294967295."""
    @property
    def cseq_method(self) -> str | None: ...
    @property
    def via(self) -> str | None:
        """The topmost Via."""
    @property
    def via_branch(self) -> str | None:
        """The branch of the topmost Via."""
    @property
    def from_uri(self) -> str | None:
        """The URI of From, without <> and without the header's parameters."""
    @property
    def from_user(self) -> str | None: ...
    @property
    def from_domain(self) -> str | None: ...
    @property
    def from_tag(self) -> str | None: ...
    @property
    def to_uri(self) -> str | None:
        """The URI of To, without <> and without the header's parameters."""
    @property
    def to_user(self) -> str | None: ...
    @property
    def to_domain(self) -> str | None: ...
    @property
    def to_tag(self) -> str | None: ...
    @property
    def contact(self) -> str | None:
        """The first Contact, with its parameters."""
    @property
    def contact_user(self) -> str | None: ...
    @property
    def pid_user(self) -> str | None:
        """The user in P-Asserted-Identity, else in P-Preferred-Identity (RFC 3325)."""
    @property
    def auth_user(self) -> str | None:
        """The username in Proxy-Authorization, else in Authorization."""
    @property
    def user_agent(self) -> str | None:
        """User-Agent, else Server."""
    @property
    def content_type(self) -> str | None: ...
    @property
    def content_length(self) -> int | None:
        """What Content-Length says, in bytes."""
    @property
    def body(self) -> bytes:
        """What follows the blank line, no longer than Content-Length; empty when there is none."""
    @property
    def sdp(self) -> Sdp | None:
        """The session description in the body (RFC 8866), multipart included."""
    def header(self, name: str) -> str | None:
        """The first header field of that name, in long or compact form, in any case."""
    def headers(self, name: str) -> list[str]:
        """All header fields of that name in order; comma lists are left as they are."""
    def messages(self) -> list[bytes]:
        """The messages in this payload: some agents put several from one TCP read into one packet.

        Cut by Content-Length, else where the next start line begins.
        """

def looks_like_sip(data: bytes) -> bool:
    """Whether `data` begins with a request or status line."""
