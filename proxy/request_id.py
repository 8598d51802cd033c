"""The id that a request goes by in answers, logs and at the gateway."""

import re
from collections.abc import Iterator

_SOUND = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NUMBERS = 1 << 64
_LAST_BYTES = [f"{number:02x}" for number in range(256)]


class RequestIds:
    """Makes ids of 32 hexadecimal digits: a part that is this process's, and a number.

    `seed` are 16 random bytes. Ids are unique, and no secret: one tells the next.
    """

    def __init__(self, seed: bytes) -> None:
        self._made = _made(seed[:8].hex(), int.from_bytes(seed[8:16], "big"))

    def __call__(self) -> str:
        """Return a new id."""
        return next(self._made)

    def of(self, given: str | None) -> str:
        """Return the id that a client gave if it is a sound one, else a new one."""
        return given if given and _SOUND.fullmatch(given) else next(self._made)


def _made(process: str, number: int) -> Iterator[str]:
    while True:
        start = f"{process}{number >> 8:014x}"  # which 256 ids have in common
        for last in _LAST_BYTES[number & 255 :]:
            yield start + last
        number = ((number | 255) + 1) % _NUMBERS
