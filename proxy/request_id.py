"""The id that a request goes by in answers, logs and at the gateway."""

import re
from itertools import count

_SOUND = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NUMBERS = 1 << 64


class RequestIds:
    """Makes ids of 32 hexadecimal digits: a part that is this process's, and a number.

    `seed` are 16 random bytes. Ids are unique, and no secret: one tells the next.
    """

    def __init__(self, seed: bytes) -> None:
        self._process = seed[:8].hex()
        self._numbers = count(int.from_bytes(seed[8:16], "big"))

    def __call__(self) -> str:
        """Return a new id."""
        return f"{self._process}{next(self._numbers) % _NUMBERS:016x}"

    def of(self, given: str | None) -> str:
        """Return the id that a client gave if it is a sound one, else a new one."""
        return given if given and _SOUND.fullmatch(given) else self()
