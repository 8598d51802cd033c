"""Where a WebSocket stream is in its frames (RFC 6455 section 5.2), without looking into them.

A relay that may have to say Close itself needs to know two things of the bytes that pass: whether a frame
has just ended, and whether a Close frame went by.
"""

_CLOSE = 0x8
_FINAL = 0x80
_MASKED = 0x80
_KEY_SIZE = 4
_SHORT = 2
_WIDE = {126: 2, 127: 8}
"""Bytes of extended length, by what the seven bits of length say."""
_WHOLE = bytes(
    0 if second & 0x7F in _WIDE else _SHORT + (second & 0x7F) + (_KEY_SIZE if second & _MASKED else 0)
    for second in range(256)
)
"""Size of a frame by its second byte; 0 when that is not all that says it."""


class Frames:
    """Follows one direction of a WebSocket, split anyhow."""

    __slots__ = ("_closing", "_head", "_left", "_need", "closed")

    def __init__(self) -> None:
        self._head = bytearray()
        self._need = _SHORT
        self._left = 0
        self._closing = False
        self.closed = False
        """A whole Close frame went by: no frame follows (RFC 6455 section 5.5.1)."""

    @property
    def at_boundary(self) -> bool:
        """Whether the last frame is complete, so that another may follow."""
        return not self._head and not self._left

    def follow(self, data: bytes) -> bool:
        """Take note of bytes that pass; tell whether the stream is closed by now."""
        position = 0
        if not self._left and not self._head:
            # Nearly all that passes is one short frame, or some.
            size = len(data)
            if size >= _SHORT and _WHOLE[data[1]] == size and data[0] & 0x0F != _CLOSE:
                return self.closed
            position = _past_short_frames(data)
        while position < len(data) and not self.closed:
            position = self.follow_frame(data, position)
        return self.closed

    def follow_frame(self, data: bytes, start: int = 0) -> int:
        """Take note of bytes to the end of the frame they are in, or of the data; return where that is."""
        position = start
        if not self._left:
            position = self._follow_head(data, start)
            if self._head:
                return position
        taken = min(self._left, len(data) - position)
        self._left -= taken
        if not self._left:
            self.closed = self._closing
        return position + taken

    def _follow_head(self, data: bytes, start: int) -> int:
        head = self._head
        position = start
        while len(head) < self._need:
            taken = data[position : position + self._need - len(head)]
            if not taken:
                return position
            head += taken
            position += len(taken)
            if len(head) == _SHORT:
                self._need += _WIDE.get(head[1] & 0x7F, 0)
                self._need += _KEY_SIZE if head[1] & _MASKED else 0
        short = head[1] & 0x7F
        self._left = int.from_bytes(head[_SHORT : _SHORT + _WIDE[short]]) if short in _WIDE else short
        self._closing = head[0] & 0x0F == _CLOSE
        head.clear()
        self._need = _SHORT
        return position


def _past_short_frames(data: bytes) -> int:
    """Return where the frames end that are short, whole and no Close: of most data that is the end."""
    position, last = 0, len(data) - _SHORT
    while position <= last:
        size = _WHOLE[data[position + 1]]
        if not size or position + size > len(data) or data[position] & 0x0F == _CLOSE:
            break
        position += size
    return position


def close_frame(code: int) -> bytes:
    """Return a Close frame as a server sends it."""
    return bytes((_FINAL | _CLOSE, 2)) + code.to_bytes(2)


def masked_close_frame(code: int, key: bytes) -> bytes:
    """Return a Close frame as a client sends it, masked with four random bytes (RFC 6455 section 5.3)."""
    masked = bytes(byte ^ key[i] for i, byte in enumerate(code.to_bytes(2)))
    return bytes((_FINAL | _CLOSE, _MASKED | 2)) + key + masked
