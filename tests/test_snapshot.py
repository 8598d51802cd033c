"""The file in which the last good answers survive a restart."""

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.memory_store import MemoryStore
from proxy.snapshot import Snapshot, read, write
from proxy.store import Entry, encode
from tests.clocks import FakeClock
from tests.stores import KEY, entries, entry

NOW = 4e9
ROOM = 100_000
ENTRY = encode(entry())
kept = st.lists(st.tuples(st.text(st.characters(), max_size=40), entries), max_size=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a snapshot goes."""
    return tmp_path / "answers.snapshot"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A file that the examples of a property overwrite one after the other."""
    with TemporaryDirectory() as directory:
        yield Path(directory) / "answers.snapshot"


def sealed(content: bytes) -> bytes:
    """Return bytes with the right digest behind them."""
    return content + hashlib.blake2b(content, digest_size=32).digest()


def lengths(key: int, value: int) -> bytes:
    """Return what goes before a key and an entry of these lengths."""
    return key.to_bytes(4) + value.to_bytes(4)


@given(kept)
def test_answers_come_back(scratch: Path, found: list[tuple[str, Entry]]) -> None:
    """All that was written is read, intact, in the order in which to put it back."""
    write(scratch, found, ROOM)
    assert read(scratch, NOW, ROOM) == Snapshot(tuple(reversed(found)))


@given(kept, st.data())
@settings(max_examples=200)
def test_no_damage_yields_wrong_answers(
    scratch: Path, found: list[tuple[str, Entry]], data: st.DataObject
) -> None:
    """A file with a wrong bit, cut short or with something behind it is refused as a whole, with a reason."""
    write(scratch, found, ROOM)
    good = scratch.read_bytes()
    at = data.draw(st.integers(0, 8 * len(good) - 1))
    flipped = bytearray(good)
    flipped[at // 8] ^= 1 << at % 8
    for damaged in (bytes(flipped), good[: at // 8], good + data.draw(st.binary(min_size=1, max_size=40))):
        scratch.write_bytes(damaged)
        answer = read(scratch, NOW, ROOM)
        assert answer.entries == ()
        assert answer.refused


@given(st.binary(max_size=80), st.booleans())
def test_no_content_raises(scratch: Path, content: bytes, ours: bool) -> None:
    """Whatever is in the file, even with the right name and digest, it is read or refused."""
    scratch.write_bytes(sealed(b"ActPrxy\x02" + content) if ours else content)
    answer = read(scratch, NOW, ROOM)
    assert bool(answer.refused) is not (ours and not content)
    assert answer.entries == ()


async def test_store_comes_back_in_the_order_of_use(path: Path) -> None:
    """What the memory held is put back with the same answers first in line to go."""
    before, after = (MemoryStore(1_000_000, FakeClock()) for _ in range(2))
    for key in "abcd":
        await before.set(key, entry(key.encode()), 60.0)
    await before.get("a")
    await asyncio.to_thread(write, path, before.items(), ROOM)
    for key, one in (await asyncio.to_thread(read, path, NOW, ROOM)).entries:
        await after.set(key, one, 60.0)
    assert after.items() == before.items()
    assert "".join(key for key, _ in after.items()) == "adcb"


def test_missing_file_is_nothing_to_tell(path: Path) -> None:
    """Before the first snapshot there is nothing, and no reason for a warning."""
    assert read(path, NOW, ROOM) == Snapshot()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b'{"some": "json"}' * 9, "is not a snapshot of this software"),
        (sealed(b"ActPrxy\x03"), "is of another version of the format"),
        (b"ActPrxy\x02", "is damaged"),
        (b"ActPrxy\x02" + b"x" * 32, "is damaged"),
        (sealed(b"ActPrxy\x02" + lengths(2, len(ENTRY)) + b"\xff\xff" + ENTRY), "is damaged"),
        (sealed(b"ActPrxy\x02" + lengths(1, 99_999) + b"k" + ENTRY), "is damaged"),
    ],
)
def test_other_files_are_refused_with_a_reason(path: Path, content: bytes, why: str) -> None:
    """A file that is foreign, of another version or damaged is not used, and the reason is told."""
    path.write_bytes(content)
    assert read(path, NOW, ROOM) == Snapshot(refused=why)


def test_too_large_file_is_refused(path: Path) -> None:
    """A file over the limit is not read, one at the limit is."""
    write(path, [(KEY, entry())], ROOM)
    size = path.stat().st_size
    assert read(path, NOW, size).entries
    assert read(path, NOW, size - 1) == Snapshot(refused="is larger than the cache may be")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A directory or a pipe in the file's place is refused, and nobody waits for it."""
    os.mkfifo(tmp_path / "pipe")
    reading = threading.Thread(target=read, args=(tmp_path / "pipe", NOW, ROOM), daemon=True)
    reading.start()
    reading.join(10)
    assert not reading.is_alive()
    assert read(tmp_path / "pipe", NOW, ROOM) == Snapshot(refused="is not a file")
    assert read(tmp_path, NOW, ROOM).refused
    assert read(tmp_path / "pipe" / "below", NOW, ROOM) == Snapshot(refused="cannot be read: Not a directory")


def test_file_is_bounded_and_keeps_the_most_recently_used(path: Path) -> None:
    """What does not fit is left out from the end of the list on, and the file is within the limit."""
    many = [(str(number), entry(b"x" * 100)) for number in range(100)]
    write(path, many, 2_000)
    names = [key for key, _ in read(path, NOW, 2_000).entries]
    assert names == [str(number) for number in reversed(range(len(names)))]
    assert 2_000 - 200 < path.stat().st_size <= 2_000
    exactly = path.stat().st_size
    write(path, many, exactly)
    assert path.stat().st_size == exactly


def test_clock_that_was_wrong_keeps_nothing_fresh(path: Path) -> None:
    """An answer that claims to come from the future is taken to be from now; one of the past is as it was."""
    write(path, [(KEY, entry())], ROOM)
    stored_at = entry().stored_at
    assert read(path, stored_at - 1000, ROOM).entries[0][1].stored_at == stored_at - 1000
    assert read(path, stored_at + 1000, ROOM).entries[0][1] == entry()


def test_only_the_owner_reads_it(path: Path) -> None:
    """The file is for its owner alone, also where one with wider rights was before."""
    path.write_bytes(b"old")
    path.chmod(0o666)
    write(path, [(KEY, entry())], ROOM)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_failed_write_leaves_the_file_before(path: Path) -> None:
    """When writing fails half way the old file is as it was, and nothing is left beside it."""

    def breaking() -> Iterator[tuple[str, Entry]]:
        yield KEY, entry()
        raise OSError("no more")

    write(path, [(KEY, entry(b"old"))], ROOM)
    with pytest.raises(OSError, match="no more"):
        write(path, breaking(), ROOM)
    assert read(path, NOW, ROOM).entries == ((KEY, entry(b"old")),)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_reader_never_sees_half_a_file(path: Path) -> None:
    """While one file after the other is written a reader finds each of them whole."""
    write(path, [(KEY, entry(b"0" * 50_000))], ROOM)
    done = threading.Event()

    def rewrite() -> None:
        for number in range(30):
            write(path, [(KEY, entry(str(number % 10).encode() * 50_000))], ROOM)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        found = read(path, NOW, ROOM)
        assert found.refused is None
        assert len(set(found.entries[0][1].body)) == 1
    writer.join()


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    """A place that is not there is an error of the system's, for whoever writes to tell."""
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "answers", [], ROOM)


def test_remains_of_a_killed_writer_are_removed(path: Path) -> None:
    """Unfinished files of long ago are removed by the next write, recent ones and others are left alone."""
    write(path, [], ROOM)
    unfinished = f".{path.name}"
    long_ago, lately = (path.parent / f"{unfinished}.{number}.tmp" for number in (1, 2))
    other = path.parent / "x.tmp"
    for left in (long_ago, lately, other):
        left.touch()
    os.utime(long_ago, (1, 1))
    os.utime(other, (1, 1))
    write(path, [], ROOM)
    assert set(path.parent.iterdir()) == {path, lately, other}


def test_it_is_on_the_disk_before_it_is_in_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is forced to the disk before the file takes its name, and the name after that."""
    synced: list[bool] = []
    force = os.fsync

    def fsync(handle: int) -> None:
        synced.append(path.exists())
        force(handle)

    monkeypatch.setattr("os.fsync", fsync)
    write(path, [(KEY, entry())], ROOM)
    assert synced == [False, True]
