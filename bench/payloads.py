"""What is sent about while measuring: the same bytes for the origin, the sidecar and its peers."""

from typing import Final

import orjson

VIDEO_ID: Final = "1_bench000"
KIB: Final = 1024
MIB: Final = 1024 * KIB

_VIDEO: Final[dict[str, object]] = {
    "id": VIDEO_ID,
    "title": "A lecture on queues",
    "description": "",
    "duration": 2711,
    "thumbnailUrl": "https://cdn.example.com/p/5896392/thumbnail/entry_id/1_bench000",
    "partnerId": "5896392",
    "createdAt": "2026-02-03T10:20:30.000Z",
    "views": 1871,
    "playUrl": "https://cdn.example.com/p/5896392/embedPlaykitJs/uiconf_id/46022343?entry_id=1_bench000",
    "userId": "80351110224678912",
}


def video(video_id: str = VIDEO_ID) -> dict[str, object]:
    """Return a video whose JSON has 1 KiB, in the fields and the order that the Activity server has."""
    plain = {**_VIDEO, "id": video_id}
    words = "Where arrivals are random, waiting begins well before a server is full. "
    missing = KIB - len(orjson.dumps(plain))
    return {**plain, "description": (words * (missing // len(words) + 1))[:missing]}


def gateway_video(video_id: str = VIDEO_ID) -> bytes:
    """Return what the gateway says of a video."""
    return orjson.dumps({"video": video(video_id)})


def gateway_videos(size: int) -> bytes:
    """Return a page of the gateway's list."""
    return orjson.dumps({"videos": [video(f"1_{number:08d}") for number in range(size)]})


CACHED_BODY: Final = orjson.dumps(video())
CACHED_HEADERS: Final = {
    "Content-Type": "application/json; charset=utf-8",
    "Activity-Proxy-Source": "cache",
    "Cache-Status": "activity-proxy; hit; ttl=3600",
    "ETag": '"0123456789abcdef01234567"',
    "X-Request-Id": "0123456789abcdef0123456789abcdef",
}
"""The head of the sidecar's cached answer, for the handler that does nothing but send it."""
