"""What Kaltura's API v3 is asked for a call of a route: service, action and form, and nothing in the URL.

What a client sent only ever becomes the value of a form's field. Where Kaltura itself reads structure in such
a value, in the privileges and the user of a session, it is held to letters that have none.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import urlencode

from proxy.call import Subject, Value
from proxy.frozen import frozen
from proxy.route import KalturaCall

USER, ADMIN = 0, 2
VIEWER_LIFE = 4 * 3600
"""Seconds that a viewer's session lives: a long video with its pauses."""
READING_LIFE = 600
"""Seconds that the session for reading lives; it is renewed before."""
READING = "list:*,sview:*"
_ENTRY = re.compile(r"[A-Za-z0-9_-]{1,64}")
# A session of the first version joins its fields with `;`, privileges are joined with `,` and `:`.
_USER = re.compile(r"[A-Za-z0-9_@.+ -]{1,128}")

Form = Mapping[str, str]


class InvalidValue(ValueError):
    """A value that no session can be started with; the text is for the client (status 400)."""


@frozen
class Question:
    """One call of Kaltura. The form may hold a secret or a KS, so it is in no `repr`."""

    service: str
    action: str
    form: Form = field(repr=False)

    @property
    def path(self) -> str:
        """The path below the endpoint."""
        return f"/service/{self.service}/action/{self.action}"

    def having(self, more: Form) -> "Question":
        """Return the question with more fields in its form."""
        return Question(self.service, self.action, {**self.form, **more})

    def body(self) -> bytes:
        """Return the form as it is sent."""
        return urlencode({"format": "1", **self.form}).encode()


def known_as(discord_id: str) -> str:
    """Return the user that a Discord user is at Kaltura: the one that the gateway starts sessions for."""
    return f"discord_{discord_id}"


def named(asked: KalturaCall, called: Mapping[str, Value], subject: Subject) -> Mapping[str, Value]:
    """Return the values that Kaltura is asked with: a verified viewer goes by their name there."""
    if asked == "session" and subject.kind == "user":
        return {**called, "userId": known_as(subject.discord_id)}
    return called


def question(asked: KalturaCall, called: Mapping[str, Value]) -> Question:
    """Return what is asked for a route's values. Raises `InvalidValue`.

    What gives the right to ask, the KS or the secret, has to be added.
    """
    match asked:
        case "video":
            return Question("media", "get", {"entryId": str(called["videoId"])})
        case "list":
            return _listing(called, {})
        case "search":
            return _listing(called, {"filter[freeText]": str(called["query"])})
    return viewing(str(called["videoId"]), str(called["userId"]))


def viewing(video: str, user: str) -> Question:
    """Ask for a viewer's session, which is good for one video only. Raises `InvalidValue`."""
    if not _ENTRY.fullmatch(video):
        raise InvalidValue("videoId is not valid")
    if not _USER.fullmatch(user):
        raise InvalidValue("userId is not valid")
    return _start(USER, VIEWER_LIFE, f"sview:{video}").having({"userId": user})


def reading() -> Question:
    """Ask for the session that the sidecar reads entries with."""
    return _start(ADMIN, READING_LIFE, READING)


def _start(kind: int, expiry: int, privileges: str) -> Question:
    form = {"type": str(kind), "expiry": str(expiry), "privileges": privileges}
    return Question("session", "start", form)


def _listing(called: Mapping[str, Value], more: Form) -> Question:
    form = {
        "filter[objectType]": "KalturaMediaEntryFilter",
        **more,
        "filter[orderBy]": "-createdAt",
        "pager[pageSize]": str(called["pageSize"]),
        "pager[pageIndex]": str(called["page"]),
    }
    return Question("media", "list", form)
