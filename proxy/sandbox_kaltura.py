"""A stand-in for Kaltura's API v3: sessions, and the same lectures as the gateway's, with faults on demand.

It takes what the sidecar sends and no more: forms that are posted, answers in JSON. As Kaltura does, it
reports every mistake with status 200, and quotes a session that it refuses in the message.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.sandbox_damage import inflict
from proxy.sandbox_express import answer, number
from proxy.sandbox_faults import Faults
from proxy.sandbox_library import LECTURES, Library, Video
from proxy.sandbox_port import Port, StandIn

ADMIN_SECRET = "sandbox-admin-secret"  # nosec B105 # noqa: S105  (it opens nothing but this stand-in)
USER, ADMIN = 0, 2
_DEFAULT_EXPIRY = 86_400  # seconds
_PAGE_SIZE, _MOST = 30, 500  # entries on a page
_ABSENT = {"objectType": "KalturaMediaEntry"}

Form = Mapping[str, str]


class _Exception(Exception):
    """What is answered as `KalturaAPIException`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@frozen
class Session:
    """What a KS stands for; `expiry` is in seconds since the epoch."""

    type: int
    user: str
    privileges: frozenset[str]
    expiry: float

    def may_view(self, entry: str) -> bool:
        """Whether it may read that entry."""
        return self.type == ADMIN or not self.privileges.isdisjoint({f"sview:{entry}", "sview:*"})

    @property
    def may_list(self) -> bool:
        """Whether it may read all entries."""
        return self.type == ADMIN or "list:*" in self.privileges


@dataclass(slots=True)
class Kaltura(StandIn):
    """The stand-in: its port, its sessions, its faults, and what it was asked.

    `calls` counts the requests that came in, by `service.action`. `sessions` are those that are good, by KS.
    """

    clock: Clock
    random: Random
    port: Port
    secret: str = ADMIN_SECRET
    calls: Counter[str] = field(default_factory=Counter)
    sessions: dict[str, Session] = field(default_factory=dict, repr=False)
    _faults: Faults = field(default_factory=Faults)
    _dice: Random = field(default_factory=lambda: Random(0))  # nosec B311 # noqa: S311  (dice that a test can repeat)

    @property
    def url(self) -> str:
        """The base below which `service/…` is."""
        return f"{self.port.url}/api_v3"

    @property
    def partner_id(self) -> str:
        """The account's number, the same as the gateway's."""
        return self._library.partner_id

    @property
    def faults(self) -> Faults:
        """The faults in place (`auth` is the session service); setting them starts their dice anew."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._dice = Random(faults.seed)  # nosec B311 # noqa: S311  (as above)

    def revoke(self) -> None:
        """Make every session issued so far void."""
        self.sessions.clear()

    @property
    def _library(self) -> Library:
        return Library(self.random)

    def application(self) -> web.Application:
        """Return what answers."""
        application = web.Application(middlewares=[self._damaged])
        application.add_routes([web.post("/api_v3/service/{service}/action/{action}", self._asked)])
        return application

    @web.middleware
    async def _damaged(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        service = request.match_info.get("service", "")
        self.calls[f"{service}.{request.match_info.get('action', '')}" if service else "other"] += 1
        fault = self._faults.strike("auth" if service == "session" else "routes", self._dice)
        return await inflict(fault, request, handler, self.clock, dict(_ABSENT))

    async def _asked(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if form.get("format") != "1":
            return web.Response(text="<xml><result/></xml>", content_type="text/xml")
        try:
            return answer(self._result(request.match_info["service"], request.match_info["action"], form))
        except _Exception as error:
            said = {
                "code": error.code,
                "message": str(error),
                "objectType": "KalturaAPIException",
                "args": {},
            }
            return answer(said)

    def _result(self, service: str, action: str, form: Form) -> object:
        match service, action:
            case "session", "start":
                return self._start(form)
            case "media", "get":
                return self._get(form)
            case "media", "list":
                return self._list(form)
        raise _Exception("SERVICE_DOES_NOT_EXISTS", f'Service "{service}" does not exists')

    def _start(self, form: Form) -> str:
        kind = form.get("type", "0")
        if form.get("secret") != self.secret or form.get("partnerId") != self.partner_id or kind not in "02":
            partner = form.get("partnerId", "")
            raise _Exception("START_SESSION_ERROR", f"Error while starting session for partner [{partner}]")
        privileges = frozenset(filter(None, form.get("privileges", "").split(",")))
        expiry = self.clock.time() + number(form.get("expiry"), _DEFAULT_EXPIRY)
        ks = f"djJ8{self.partner_id}{self.random.getrandbits(256):064x}"
        self.sessions[ks] = Session(int(kind), form.get("userId", ""), privileges, expiry)
        return ks

    def _session(self, form: Form) -> Session:
        ks = form.get("ks")
        if not ks:
            raise _Exception("MISSING_KS", "Missing KS, session not established")
        session = self.sessions.get(ks)
        if session is None or self.clock.time() >= session.expiry:
            reason = "-1,INVALID_STR" if session is None else "-2,EXPIRED"
            raise _Exception("INVALID_KS", f'Invalid KS "{ks}", Error "{reason}"')
        return session

    def _get(self, form: Form) -> Video:
        session, wanted = self._session(form), form.get("entryId", "")
        if not session.may_view(wanted):
            raise _forbidden("get")
        video = self._library.one(wanted)
        if "id" not in video:
            raise _Exception("ENTRY_ID_NOT_FOUND", f'Entry id "{wanted}" not found')
        return self._entry(video)

    def _list(self, form: Form) -> dict[str, object]:
        if not self._session(form).may_list:
            raise _forbidden("list")
        if form.get("filter[objectType]", "KalturaMediaEntryFilter") != "KalturaMediaEntryFilter":
            raise _Exception("OBJECT_TYPE_ABSTRACT", "The object type is no filter of media entries")
        words = form.get("filter[freeText]") or form.get("filter[searchTextMatchAnd]") or ""
        found = self._library.search(words, 1, LECTURES)
        if form.get("filter[orderBy]") == "+createdAt":
            found.reverse()
        size = min(number(form.get("pager[pageSize]"), _PAGE_SIZE), _MOST)
        first = (number(form.get("pager[pageIndex]"), 1) - 1) * size
        entries = [self._entry(video) for video in found[first : first + size]]
        return {"totalCount": len(found), "objects": entries, "objectType": "KalturaMediaListResponse"}

    def _entry(self, video: Video) -> Video:
        return {
            "id": video["id"],
            "name": video["title"],
            "description": video["description"],
            "duration": video["duration"],
            "thumbnailUrl": video["thumbnailUrl"],
            "partnerId": int(self.partner_id),
            "createdAt": int(datetime.fromisoformat(str(video["createdAt"])).timestamp()),
            "views": video["views"],
            "plays": video["views"],
            "userId": video["userId"],
            "objectType": "KalturaMediaEntry",
        }


def _forbidden(action: str) -> _Exception:
    return _Exception("SERVICE_FORBIDDEN", f'The access to service "media->{action}" is forbidden')
