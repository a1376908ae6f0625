"""Answers of web servers."""

from types import SimpleNamespace

import pytest

from inflate_zoo.bench.data import web


@pytest.mark.parametrize(
    "headers, expected",
    [
        ({"Content-Length": "5", "ETag": '"a"', "Last-Modified": "b"}, (5, '"a"')),
        ({"Content-Length": "0", "Last-Modified": "b"}, (None, "b")),
        ({"Content-Length": "-5", "ETag": 'W/"a"'}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_what_a_server_says_of_a_file(headers, expected):
    told = web.describe(SimpleNamespace(headers=headers))
    assert (told.length, told.mark) == expected


class Trickle:
    def __init__(self, seconds, size):
        self.seconds, self.size, self.now, self.left = seconds, size, 0.0, 100

    def read1(self, _):
        self.now += self.seconds
        self.left -= 1
        return bytes(self.size) if self.left else b""


@pytest.mark.parametrize(
    "seconds, size, slow",
    [(50, 1, True), (10, 9_999, True), (1, 1_000, False), (59, 99_999, False)],
)
def test_a_server_that_trickles_is_left(monkeypatch, seconds, size, slow):
    answer = Trickle(seconds, size)
    monkeypatch.setattr(web, "_now", lambda: answer.now)
    if not slow:
        assert sum(map(len, web.pieces(answer))) == 99 * size
        return
    with pytest.raises(web.TooSlowError, match=r"bytes in \d+ seconds"):
        list(web.pieces(answer))
    assert answer.now < 150
