"""Answers of web servers."""

from types import SimpleNamespace

import pytest

from inflate_zoo.bench.data import web
from tests.support.file_server import FileServer


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


@pytest.mark.parametrize(
    "status, error", [(503, web.BrokenOffError), (404, web.RefusedError), (403, web.RefusedError)]
)
def test_a_busy_server_may_be_asked_again_and_one_that_refuses_may_not(status, error):
    with FileServer(b"abc", statuses=[status]) as server:
        with pytest.raises(error, match=f"status {status}"):
            web.ask(server.address, {})
        with web.ask(server.address, {}) as answer:
            assert b"".join(web.pieces(answer)) == b"abc"


@pytest.mark.parametrize("told, length", [("bytes {start}-{last}/{length}", 3), ("", None)])
def test_a_part_beyond_the_end_is_none_and_the_length_is_told_where_it_is_known(told, length):
    headers = {"Range": "bytes=3-", "If-Range": '"one"'}
    with (
        FileServer(b"abc", told_range=told) as server,
        pytest.raises(web.NoSuchPartError) as caught,
    ):
        web.ask(server.address, headers)
    assert caught.value.length == length


def test_a_server_that_is_not_there_may_be_asked_again():
    with FileServer(b"") as server:
        address = server.address
    with pytest.raises(web.BrokenOffError, match="refused"):
        web.ask(address, {})
