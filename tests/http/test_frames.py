"""The chunked coding: what Twisted's decoder would make of it, in fewer pieces."""

import random

import pytest
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from quay.web.frames import LINE, FrameDecoder

ROUNDS = 400
BREAKS = (b"\n", b"\r", b"\r\n", b"zz", b";", b"0", b"\0", b"-1\r\n", b"0x3\r\n")


def decoded(decoder, coded, sizes):
    """What comes out of `coded`, given in reads of these sizes: the body, what follows it, and how it failed."""
    body, following, at = [], [], 0
    made = decoder(body.append, following.append)
    try:
        for size in sizes:
            if at >= len(coded) or following:
                break
            made.dataReceived(coded[at : at + size])
            at += size
    except _MalformedChunkedDataError as error:
        return b"".join(body), following, str(error)
    return b"".join(body), following, None


def coding(chance):
    """A body in chunks of all sizes, with extensions and trailers, and perhaps the beginning of another request."""
    parts = []
    for _ in range(chance.randrange(6)):
        data = chance.randbytes(chance.choice((1, 2, 100, LINE - 5, LINE, LINE + 1, 9000)))
        extension = chance.choice((b"", b"", b";name=value"))
        parts.append(b"%x%s\r\n%s\r\n" % (len(data), extension, data))
    parts.append(b"0\r\n" + chance.choice((b"", b"Trailer: a\r\n", b"One: 1\r\nTwo: 2\r\n")) + b"\r\n")
    return b"".join(parts) + chance.choice((b"", b"GET / HTTP/1.1\r\n" * 300))


def damaged(chance, coded):
    """`coded` with something wrong somewhere."""
    at = chance.randrange(len(coded))
    return coded[:at] + chance.choice(BREAKS) + coded[at + chance.randrange(3) :]


def sizes(chance):
    while True:
        yield chance.choice((1, 2, 3, 50, LINE - 1, LINE, LINE + 1, 65536))


@pytest.mark.parametrize("break_it", [False, True], ids=["whole", "broken"])
def test_as_twisted_does(break_it):
    """However it is cut into reads, and whatever is wrong with it: the same body, the same rest, the same complaint."""
    chance = random.Random(7)
    for seed in range(ROUNDS):
        coded = damaged(chance, coding(chance)) if break_it else coding(chance)
        expected = decoded(_ChunkedTransferDecoder, coded, sizes(random.Random(seed)))
        assert decoded(FrameDecoder, coded, sizes(random.Random(seed))) == expected


def test_one_piece_for_a_read():
    """What one read brought of a body is one piece, however many chunks it was."""
    pieces, following = [], []
    decoder = FrameDecoder(pieces.append, following.append)
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    decoder.dataReceived(chunk * 3 + chunk[:100])
    decoder.dataReceived(chunk[100:] + b"0\r\n\r\nnext")
    assert [len(piece) for piece in pieces] == [3 * 0x8000 + 94, 0x8000 - 94]
    assert following == [b"next"]
