"""Answers of web servers: http and https alone, not slower than a floor, parts as asked for."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from inflate_zoo.files.foreign import parsing

SCHEMES = ("http", "https")
_PIECE = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds without a byte
_BUSY = (429, 500, 502, 503, 504)
# A server that sends a byte now and then would never run into the timeout.
_PATIENCE, _LEAST = 60.0, 60_000  # seconds of waiting, and the bytes that come meanwhile
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_NO_RANGE = re.compile(r"bytes \*/(\d{1,18})")


class BrokenOffError(Exception):
    """The connection ended early, or the server is busy; another try may go on."""


class TooSlowError(BrokenOffError):
    """It sends less than a floor."""


class RefusedError(Exception):
    """The server refuses, or sends us where we do not go; another try is of no use."""


class NoSuchPartError(Exception):
    """It has no bytes from there on.

    Attributes:
        length: Of the whole file, in bytes, if it tells.
    """

    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length


@dataclass(frozen=True, slots=True)
class Remote:
    """What a server says of a file: bytes, if it tells, and what changes with the content."""

    length: int | None
    mark: str | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], *rest: Any
    ) -> urllib.request.Request | None:
        before, after = (urlsplit(address).scheme for address in (req.full_url, rest[-1]))
        if after in SCHEMES and (before, after) != ("https", "http"):
            return super().redirect_request(req, fp, *rest)
        raise RefusedError(f"it redirects from {before} to {after}, which is not followed")

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        """Follow one, or close the answer: an address may make no sense."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except Exception:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def ask(address: str, headers: Mapping[str, str], method: str = "GET") -> Any:
    """Open an address.

    Args:
        address: Of http or https.
        headers: To send.
        method: `GET` or `HEAD`.

    Raises:
        BrokenOffError: No connection, or the server is busy.
        NoSuchPartError: It has nothing from the byte on that was asked for.
        RefusedError: Any other status, or a redirect that is not followed.
    """
    request = urllib.request.Request(  # noqa: S310 - http and https alone, redirects too
        address, method=method, headers={"User-Agent": "inflate-zoo", **headers}
    )
    try:
        with parsing(_senseless):
            return urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _BUSY:
            raise BrokenOffError(f"status {error.code}") from error
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            stated = _NO_RANGE.fullmatch(error.headers.get("Content-Range", "").strip())
            raise NoSuchPartError(int(stated[1]) if stated else None) from error
        circle = 300 <= error.code < 400
        why = "its redirects lead nowhere" if circle else f"status {error.code}"
        raise RefusedError(why) from error
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None)
        raise BrokenOffError(str(reason or type(error).__name__)) from error


def _senseless(error: Exception) -> Exception:
    """Of a redirect to no address, say; errors of the net are told apart by others."""
    net = isinstance(error, http.client.HTTPException | OSError | RefusedError)
    return error if net else RefusedError("its answer makes no sense")


def describe(answer: Any) -> Remote:
    """Size and mark of what an answer to a question for the whole file is about."""
    found = answer.headers
    length = found.get("Content-Length", "")
    mark = found.get("ETag") or found.get("Last-Modified")
    weak = mark is not None and mark.startswith("W/")
    # Some servers say 0 where they do not know.
    told = int(length) if _LENGTH.fullmatch(length) else 0
    return Remote(told or None, None if weak else mark)


def goes_on(answer: Any, start: int, length: int | None) -> bool:
    """Whether an answer is the rest of a file, from its byte `start` on."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return False
    stated = answer.headers.get("Content-Range")
    if stated is None:  # it should be there; the length of the rest tells as much
        rest = answer.headers.get("Content-Length")
        return length is not None and rest == str(length - start)
    match = _RANGE.fullmatch(stated.strip())
    whole = ("*", str(length)) if length is not None else None
    return match is not None and int(match[1]) == start and (not whole or match[2] in whole)


def pieces(answer: Any) -> Iterator[bytes]:
    """The content as it comes.

    Raises:
        BrokenOffError: The connection broke.
        TooSlowError: Hardly anything comes.
    """
    waited, came = 0.0, 0
    while True:
        began = _now()
        with _net():
            piece = answer.read1(_PIECE)
        waited, came = waited + _now() - began, came + len(piece)
        if not piece:
            return
        yield piece
        if waited >= _PATIENCE:
            if came < _LEAST:
                raise TooSlowError(f"it sent {came:,} bytes in {waited:.0f} seconds")
            waited, came = 0.0, 0


@contextmanager
def _net() -> Iterator[None]:
    try:
        yield
    except (http.client.HTTPException, OSError) as error:
        raise BrokenOffError(type(error).__name__) from error


def _now() -> float:
    return time.monotonic()
