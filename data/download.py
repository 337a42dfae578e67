"""Files over HTTP: transfers that resume, and the bytes that a packed file holds."""

import gzip
import http.client
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from moldiff import __version__
from moldiff.errors import MoldiffError, short
from moldiff.files import check_source

STALL = 30.0
"""Seconds without a byte after which a transfer is given up."""

TRIES = 3
"""How often a transfer is taken up, as long as it brings something each time."""

_CHUNK = 1 << 16
_GZIP, _TAR, _TAR_AT = b"\x1f\x8b", b"ustar", 257
_KEPT = "what came is kept: run it again to go on"


class BrokenArchive(MoldiffError):
    """A packed file that cannot be unpacked."""


class _Broken(Exception):
    """A connection that ended too early."""


def transfer(url: str, part: Path, limit: int, stall: float = STALL) -> bool:
    """Brings what is behind a URL to ``part``, going on from what it holds; whether it held something.

    Args:
        url: http or https.
        part: where the bytes go; what a transfer that fails has brought stays there.
        limit: the most bytes to take.
        stall: seconds without a byte after which the transfer is given up.

    Raises:
        MoldiffError: the server cannot be reached or does not have it, sends too much, stalls or breaks off;
            ``part`` cannot be written.
    """
    check_url(url)
    first, tries = _size(part), 0
    while True:
        held, tries = _size(part), tries + 1
        try:
            _attempt(url, part, limit, stall)
            return first > 0
        except _Broken as error:
            if tries == TRIES or _size(part) <= held:
                got = f"the connection broke after {_size(part):,} bytes ({error})"
                raise MoldiffError(f"cannot download {url}: {got}; {_KEPT}") from None


def check_url(url: str) -> None:
    """Refuses what is no address of a server that sends files."""
    if not url.lower().startswith(("http://", "https://")):
        raise MoldiffError(f"cannot download {url}: only http:// and https:// are understood")
    try:
        parts = urlsplit(url)
        fault = None if parts.hostname else "it names no host"
        if not url.isascii() or not url.isprintable() or " " in url:
            fault = "write other characters than those of ASCII as %XX"
        _ = parts.port
    except ValueError as error:
        fault = str(error)
    if fault is not None:
        raise MoldiffError(f"cannot download {short(repr(url))}: {fault}")


def _attempt(url: str, part: Path, limit: int, stall: float) -> None:
    """One request for what ``part`` lacks."""
    held = _size(part)
    response = _ask(url, held, stall)
    if response is None:
        return
    with response:
        # A server that knows no ranges answers 200 and sends everything.
        goes_on = response.status == 206
        if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            got = response.headers.get("Content-Range")
            raise MoldiffError(f"cannot download {url}: asked for bytes from {held}, got {got}")
        count = held if goes_on else 0
        promised = None if response.length is None else count + response.length
        try:
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in _chunks(url, response, stall):
                    count += len(chunk)
                    if count > limit:
                        raise MoldiffError(f"cannot download {url}: it sends more than {limit:,} bytes")
                    file.write(chunk)
                    if count == promised:
                        break  # a server that leaves the connection open would be waited for
        except OSError as error:
            raise MoldiffError(f"cannot write {part}: {error.strerror or error}") from None
        if promised is not None and count < promised:
            raise _Broken(f"{promised - count:,} more were promised")


def _ask(url: str, held: int, stall: float) -> http.client.HTTPResponse | None:
    """The answer to a request for the bytes from ``held`` on; None where there are none."""
    headers = {"User-Agent": f"moldiff/{__version__}"} | ({"Range": f"bytes={held}-"} if held else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        return cast("http.client.HTTPResponse", urllib.request.urlopen(request, timeout=stall))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and held:
            return None  # all of it is there already, or it is not the file: the checksum will tell
        raise MoldiffError(f"cannot download {url}: HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _stalled(url, stall) from None
        reason = f"{error.reason}; a copy on this machine does as well (--from FILE)"
        raise MoldiffError(f"cannot reach {urlsplit(url).netloc}: {reason}") from None
    except TimeoutError:
        raise _stalled(url, stall) from None
    except (http.client.InvalidURL, ValueError) as error:
        raise MoldiffError(f"cannot download {url!r}: {error}") from None
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(_words(error)) from None


def _chunks(url: str, response: http.client.HTTPResponse, stall: float) -> Iterator[bytes]:
    """The bytes of an answer; no error of the network is an OSError, which are the disk's."""
    while True:
        try:
            # Not read(), which would hold back, and lose, what came before a stall.
            chunk = response.read1(_CHUNK)
        except TimeoutError:
            raise _stalled(url, stall) from None
        except (http.client.HTTPException, OSError) as error:
            raise _Broken(_words(error)) from None
        if not chunk:
            return
        yield chunk


def _stalled(url: str, stall: float) -> MoldiffError:
    return MoldiffError(f"cannot download {url}: nothing came for {stall:g} s; {_KEPT}")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    """The bytes that a file holds, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def unpacked(path: Path) -> Iterator[bytes]:
    """The bytes of a file; of its content where it is gzipped, of the first file in it where it is a tar.

    Raises:
        BrokenArchive: it cannot be unpacked.
        MoldiffError: it cannot be read.
    """
    check_source(path)
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            if _peek(stream, len(_GZIP)) == _GZIP:
                stream = cast("IO[bytes]", stack.enter_context(gzip.open(stream)))
            if _peek(stream, _TAR_AT + len(_TAR))[_TAR_AT:] == _TAR:
                stream = _first_file(stack.enter_context(tarfile.open(fileobj=stream, mode="r:")))
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise BrokenArchive(f"cannot unpack {path}: {_words(error)}") from None
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from None


def _peek(stream: IO[bytes], count: int) -> bytes:
    """The first bytes of a stream, which then stands at its start."""
    head = stream.read(count)
    stream.seek(0)
    return head


def _first_file(tar: tarfile.TarFile) -> IO[bytes]:
    for member in tar:
        found: Any = tar.extractfile(member)
        if found is not None:
            return cast("IO[bytes]", found)
    raise tarfile.ReadError("it holds no file")
