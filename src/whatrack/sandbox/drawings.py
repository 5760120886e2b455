"""Pictures of ads that nobody has drawn: a PNG each, its colours and shapes made up from what it is of. Pure."""

import struct
import zlib
from colorsys import hls_to_rgb

from whatrack.sandbox import chance

SIDE = 240  # pixels
STRIPE = 24


def png(seed: int, key: str) -> bytes:
    """A square picture; the same for the same key. Two tones, a disc and stripes, so that ads are told apart at a glance."""
    hue = chance.fraction(seed, "hue", key)
    back, front = _colour(hue, 0.82), _colour(hue + 0.08, 0.45)
    light = _colour(hue + 0.5, 0.9)
    at = [SIDE * (0.3 + 0.4 * chance.fraction(seed, name, key)) for name in ("x", "y")]
    size = SIDE * (0.18 + 0.14 * chance.fraction(seed, "size", key))
    slant = 1 if chance.fraction(seed, "slant", key) < 0.5 else -1
    rows = bytearray()
    for y in range(SIDE):
        rows.append(0)  # no filter
        for x in range(SIDE):
            inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 < size**2
            striped = (x + slant * y) // STRIPE % 4 == 0
            rows += light if inside else front if striped or y > SIDE * 0.86 else back
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _colour(hue: float, light: float) -> bytes:
    return bytes(round(255 * each) for each in hls_to_rgb(hue % 1, light, 0.45))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
