"""A web server on 127.0.0.1 with one file and the faults of the real web."""

import http.server
import threading
from dataclasses import dataclass, field

NAME = "data.tar"


@dataclass
class FileServer:
    """Serves `content` at `address`.

    Attributes:
        content: The file.
        etag: Of it; empty for none.
        ranges: Whether it serves parts.
        head: Whether it answers HEAD.
        cuts: After how many bytes to hang up, one per answer with a body.
        statuses: What to answer with instead, one per request.
        told_range: What to say of a part in place of the truth, with `{start}` and `{length}`.
        told_length: Whether it says how long the file is.
        location: Where it redirects to, in place of everything.
        seen: Method and Range header of every request.
    """

    content: bytes
    etag: str = '"one"'
    ranges: bool = True
    head: bool = True
    cuts: list = field(default_factory=list)
    statuses: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    told_range: str = "bytes {start}-{last}/{length}"
    told_length: bool = True
    location: str = ""
    name: str = NAME

    def __enter__(self):  # noqa: C901 - one small handler
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, *, with_body):
                wanted = self.headers.get("Range")
                outer.seen.append((self.command, wanted))
                if outer.location:
                    return self.plain(302, Location=outer.location)
                if not with_body and not outer.head:
                    return self.plain(405)
                if outer.statuses:
                    return self.plain(outer.statuses.pop(0))
                body, status, length = outer.content, 200, len(outer.content)
                same = self.headers.get("If-Range") == outer.etag
                if wanted and outer.ranges and same:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    places = {"start": start, "last": length - 1, "length": length}
                    told = outer.told_range.format(**places)
                    if start >= length:
                        return self.plain(416, **{"Content-Range": told and f"bytes */{length}"})
                    body, status = body[start:], 206
                self.send_response(status)
                if status == 206 and told:
                    self.send_header("Content-Range", told)
                if outer.told_length:
                    self.send_header("Content-Length", str(len(body)))
                if outer.etag:
                    self.send_header("ETag", outer.etag)
                self.end_headers()
                if with_body:
                    cut = outer.cuts.pop(0) if outer.cuts else None
                    self.wfile.write(body[:cut])
                return None

            def plain(self, status, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/{self.name}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
