"""What of a request may stand in a log: secrets masked, oddities escaped, length bounded."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus

MASK: Final = "***"
# A parameter is secret when a word of its name is: `client_secret`, `accessToken`, `user[ks]`.
_SECRET_WORDS: Final = frozenset(
    {"token", "ks", "code", "secret", "session", "authorization", "password", "key"}
    | {"accesstoken", "apitoken", "apikey", "sessionid", "jwt", "passwd", "signature"}
)
_NAME: Final = re.compile(r"(?:^|[?;#])([^=?;#]*)=")
_NESTED_NAME: Final = re.compile(r"(?:^|[?;#&])([^=?;#&]*)=")
_LOWER_WORD: Final = re.compile(r"[a-z0-9]+")
_CAMEL_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_USER_INFO: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
_PATH_KS: Final = re.compile(r"(/ks/)[^/?#]+", re.IGNORECASE)
# The same where escapes hid it, other than what is masked already.
_HIDDEN_KS: Final = re.compile(rf"/ks/(?!{re.escape(MASK)}(?:[/?#]|$))[^/?#]", re.IGNORECASE)
# How deep an address inside an address inside an address is looked into.
_NESTING: Final = 3


def printable(text: str, limit: int) -> str:
    r"""Return at most `limit` characters that a terminal and a line-based reader take for text.

    Line ends, escape sequences, direction marks and the like come out as `\n`, `\x1b`, `\u202e`.
    """
    if not text.isprintable():
        cut = text[: limit + 1]
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_clear(text: str) -> bool:
    """Tell whether there is nothing in a text, as in most targets, that could be a secret's name or place."""
    return "=" not in text and "%" not in text and "@" not in text and "/ks/" not in text.lower()


def masked_target(target: str, limit: int = 1024) -> str:
    """Return a request target as it may be logged, in at most `limit` characters.

    Hidden are the values of parameters with a secret's name, also in an address that is a
    parameter's value; the user of an absolute target; and the path segment after `/ks/`, where
    Kaltura's own addresses hold a session, in such a value too.
    """
    if is_clear(target):
        return printable(target, limit)
    shown = _PATH_KS.sub(rf"\1{MASK}", _USER_INFO.sub(rf"\1{MASK}@", target))
    return printable("&".join(_masked_piece(piece) for piece in shown.split("&")), limit)


def _masked_piece(piece: str) -> str:
    head, tail = piece, ""
    for match in _NAME.finditer(piece):
        if _is_secret(match[1]):
            # To the end of the piece: whether `;` ends a value depends on who reads it.
            head, tail = piece[: match.start()], match[0] + MASK
            break
    for text in _decodings(head):
        if _HIDDEN_KS.search(text) or any(_is_secret(match[1]) for match in _NESTED_NAME.finditer(text)):
            return head.partition("%")[0] + MASK
    return head + tail


def _is_secret(name: str) -> bool:
    lower = name.lower()
    if "%" not in name and not any(word in lower for word in _SECRET_WORDS):
        return False
    words: set[str] = set()
    for text in (name, *_decodings(name)):
        words.update(_LOWER_WORD.findall(text.lower()))
        words.update(word.lower() for word in _CAMEL_WORD.findall(text))
    return not words.isdisjoint(_SECRET_WORDS)


def _decodings(text: str) -> Iterator[str]:
    for _ in range(_NESTING):
        if "%" not in text:
            return
        text = unquote_plus(text)
        yield text
