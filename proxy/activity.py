"""The source `activity`: the Activity server's own answer to a rewritten call.

A route without a gateway call is the Activity server's own business: whatever it answers is the answer. For
any other route it only stands in, and then a good answer is wanted.
"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import replace

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs
from yarl import URL

from proxy.call import JSON, Answer, Call, Failure, FailureKind, SourceFailed
from proxy.frozen import frozen
from proxy.headers import Network, as_text, end_to_end, forwarded_headers

MAX_ANSWER = 8 * 1024 * 1024
_OURS = frozenset({b"content-length", b"expect", b"accept-encoding"})
# An answer that stands in for another has to come whole.
_CONDITIONAL = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
_NOT_RELAYED = frozenset(
    {b"activity-proxy-source", b"cache-status", b"content-length", b"content-type", b"proxy-status"}
    | {b"date", b"x-request-id"}
)
# What no field value may hold (RFC 9110 section 5.5), and aiohttp's server refuses to send.
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def activity_session(
    *,
    connect_timeout: float = 5.0,
    response_header_limit: int = 65536,
    tls: ssl.SSLContext | None = None,
) -> ClientSession:
    """Return a session that adds nothing to what it is told to send, and keeps nothing of what comes.

    Args:
        connect_timeout: Seconds that making a connection may take, name look-up included.
        response_header_limit: Bytes that one line of a response's head may have.
        tls: What to make of the certificate; None for what the system trusts. Only for `https`.
    """
    session = ClientSession(
        # Node closes idle connections after 5 s: this side is to be the first.
        connector=TCPConnector(limit=0, keepalive_timeout=4.0, ssl=True if tls is None else tls),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=ClientTimeout(total=None, connect=connect_timeout),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=response_header_limit,
        max_field_size=response_header_limit,
    )
    # Its silent repeats cover PUT and DELETE too, and there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


@frozen
class Activity:
    """Answers with what the Activity server at `origin` says.

    `timeout` is in seconds. The request is made once: a code for a token works only once.
    """

    origin: str
    session: ClientSession
    trusted: Sequence[Network]
    timeout: float

    async def __call__(self, call: Call) -> Answer:
        """Return the Activity server's answer. Raises `SourceFailed` when there is none, or no good one."""
        answer = await self._exchange(call)
        if call.route.call is None:
            return _unkept(answer) if call.route.credential else answer
        if answer.status != 200 or not answer.content_type.startswith("application/json"):
            detail = f"the Activity server answered {answer.status}"
            raise SourceFailed(Failure("activity", FailureKind.STATUS, detail, answer.status))
        if any(name.lower() == "content-encoding" for name, _ in answer.headers):
            raise _failed(
                FailureKind.CONTRACT, "the Activity server's answer has a coding that was not asked for"
            )
        standing_in = Answer(200, answer.body, "activity")
        return _unkept(standing_in) if call.route.credential else standing_in

    async def _exchange(self, call: Call) -> Answer:
        request = call.request
        gone = _OURS if call.route.call is None else _OURS | _CONDITIONAL
        kept = [field for field in end_to_end(request.fields) if field[0].lower() not in gone]
        headers = as_text(forwarded_headers(kept, request.hop, self.trusted))
        try:
            async with self.session.request(
                "GET" if request.method == "HEAD" else request.method,
                URL(self.origin + request.target, encoded=True),
                data=request.body or None,
                headers=[*headers, ("Accept-Encoding", "identity")],
                allow_redirects=False,
                timeout=ClientTimeout(total=self.timeout),
            ) as response:
                body = await response.content.read(MAX_ANSWER + 1)
                while len(body) <= MAX_ANSWER and not response.content.at_eof():
                    body += await response.content.read(MAX_ANSWER + 1 - len(body))
        except TimeoutError:
            raise _failed(FailureKind.TIMEOUT, "the Activity server did not answer in time") from None
        except (ClientError, OSError):
            raise _failed(FailureKind.UNREACHABLE, "the Activity server is away") from None
        if len(body) > MAX_ANSWER:
            raise _failed(FailureKind.CONTRACT, "the Activity server's answer is too large")
        fields = end_to_end(response.raw_headers)
        if not 200 <= response.status <= 599 or any(_CONTROLS.search(value) for _, value in fields):
            raise _failed(FailureKind.CONTRACT, "the Activity server's answer is not valid HTTP")
        return Answer(
            response.status,
            body,
            "activity",
            content_type=response.headers.get(hdrs.CONTENT_TYPE, JSON),
            headers=tuple(as_text(field for field in fields if field[0].lower() not in _NOT_RELAYED)),
        )


def _unkept(answer: Answer) -> Answer:
    """Return a credential as an answer that nobody may keep."""
    other = [(name, value) for name, value in answer.headers if name.lower() != "cache-control"]
    return replace(answer, headers=(*other, ("Cache-Control", "no-store")))


def _failed(kind: FailureKind, detail: str) -> SourceFailed:
    return SourceFailed(Failure("activity", kind, detail))
