"""Following WebSocket frames."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.frames import Frames, close_frame, masked_close_frame

TEXT, CLOSE = 0x1, 0x8


def frame(opcode: int, payload: bytes, key: bytes | None = None, *, final: bool = True) -> bytes:
    """A frame as RFC 6455 section 5.2 draws it."""
    head = bytes((opcode | (0x80 if final else 0),))
    masked = 0x80 if key is not None else 0
    size = len(payload)
    if size < 126:
        head += bytes((masked | size,))
    elif size < 65536:
        head += bytes((masked | 126,)) + size.to_bytes(2)
    else:
        head += bytes((masked | 127,)) + size.to_bytes(8)
    if key is None:
        return head + payload
    stream = int.from_bytes((key * (size // 4 + 1))[:size]) ^ int.from_bytes(payload)
    return head + key + stream.to_bytes(size)


sizes = st.one_of(st.integers(0, 5), st.sampled_from([125, 126, 127, 65535, 65536, 65600]))
frames = st.builds(
    frame,
    st.sampled_from([0, 1, 2, 9, 10]),
    sizes.map(bytes),
    st.none() | st.binary(min_size=4, max_size=4),
    final=st.booleans(),
)


@given(st.lists(frames, max_size=5), st.data())
def test_boundaries_are_known_however_the_bytes_are_split(parts: list[bytes], data: st.DataObject) -> None:
    """After any split the follower knows whether a frame has just ended, and stops at each end."""
    stream = b"".join(parts)
    ends = {sum(map(len, parts[:count])) for count in range(len(parts) + 1)}
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    followed = Frames()
    stepped = Frames()
    position = 0
    for cut in [*cuts, len(stream)]:
        followed.follow(stream[position:cut])
        assert followed.at_boundary == (cut in ends)
        piece, at = stream[position:cut], 0
        while at < len(piece):
            at = stepped.follow_frame(piece, at)
            assert stepped.at_boundary == (position + at in ends)
        position = cut
    assert not followed.closed


@given(st.lists(frames, max_size=3), st.binary(max_size=125), st.binary(max_size=300), st.integers(1, 9))
def test_a_close_frame_is_noticed_when_it_is_complete(
    parts: list[bytes], reason: bytes, rest: bytes, step: int
) -> None:
    """Not before its last byte, and for good: what comes after is no frame."""
    stream = b"".join(parts) + frame(CLOSE, reason, b"abcd")
    followed = Frames()
    followed.follow(stream[:-1])
    assert not followed.closed
    assert not followed.at_boundary
    pieces = [stream[-1:], *(rest[at : at + step] for at in range(0, len(rest), step))]
    for piece in pieces:
        followed.follow(piece)
        assert (followed.closed, followed.at_boundary) == (True, True)


def test_close_frames_are_written_as_the_rfc_says() -> None:
    """A server's Close is plain, a client's is masked with the key that goes before it."""
    assert close_frame(1001) == frame(CLOSE, b"\x03\xe9")
    assert masked_close_frame(1011, b"\x01\x02\x03\x04") == frame(CLOSE, b"\x03\xf3", b"\x01\x02\x03\x04")
