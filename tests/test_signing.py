"""Signing in and out: what is added to the Activity server's answer, and what is kept and forgotten."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api_error import ApiErrorCode, NotSignedIn
from proxy.call import Answer, Call, FailureKind, Subject
from proxy.credentials import COOKIE, bearer_key, clear_cookie, cookie_key, set_cookie
from proxy.events import Event, SignInFailed
from proxy.grant import Granted, TokenEndpointFailed, TokenError, TokenRefused
from proxy.memory_sessions import MemorySessions
from proxy.provenance import provenance
from proxy.sessions import Session
from proxy.signing import Signing, with_members
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import call_of
from tests.listener_fakes import Recorded

ALICE = Subject("user", "80351110224678912", "Alice")
SAID = b' {"access_token": "acc", "expires_in": 12345678901234567890, "ratio": 1.10} \n'
EXCHANGED = Answer(200, SAID, "activity", headers=(("ETag", 'W/"1"'), ("X-Own", "1")))
TOKEN = call_of("plan", "POST", "/api/token")
LOGOUT = call_of("plan", "POST", "/api/logout")
TTL = 600.0


class Forgetful(MemorySessions):
    """A store that is away."""

    async def put(self, key: str, session: Session, keep: float) -> bool:
        """Keep nothing."""
        return False

    async def end(self, *keys: str) -> list[Session] | None:  # type: ignore[override]  # it may fail
        """Forget nothing."""
        return None


@dataclass
class Desk:
    """The stage with its neighbours: what Discord and the gateway say, and what was asked of them."""

    ladder: Recorded = field(default_factory=lambda: Recorded(EXCHANGED))
    discord: Subject | NotSignedIn = ALICE
    gateway: Granted | TokenError = field(default_factory=lambda: Granted("t0ken", 1_795_398_789.0))
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    asked: list[tuple[str, float]] = field(default_factory=list)
    logins: list[Subject] = field(default_factory=list)
    logouts: list[str] = field(default_factory=list)
    cookies: int = 0

    def __post_init__(self) -> None:
        self.sessions = MemorySessions(self.clock)
        self.waiting: Awaitable[object] | None = None

    async def who(self, token: str, within: float) -> Subject:
        """Answer as Discord."""
        self.asked.append((token, within))
        if isinstance(self.discord, NotSignedIn):
            raise self.discord
        return self.discord

    async def login(self, user: Subject) -> Granted:
        """Answer as the gateway."""
        self.logins.append(user)
        if self.waiting is not None:
            await self.waiting
        if isinstance(self.gateway, TokenError):
            raise self.gateway
        return self.gateway

    def make_secret(self) -> str:
        """Make the next cookie."""
        self.cookies += 1
        return f"cookie-{self.cookies}"

    @property
    def stage(self) -> Signing:
        """The stage."""
        return Signing(
            answer=self.ladder,
            who=self.who,
            login=self.login,
            logout=self.logouts.append,
            sessions=self.sessions,
            roles=("Viewer",),
            ttl=TTL,
            least=3.0,
            clock=self.clock,
            observe=self.events.append,
            make_secret=self.make_secret,
        )

    def failed(self) -> list[ApiErrorCode]:
        """Which failures were told."""
        return [event.code for event in self.events if isinstance(event, SignInFailed)]


def shows(call: Call, *fields: tuple[bytes, bytes]) -> Call:
    """Return the call as a request with these header fields makes it."""
    return replace(call, request=replace(call.request, fields=fields))


def added(answer: Answer) -> dict[str, object]:
    """Return what was added to the Activity server's answer, which is there to the byte."""
    assert answer.body.startswith(SAID.rstrip()[:-1] + b",")
    assert json.loads(answer.body).items() >= json.loads(SAID).items()
    return {name: value for name, value in json.loads(answer.body).items() if name.startswith("api_")}


def cookies(answer: Answer) -> list[str]:
    """Return the cookies that an answer sets."""
    return [value for name, value in answer.headers if name == "Set-Cookie"]


async def test_a_viewer_gets_the_gateways_token_and_a_cookie() -> None:
    """Beside Discord's own answer, every byte of which stays, whatever its numbers are."""
    desk = Desk()
    answer = await desk.stage(TOKEN)
    assert added(answer) == {"api_token": "t0ken", "api_token_expires_at": "2026-11-23T01:53:09.000Z"}
    assert cookies(answer) == [set_cookie("cookie-1", TTL)]
    assert (answer.status, answer.source) == (200, "activity")
    assert ("X-Own", "1") in answer.headers
    assert "ETag" not in dict(answer.headers)
    assert desk.asked == [("acc", 8.0)]
    assert desk.logins == [replace(ALICE, roles=("Viewer",))]
    assert desk.failed() == []


async def test_a_session_is_kept_by_cookie_and_by_token_for_its_time() -> None:
    """Each knows the other's key, so that one sign-out ends both."""
    desk = Desk()
    await desk.stage(TOKEN)
    ends = desk.clock.time() + TTL
    cookie, bearer = cookie_key("cookie-1"), bearer_key("t0ken")
    assert await desk.sessions.get(cookie) == Session(ALICE.discord_id, "Alice", ends, bearer)
    assert await desk.sessions.get(bearer) == Session(ALICE.discord_id, "Alice", ends, cookie)
    desk.clock.shift(TTL)
    assert await desk.sessions.get(cookie) is None


async def test_a_token_that_does_not_say_its_end_has_none() -> None:
    """The client is told null, not a guess."""
    desk = Desk(gateway=Granted("t0ken", None))
    assert added(await desk.stage(TOKEN)) == {"api_token": "t0ken", "api_token_expires_at": None}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TokenEndpointFailed(FailureKind.OFF, "off"), "gateway_off"),
        (TokenEndpointFailed(FailureKind.UNREACHABLE, "away"), "gateway_unreachable"),
        (TokenEndpointFailed(FailureKind.TIMEOUT, "late"), "gateway_timeout"),
        (TokenEndpointFailed(FailureKind.STATUS, "500", 5.0), "gateway_error"),
        (TokenEndpointFailed(FailureKind.CONTRACT, "html"), "gateway_unusable_answer"),
        (TokenEndpointFailed(FailureKind.NO_SUCH_ROUTE, "404"), "gateway_no_such_route"),
        (TokenEndpointFailed(FailureKind.BREAKER_OPEN, "open"), "gateway_breaker_open"),
        (TokenEndpointFailed(FailureKind.TOKEN, "stopping"), "gateway_error"),
        (TokenRefused(FailureKind.STATUS, "400"), "gateway_refused"),
    ],
)
async def test_without_the_gateway_the_viewer_is_known_all_the_same(error: TokenError, code: str) -> None:
    """They get Discord's tokens, why there is no `api_token`, and the cookie."""
    desk = Desk(gateway=error)
    answer = await desk.stage(TOKEN)
    told = added(answer)["api_error"]
    assert isinstance(told, dict)
    assert told["code"] == code
    assert desk.failed() == [code]
    assert cookies(answer) == [set_cookie("cookie-1", TTL)]
    assert (await desk.sessions.get(cookie_key("cookie-1"))) == Session(
        ALICE.discord_id, "Alice", desk.clock.time() + TTL
    )


async def test_without_discord_nobody_is_known() -> None:
    """The client still gets its tokens; nobody is logged in, and no session is ended or begun."""
    desk = Desk(discord=NotSignedIn("discord_timeout"))
    answer = await desk.stage(TOKEN)
    assert added(answer)["api_error"] == {
        "code": "discord_timeout",
        "message": "Discord did not confirm who you are. Signing in again may help.",
    }
    assert cookies(answer) == []
    assert (desk.logins, desk.sessions.size(), desk.failed()) == ([], (0, 0), ["discord_timeout"])


async def test_a_session_that_is_not_kept_is_told() -> None:
    """A cookie that nobody would know is not set, nor a token given that nobody would recognise."""
    desk = Desk()
    desk.sessions = Forgetful(desk.clock)
    answer = await desk.stage(TOKEN)
    told = added(answer)["api_error"]
    assert isinstance(told, dict)
    assert told["code"] == "sessions_unavailable"
    assert cookies(answer) == []


@pytest.mark.parametrize(
    "answer",
    [
        replace(EXCHANGED, status=500),
        replace(EXCHANGED, source="canned"),
        replace(EXCHANGED, body=b"not JSON"),
        replace(EXCHANGED, body=b'["access_token"]'),
        replace(EXCHANGED, body=b'{"expires_in": 1}'),
        replace(EXCHANGED, body=b'{"access_token": 5}'),
        replace(EXCHANGED, body=b'{"access_token": ""}'),
        replace(EXCHANGED, body=b"\xef\xbb\xbf" + SAID),
        replace(EXCHANGED, body=SAID + SAID),
        replace(EXCHANGED, body=b'{"access_token": "\\ud800"}'),
        replace(EXCHANGED, body=b"[" * 100_000),
        replace(EXCHANGED, body=gzip.compress(SAID), headers=(("Content-Encoding", "gzip"),)),
    ],
)
async def test_any_other_answer_passes_as_it_came(answer: Answer) -> None:
    """An exchange that failed, or that the Activity server did not make, signs nobody in."""
    desk = Desk(Recorded(answer))
    assert await desk.stage(TOKEN) is answer
    assert desk.asked == []


async def test_the_activity_servers_own_cookies_go_on_before_ours() -> None:
    """Each once and in its order, as fields of one name that must not be joined (RFC 6265 section 3)."""
    said = (("Set-Cookie", "a=1"), ("set-cookie", "b=2; Path=/"))
    desk = Desk(Recorded(replace(EXCHANGED, headers=said)))
    fields = provenance(await desk.stage(TOKEN), "r1")
    assert fields.getall("Set-Cookie") == ["a=1", "b=2; Path=/", set_cookie("cookie-1", TTL)]


async def test_what_the_activity_server_says_itself_stays() -> None:
    """Where it gives an `api_token` of its own none is put beside it; the viewer is known by the cookie."""
    own = b'{"access_token":"acc","api_token":"own"}'
    desk = Desk(Recorded(replace(EXCHANGED, body=own)))
    answer = await desk.stage(TOKEN)
    assert answer.body == own
    assert len(cookies(answer)) == 1


async def test_other_routes_are_none_of_its_business() -> None:
    """They go on to the next stage with all that they hold."""
    desk = Desk()
    video = call_of("plan", "GET", "/api/kaltura/video/1_cats")
    assert await desk.stage(video) is EXCHANGED
    assert desk.ladder.call is video


@pytest.mark.parametrize(("spent", "left"), [(1.0, 7.0), (7.5, 3.0), (100.0, 3.0)])
async def test_signing_in_has_what_is_left_of_the_calls_time(spent: float, left: float) -> None:
    """And an attempt's time in any case: the code is used up, so that giving up at once helps nobody."""
    desk = Desk()
    desk.clock.shift(spent)
    await desk.stage(TOKEN)
    assert desk.asked == [("acc", left)]


async def test_a_gateway_that_hangs_is_given_up_at_the_deadline() -> None:
    """The client gets its answer then, with the reason."""
    desk = Desk()
    desk.waiting = asyncio.Event().wait()
    stage = replace(desk.stage, least=0.01)
    desk.clock.shift(8.0)
    told = added(await stage(TOKEN))["api_error"]
    assert isinstance(told, dict)
    assert told["code"] == "gateway_timeout"


async def test_a_client_that_leaves_is_not_signed_in() -> None:
    """Nothing is kept for who does not hear of it."""
    desk = Desk()
    desk.waiting = asyncio.Event().wait()
    asking = asyncio.ensure_future(desk.stage(TOKEN))
    await settle()
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert desk.sessions.size() == (0, 0)


async def test_signing_in_ends_the_session_that_the_client_had() -> None:
    """What was shown before is of no use afterwards, so that nobody can be made to use a known cookie."""
    desk = Desk()
    await desk.stage(TOKEN)
    desk.gateway = Granted("another", None)
    await desk.stage(shows(TOKEN, (b"Cookie", f"{COOKIE}=cookie-1".encode())))
    for key in (cookie_key("cookie-1"), bearer_key("t0ken")):
        assert await desk.sessions.get(key) is None
    for key in (cookie_key("cookie-2"), bearer_key("another")):
        assert await desk.sessions.get(key) is not None


async def test_the_same_token_given_again_is_recognised_on() -> None:
    """A gateway that hands out one token twice within a second does not sign its user out."""
    desk = Desk()
    await desk.stage(TOKEN)
    await desk.stage(shows(TOKEN, (b"Cookie", f"{COOKIE}=cookie-1".encode())))
    assert await desk.sessions.get(bearer_key("t0ken")) is not None


BY_COOKIE = (b"Cookie", f"{COOKIE}=cookie-1".encode())
BY_TOKEN = (b"Authorization", b"Bearer t0ken")


@pytest.mark.parametrize("fields", [(BY_COOKIE,), (BY_TOKEN,), (BY_COOKIE, BY_TOKEN)])
async def test_signing_out_forgets_the_session_and_the_users_token(
    fields: tuple[tuple[bytes, bytes], ...],
) -> None:
    """By whichever of the two it is asked for; the cookie is taken away, and the ladder not asked."""
    desk = Desk()
    await desk.stage(TOKEN)
    desk.ladder.calls.clear()
    answer = await desk.stage(shows(LOGOUT, *fields))
    assert (answer.status, answer.body, answer.source) == (204, b"", None)
    assert cookies(answer) == [clear_cookie()]
    assert desk.sessions.size() == (0, 0)
    assert set(desk.logouts) == {ALICE.discord_id}
    assert desk.ladder.calls == []


async def test_who_is_not_signed_in_is_signed_out_all_the_same() -> None:
    """The cookie goes and nothing else happens, whatever is shown."""
    desk = Desk()
    await desk.stage(TOKEN)
    for fields in ((), ((b"Cookie", f"{COOKIE}=guess".encode()),), ((b"Authorization", b"Bearer guess"),)):
        answer = await desk.stage(shows(LOGOUT, *fields))
        assert (answer.status, cookies(answer)) == (204, [clear_cookie()])
    assert desk.logouts == []
    assert desk.sessions.size()[1] == 2


async def test_a_sign_out_that_was_not_kept_is_no_success() -> None:
    """Whoever believes to be signed out must be: the client is told to try again, and keeps its cookie."""
    desk = Desk()
    desk.sessions = Forgetful(desk.clock)
    answer = await desk.stage(shows(LOGOUT, BY_COOKIE))
    assert answer.status == 503
    assert answer.problem is not None
    assert answer.problem.code == "sessions_unavailable"
    assert cookies(answer) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON, min_size=1), st.dictionaries(st.text(), st.text(), min_size=1))
def test_members_are_added_and_none_altered(content: dict[str, object], members: dict[str, str]) -> None:
    """Any object that is not empty, however it is written, stays to the byte up to its end."""
    dump: list[Callable[[object], str]] = [
        json.dumps,
        lambda it: json.dumps(it, indent=2, ensure_ascii=False) + "\n",
    ]
    for write in dump:
        body = write(content).encode(errors="surrogatepass")
        more = with_members(body, members)
        assert json.loads(more) == {**content, **members}
        assert more.startswith(body.rstrip()[:-1])
