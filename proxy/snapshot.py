"""The last good answers in a file, so that they survive a restart during an outage.

Only answers that were fetched as the service and without credentials get in here: nothing of a user.

Layout, numbers in network order: eight bytes that name the format and its version; for each entry the
lengths of key and entry (32 bits each), the key in UTF-8, the entry as `proxy.store.encode` makes it; the
BLAKE2b digest of all before. The version of the software plays no part.

The functions here wait for the disk: run them in a thread.
"""

import hashlib
import os
import stat
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from proxy.frozen import frozen
from proxy.store import FORMAT, Entry, decode, encode

_NAME: Final = b"ActPrxy"
_MAGIC: Final = _NAME + bytes([FORMAT])
_LENGTHS: Final = struct.Struct(">II")
_DIGEST: Final = 32
_FRAME: Final = len(_MAGIC) + _DIGEST
# Seconds after which the unfinished file of a writer that was killed is in nobody's way any more.
_ABANDONED: Final = 3600


@frozen
class Snapshot:
    """What a file held: entries in the order in which to put them back, least recently used first.

    `refused` says why a file that is there was not used; it may be shown.
    """

    entries: tuple[tuple[str, Entry], ...] = ()
    refused: str | None = None


def write(path: Path, entries: Iterable[tuple[str, Entry]], limit: int) -> None:
    """Write entries to a file in place of the one before, at once or not at all.

    Args:
        path: The file, which only its owner may read.
        entries: Most recently used first. Those that do not fit are left out.
        limit: Bytes that the file may have.

    Raises:
        OSError: It could not be written. The file before is as it was.
    """
    _sweep(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            digest = hashlib.blake2b(digest_size=_DIGEST)
            for piece in _pieces(entries, limit):
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def read(path: Path, now: float, limit: int) -> Snapshot:
    """Return what `write` wrote; nothing and the reason when it is damaged, foreign or not to be read.

    A file that is not there is no reason: there is just nothing yet. What claims to come from after
    `now` (epoch seconds) is taken to be from now, or a clock that was wrong would keep it fresh for ever.
    """
    try:
        data = _content(path, limit)
    except FileNotFoundError:
        return Snapshot()
    except OSError as error:
        return Snapshot(refused=f"cannot be read: {error.strerror}")
    except ValueError as error:
        return Snapshot(refused=str(error))
    why = _flaw(data)
    if why is not None:
        return Snapshot(refused=why)
    entries = _parsed(data)
    if entries is None:
        return Snapshot(refused="is damaged")
    entries.reverse()
    return Snapshot(tuple((key, replace(e, stored_at=min(e.stored_at, now))) for key, e in entries))


def _pieces(entries: Iterable[tuple[str, Entry]], limit: int) -> Iterator[bytes]:
    """Return the file in pieces, without its digest: the head, then one piece an entry."""
    yield _MAGIC
    room = limit - _FRAME
    for key, entry in entries:
        name = key.encode("utf-8", "surrogatepass")
        value = encode(entry)
        room -= _LENGTHS.size + len(name) + len(value)
        if room < 0:
            break
        yield b"".join((_LENGTHS.pack(len(name), len(value)), name, value))


def _content(path: Path, limit: int) -> bytes:
    # Not blocking: a pipe under that name would keep the reader for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError("is larger than the cache may be")
    return data


def _flaw(data: bytes) -> str | None:
    if not data.startswith(_NAME):
        return "is not a snapshot of this software" if data else "is empty"
    if not data.startswith(_MAGIC):
        return "is of another version of the format"
    digest = hashlib.blake2b(memoryview(data)[:-_DIGEST], digest_size=_DIGEST).digest()
    return None if len(data) >= _FRAME and digest == data[-_DIGEST:] else "is damaged"


def _parsed(data: bytes) -> list[tuple[str, Entry]] | None:
    """Return the entries of a file whose digest is right; None when it was not `write` that made it."""
    entries: list[tuple[str, Entry]] = []
    at, end = len(_MAGIC), len(data) - _DIGEST
    while at < end:
        try:
            key_length, length = _LENGTHS.unpack_from(data, at)
            middle = at + _LENGTHS.size + key_length
            key = data[middle - key_length : middle].decode("utf-8", "surrogatepass")
        except (struct.error, UnicodeDecodeError):
            return None
        at = middle + length
        entry = decode(data[middle:at]) if at <= end else None
        if entry is None:
            return None
        entries.append((key, entry))
    return entries


def _sweep(path: Path) -> None:
    """Remove what writers left behind that were killed long ago."""
    with suppress(OSError):
        newest = path.stat().st_mtime
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            if left.stat().st_mtime < newest - _ABANDONED:
                left.unlink()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
