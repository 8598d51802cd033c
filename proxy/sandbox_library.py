"""The videos behind the gateway's stand-in: 95 lectures, or what it makes up without Kaltura."""

import string
from collections.abc import Sequence
from random import Random
from typing import Protocol

from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.sandbox_express import iso

Video = dict[str, object]

LECTURES = 95
_FIRST_DAY = 1_740_000_000  # lecture n was recorded n days after it
_DAY = 86_400
_PLAY_PRIVILEGES = (
    "genieid:default,privacycontext:2361952EPea2653e,virtualeventid:2361952,"
    "searchcontext:2361952EPea2653e,eventsessioncontextid:*,"
    "appid:eventplatform-hackerspacelive.events.kaltura.com"
)


class Videos(Protocol):
    """Where the gateway's stand-in takes videos and credentials from."""

    @property
    def partner_id(self) -> str:
        """The Kaltura account's number."""
        ...

    def newest(self, page: int, size: int) -> list[Video]:
        """Return one page of all videos, the newest first; pages count from 1."""
        ...

    def search(self, query: str, page: int, size: int) -> list[Video]:
        """Return one page of the matches, the newest first; an empty query matches all."""
        ...

    def one(self, video_id: str) -> Video:
        """Return one video; what stands for an absent one is the gateway's own oddity."""
        ...

    def play_url(self, video_id: str, user: str) -> str:
        """Return an address at which that Kaltura user can play the video."""
        ...

    def ks(self, user: str, privileges: str) -> str:
        """Return a new Kaltura session of that user."""
        ...


def shell(partner_id: str) -> Video:
    """Return what the gateway answers, with status 200, for a video that does not exist."""
    return {
        "thumbnailUrl": f"https://www.kaltura.com/api_v3/p/{partner_id}/thumbnail/entry_id/undefined",
        "duration": 0,
        "createdAt": None,
        "views": 0,
        "playUrl": f"{_player(partner_id)}?entry_id=undefined",
    }


def _player(partner_id: str) -> str:
    return f"https://www.kaltura.com/api_v3/p/{partner_id}/embedPlaykitJs/uiconf_id/46022343"


@frozen
class Library:
    """The 95 lectures `1_e0000001` to `1_e0000095`: odd ones about cats, even ones about dogs."""

    random: Random
    partner_id: str = "5896392"

    def newest(self, page: int, size: int) -> list[Video]:
        """Return one page of the lectures, the last one first."""
        return self._page(range(LECTURES, 0, -1), page, size)

    def search(self, query: str, page: int, size: int) -> list[Video]:
        """Return one page of the lectures with every word of the query in their wording."""
        words = query.lower().split()
        found = [n for n in range(LECTURES, 0, -1) if all(word in _wording(n) for word in words)]
        return self._page(found, page, size)

    def one(self, video_id: str) -> Video:
        """Return a lecture, or the shell of one."""
        digits = video_id.removeprefix("1_e")
        if len(digits) == 7 and digits.isdecimal() and digits.isascii():
            n = int(digits)
            if 1 <= n <= LECTURES and video_id == _id(n):
                return self._video(n)
        return shell(self.partner_id)

    def play_url(self, video_id: str, user: str) -> str:
        """Return a player's address with a session in it, for absent videos too."""
        return f"{_player(self.partner_id)}?ks={self.ks(user, _PLAY_PRIVILEGES)}&entry_id={video_id}"

    def ks(self, user: str, privileges: str) -> str:
        """Return a session string of Kaltura's form; its hash is random, so no two are alike."""
        return f"djJ8{self.partner_id}|{user}|{privileges}|{self.random.getrandbits(160):040x}"

    def _page(self, numbers: Sequence[int], page: int, size: int) -> list[Video]:
        page, size = max(page, 1), max(size, 1)
        return [self._video(n) for n in numbers[(page - 1) * size : page * size]]

    def _video(self, n: int) -> Video:
        return {
            "id": _id(n),
            "title": _title(n),
            "description": _description(n),
            "thumbnailUrl": f"https://cfvod.kaltura.com/p/{self.partner_id}/thumbnail/entry_id/{_id(n)}",
            "duration": 60 + 17 * n,
            "createdAt": iso(_FIRST_DAY + n * _DAY),
            "views": 11 * n,
            "userId": f"teacher{n % 3}@example.edu",
            "playUrl": f"{_player(self.partner_id)}?entry_id={_id(n)}",
        }


def _id(n: int) -> str:
    return f"1_e{n:07d}"


def _title(n: int) -> str:
    return f"Lecture {n}: {'cats' if n % 2 else 'dogs'} and networks"


def _description(n: int) -> str:
    return f"Recorded session {n}"


def _wording(n: int) -> str:
    return f"{_title(n)} {_description(n)}".lower()


@frozen
class MadeUp:
    """What the gateway answers without Kaltura: new videos at every call, and any one asked for."""

    random: Random
    clock: Clock
    partner_id: str = "12345"

    def newest(self, page: int, size: int) -> list[Video]:  # noqa: ARG002  (it does not page)
        """Return five videos, whatever the page."""
        return self._five("")

    def search(self, query: str, page: int, size: int) -> list[Video]:  # noqa: ARG002  (as above)
        """Return five videos with the query in their titles, whatever it is."""
        return self._five(query)

    def one(self, video_id: str) -> Video:
        """Return a video of that id: here every video exists."""
        wording = "This is a mock video for development"
        return self._video(video_id, f"Mock Video {video_id}", wording, days_ago=0)

    def play_url(self, video_id: str, user: str) -> str:
        """Return an address that names the user."""
        return f"https://mock-kaltura.com/play/{video_id}?user={user}"

    def ks(self, user: str, privileges: str) -> str:  # noqa: ARG002  (it is not told apart by them)
        """Return a session string that no Kaltura would take."""
        return f"mock_ks_{self._word()}"

    def _five(self, query: str) -> list[Video]:
        suffix = f" - {query}" if query else ""
        matching = f' matching "{query}"' if query else ""
        return [
            self._video(
                self._word(),
                f"Mock Video {n}{suffix}",
                f"This is mock video {n} for development{matching}",
                days_ago=n - 1,
            )
            for n in range(1, 6)
        ]

    def _video(self, video_id: str, title: str, description: str, days_ago: int) -> Video:
        return {
            "id": video_id,
            "title": title,
            "description": description,
            "thumbnailUrl": f"https://mock-kaltura.com/thumbnail/{video_id}.jpg",
            "duration": self.random.randrange(60, 660),
            "createdAt": iso(self.clock.time() - days_ago * _DAY),
            "views": self.random.randrange(1000),
            "userId": "mock-user",
            "playUrl": f"https://mock-kaltura.com/play/{video_id}",
        }

    def _word(self) -> str:
        return "".join(self.random.choices(string.ascii_lowercase + string.digits, k=11))
