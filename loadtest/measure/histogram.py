"""Histograms as `loadtest` writes them into its result files: HdrHistogram's compressed V2 format in base64."""

import base64
import struct
import zlib

PACKED, PLAIN = 0x1C849304, 0x1C849303
# The lowest four bits of the second digit say how a count is written, not which format it is.
FORMAT = ~0xF0


def counts(text):
    """Each value with how often it was seen, in order."""
    packed = base64.b64decode(text)
    cookie, length = struct.unpack_from(">ii", packed)
    if cookie & FORMAT != PACKED & FORMAT:
        raise ValueError("is no compressed histogram of HdrHistogram's second format")
    plain = zlib.decompress(packed[8 : 8 + length])
    cookie, length, offset, digits, lowest, _, _ = struct.unpack_from(">iiiiqqd", plain)
    if cookie & FORMAT != PLAIN & FORMAT or offset != 0:
        raise ValueError("is a histogram of a form that is not known")
    unit = max(0, lowest.bit_length() - 1)
    half = (2 * 10**digits - 1).bit_length() - 1
    body, at, index, found = plain[40 : 40 + length], 0, 0, []
    while at < len(body):
        number, at = zigzag(body, at)
        if number < 0:
            index -= number
            continue
        if number:
            found.append((value(index, half, unit), number))
        index += 1
    return found


def zigzag(body, at):
    """A number of one to nine bytes, and where the next one begins."""
    raw = shift = 0
    while True:
        byte = body[at]
        at += 1
        raw |= (byte if shift == 56 else byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift == 63:
            return (raw >> 1) ^ -(raw & 1), at


def value(index, half, unit):
    """The highest value that counts in this place."""
    bucket, sub = (index >> half) - 1, (index & ((1 << half) - 1)) + (1 << half)
    if bucket < 0:
        bucket, sub = 0, sub - (1 << half)
    return ((sub + 1) << (bucket + unit)) - 1


def quantile(text, share):
    """The value that so large a share does not exceed; `None` where nothing was seen."""
    seen = counts(text)
    left = max(1, -(-sum(count for _, count in seen) * share // 1))
    for found, count in seen:
        left -= count
        if left <= 0:
            return found
    return None
