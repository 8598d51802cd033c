"""Kaltura's entries as the Activity server's videos.

Read strictly: a field of a wrong type is a mistake of Kaltura's, named as the client would read it.
"""

from collections.abc import Callable, Mapping

from proxy.frozen import frozen
from proxy.jwt import LATEST
from proxy.template import iso_time

VIDEO_FIELDS = (
    "id",
    "title",
    "description",
    "duration",
    "thumbnailUrl",
    "partnerId",
    "createdAt",
    "views",
    "userId",
)
"""The closed set of a video's fields that can turn out wrong."""
LIST_FIELDS = ("videos", "totalCount", *(f"videos[].{name}" for name in VIDEO_FIELDS))
"""The same of a list."""


class Unsound(ValueError):
    """An entry or a list is not what it should be; `field` says where."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@frozen
class Listed:
    """A page of videos and how many there are in all; `unsound` are why entries were left out."""

    videos: list[dict[str, object]]
    total: int
    unsound: tuple[str, ...] = ()


def video_of(entry: object, partner_id: str) -> dict[str, object]:
    """Return an entry as a video. `partner_id` stands in where it has none. Raises `Unsound`.

    Kaltura knows of no play URL: that is a player's, and players are the gateway's business.
    """
    if not isinstance(entry, dict):
        raise Unsound("id")
    return {
        "id": _read(entry, "id", "id", _word),
        "title": _read(entry, "name", "title", _word),
        "description": _read(entry, "description", "description", _text) or "",
        "duration": _read(entry, "duration", "duration", _amount) or 0,
        "thumbnailUrl": _read(entry, "thumbnailUrl", "thumbnailUrl", _text) or "",
        "partnerId": str(_read(entry, "partnerId", "partnerId", _number) or partner_id),
        "createdAt": _read(entry, "createdAt", "createdAt", _moment),
        "views": _read(entry, "views", "views", _amount) or 0,
        "playUrl": None,
        "userId": _read(entry, "userId", "userId", _text),
    }


def listed(content: object, partner_id: str, size: int) -> Listed:
    """Return a list response as at most `size` videos. Raises `Unsound`.

    An entry that is none is left out; a list that is left with nothing is unsound.
    """
    entries = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(entries, list):
        raise Unsound("videos")
    total = content.get("totalCount")
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise Unsound("totalCount")
    videos: list[dict[str, object]] = []
    unsound: dict[str, None] = {}
    for entry in entries[:size]:
        try:
            videos.append(video_of(entry, partner_id))
        except Unsound as error:
            unsound[f"videos[].{error.field}"] = None
    if unsound and not videos:
        raise Unsound(next(iter(unsound)))
    return Listed(videos, total, tuple(unsound))


def _read(
    entry: Mapping[str, object], name: str, field: str, read: Callable[[object], str | float | None]
) -> str | float | None:
    try:
        return read(entry.get(name))
    except ValueError:
        raise Unsound(field) from None


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _text(value: object) -> str | None:
    return None if value is None else _word(value)


def _amount(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError
    return value


def _number(value: object) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _moment(value: object) -> str | None:
    seconds = _amount(value)
    if seconds is None:
        return None
    if seconds > LATEST:
        raise ValueError
    return iso_time(seconds)
