"""What can be wrong with a stand-in, as a set that a test or a person puts in place.

A request meets the fault of `all` and then that of its own class: `auth` (`/api/auth/*`; at Kaltura its
session service) or `routes` (`/api/videos*`, `/api/kaltura/*`; at Kaltura anything else). The delays add up;
for the rest the first one that says something has the word.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from random import Random
from typing import Literal, TypeVar, get_args

from proxy.frozen import frozen

AnswerManner = Literal["normal", "reset", "truncated", "html", "shell", "wrong_types", "hang"]
RequestClass = Literal["auth", "routes", "other"]
RetryAfterForm = Literal["seconds", "date"]

_LONGEST = 3600.0  # seconds
_Word = TypeVar("_Word", bound=str)


class FaultError(ValueError):
    """A fault that cannot be; the text names the field."""


@frozen
class Fault:
    """What befalls a share of the requests.

    `latency` is the wait before anything else, in seconds. `status` is an error in the answer's
    place: 500 and most below it as the gateway's own JSON, 429 and the others as the page of the
    CDN before it. `retry_after` (seconds) goes with a status, as a number or as an HTTP-date.
    `answer` is the manner of answering: `reset` breaks the connection off, `truncated` promises
    more than it sends, `html` is a page in the body's place, `shell` empties the videos,
    `wrong_types` swaps strings and numbers, `hang` never answers. `rate` is the share of requests
    that are struck, 0 to 1.
    """

    latency: float = 0.0
    status: int | None = None
    retry_after: int | None = None
    retry_after_form: RetryAfterForm = "seconds"
    answer: AnswerManner = "normal"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.latency <= _LONGEST:
            raise FaultError("latency: wants seconds from 0 to 3600")
        if self.status is not None and not 400 <= self.status <= 599:
            raise FaultError("status: wants an error status from 400 to 599, or null")
        if self.retry_after is not None and not 0 <= self.retry_after <= _LONGEST:
            raise FaultError("retry_after: wants whole seconds from 0 to 3600, or null")
        if self.retry_after is not None and self.status is None:
            raise FaultError("retry_after: wants a status beside it")
        if not 0 <= self.rate <= 1:
            raise FaultError("rate: wants a share from 0 to 1")


NO_FAULT = Fault()


@frozen
class Faults:
    """The faults of each class of requests. `seed` decides which requests a `rate` strikes."""

    all: Fault = NO_FAULT
    auth: Fault = NO_FAULT
    routes: Fault = NO_FAULT
    seed: int = 0

    def strike(self, request: RequestClass, random: Random) -> Fault:
        """Return what befalls one request of that class."""
        met = [self.all]
        if request == "auth":
            met.append(self.auth)
        elif request == "routes":
            met.append(self.routes)
        struck = [fault for fault in met if fault.rate >= 1 or random.random() < fault.rate]  # nosec B311 # (dice)
        status = next((fault for fault in struck if fault.status is not None), NO_FAULT)
        return Fault(
            latency=min(sum(fault.latency for fault in struck), _LONGEST),
            status=status.status,
            retry_after=status.retry_after,
            retry_after_form=status.retry_after_form,
            answer=next((fault.answer for fault in struck if fault.answer != "normal"), "normal"),
        )

    def as_json(self) -> dict[str, object]:
        """Return the set as `read_faults` takes it."""
        return asdict(self)


def read_faults(value: object, beside: Sequence[str] = ()) -> Faults:
    """Return the faults that a JSON object describes; what it does not name is as it should be.

    `beside` are keys that the caller has taken out, and that exist as well.

    Raises:
        FaultError: a key or a value is none of ours.
    """
    found = _object(value, "faults", [*beside, *(field.name for field in fields(Faults))])
    classes = {name: _fault(found[name], name) for name in found if name != "seed"}
    return Faults(**classes, seed=_whole(found.get("seed", 0), "seed"))


def _fault(value: object, where: str) -> Fault:
    found = _object(value, where, [field.name for field in fields(Fault)])
    status, retry_after = found.get("status"), found.get("retry_after")
    form = found.get("retry_after_form", "seconds")
    answer = found.get("answer", "normal")
    try:
        return Fault(
            latency=_real(found.get("latency", 0.0), "latency"),
            status=None if status is None else _whole(status, "status"),
            retry_after=None if retry_after is None else _whole(retry_after, "retry_after"),
            retry_after_form=_one_of(form, get_args(RetryAfterForm), "retry_after_form"),
            answer=_one_of(answer, get_args(AnswerManner), "answer"),
            rate=_real(found.get("rate", 1.0), "rate"),
        )
    except FaultError as error:
        raise FaultError(f"{where}.{error}") from None


def _object(value: object, where: str, known: list[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise FaultError(f"{where}: wants an object")
    for key in value:
        if key not in known:
            raise FaultError(f"{where}: unknown key {key!r}, known are {', '.join(known)}")
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FaultError(f"{where}: wants a whole number")
    return value


def _real(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise FaultError(f"{where}: wants a number")
    return float(value)


def _one_of(value: object, known: tuple[_Word, ...], where: str) -> _Word:
    for one in known:
        if value == one:
            return one
    raise FaultError(f"{where}: wants one of {', '.join(known)}")
