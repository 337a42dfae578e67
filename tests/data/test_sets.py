"""Data sets from a local server that breaks off, lies, lacks the file and stalls; and from files."""

import gzip
import hashlib
import io
import re
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moldiff import registry
from moldiff.data import download, sets
from moldiff.data.molecules import Molecules
from moldiff.data.sets import DATA_SETS, DataSet, fetch, locate
from moldiff.errors import MoldiffError

CONTENT = b"smiles\n" + b"".join(b"C" * (1 + n % 60) + b"O\n" for n in range(600))
HALF = len(CONTENT) // 2
STALL = 0.2


class Server(ThreadingHTTPServer):
    """Serves CONTENT in the manner that the path names; keeps the paths and ranges it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{manner}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    """One answer."""

    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        getattr(self, self.path.strip("/").replace("-", "_"))(int(asked[6:-1]) if asked else 0)

    def start(self, code: int, length: int, first: int = 0) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        if code == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{first + length}")
        self.end_headers()

    def send(self, body: bytes, first: int = 0) -> None:
        self.start(206 if first else 200, len(body), first)
        self.wfile.write(body)

    def good(self, first: int) -> None:
        if first >= len(CONTENT):
            self.send_error(416)
            return
        self.send(CONTENT[first:], first)

    def keeps_open(self, first: int) -> None:
        self.send(CONTENT)
        self.close_connection = False

    def packed(self, first: int) -> None:
        self.send(gzip.compress(CONTENT))

    def without_ranges(self, first: int) -> None:
        self.send(CONTENT)

    def breaks_once(self, first: int) -> None:
        if first:
            self.good(first)
        else:
            self.start(200, len(CONTENT))
            self.wfile.write(CONTENT[:HALF])

    def breaks_after_1000(self, first: int) -> None:
        self.start(206 if first else 200, len(CONTENT) - first, first)
        self.wfile.write(CONTENT[first : first + 1000])

    def breaks_at_once(self, first: int) -> None:
        self.start(206 if first else 200, len(CONTENT) - first, first)

    def hangs_up(self, first: int) -> None:
        self.close_connection = True

    def other(self, first: int) -> None:
        self.send(CONTENT.swapcase()[first:], first)

    def damaged_archive(self, first: int) -> None:
        self.send(gzip.compress(CONTENT)[:-100])

    def endless(self, first: int) -> None:
        self.send(CONTENT * 6)

    def wrong_range(self, first: int) -> None:
        self.send(CONTENT[first:], 1)

    def absent(self, first: int) -> None:
        self.send_error(404)

    def stalls(self, first: int) -> None:
        self.start(206 if first else 200, len(CONTENT) - first, first)
        self.wfile.write(CONTENT[first : first + 1000])
        self.wfile.flush()
        self.server.over.wait()

    def never_answers(self, first: int) -> None:
        self.server.over.wait()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.over.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataSet:
    """A data set of a few hundred alcohols; the cache is empty."""
    monkeypatch.setenv(sets.HOME, str(tmp_path / "home"))
    made = DataSet(
        "toy", "alcohols", 600, "toy.csv", "http://127.0.0.1:9/gone", len(CONTENT), _sha256(CONTENT), "", ""
    )
    monkeypatch.setitem(DATA_SETS, "toy", made)
    return made


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(url: str) -> Path:
    return fetch("toy", url, stall=STALL, say=lambda line: None)


def held(toy: DataSet) -> dict[str, int]:
    """What the cache holds: names (the key of the URL left out) and sizes."""
    return {re.sub(r"\.\w{8}\.", ".", each.name): each.stat().st_size for each in toy.path.parent.iterdir()}


@pytest.mark.parametrize("manner", ["good", "packed", "without-ranges", "keeps-open"])
def test_a_data_set_is_fetched_once_and_verified(manner: str, server: Server, toy: DataSet) -> None:
    DATA_SETS["toy"] = replace(toy, url=server.url(manner))
    lines: list[str] = []
    path = fetch("toy", say=lines.append)
    assert path.read_bytes() == CONTENT
    assert lines == [f"downloading toy from {server.url(manner)}"]
    assert held(toy) == {"toy.csv": len(CONTENT)}
    assert fetch("toy", say=lines.append) == locate(Path("toy")) == path
    assert len(lines) == len(server.asked) == 1


def test_a_transfer_that_breaks_goes_on_by_range(server: Server, toy: DataSet) -> None:
    assert get(server.url("breaks-once")).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert held(toy) == {"toy.csv": len(CONTENT)}


def test_a_transfer_that_keeps_breaking_is_kept_and_goes_on_in_the_next_run(
    server: Server, toy: DataSet
) -> None:
    with pytest.raises(MoldiffError, match=r"broke after 3,000 bytes .*; what came is kept: run it again"):
        get(server.url("breaks-after-1000"))
    assert server.ranges == [None, "bytes=1000-", "bytes=2000-"]
    assert held(toy) == {"toy.csv.download": 3000}
    Handler.breaks_after_1000, kept = Handler.good, Handler.breaks_after_1000  # type: ignore[method-assign]
    try:
        assert get(server.url("breaks-after-1000")).read_bytes() == CONTENT
    finally:
        Handler.breaks_after_1000 = kept  # type: ignore[method-assign]
    assert server.ranges[3:] == ["bytes=3000-"]
    assert held(toy) == {"toy.csv": len(CONTENT)}


@pytest.mark.parametrize("manner", ["breaks-at-once", "hangs-up"])
def test_a_transfer_that_brings_nothing_is_not_tried_again(manner: str, server: Server, toy: DataSet) -> None:
    with pytest.raises(MoldiffError, match="the connection broke after 0 bytes"):
        get(server.url(manner))
    assert server.ranges == [None]


def part_of(toy: DataSet, url: str, content: bytes) -> Path:
    """What an earlier run has brought from a URL."""
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = toy.path.with_name(f"toy.csv.{key}.download")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, toy: DataSet) -> None:
    part_of(toy, server.url("without-ranges"), CONTENT[:HALF])
    assert get(server.url("without-ranges")).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_whole_part_is_taken_as_it_is(server: Server, toy: DataSet) -> None:
    part_of(toy, server.url("good"), CONTENT)
    assert get(server.url("good")).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("size", [1000, len(CONTENT)])
def test_a_wrong_part_is_thrown_away_and_all_is_fetched_again(
    size: int, server: Server, toy: DataSet
) -> None:
    part_of(toy, server.url("good"), b"x" * size)
    assert get(server.url("good")).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={size}-", None]
    assert held(toy) == {"toy.csv": len(CONTENT)}


def test_what_another_server_has_begun_is_not_gone_on_with(server: Server, toy: DataSet) -> None:
    part_of(toy, server.url("other"), b"x" * 1000)
    get(server.url("good"))
    assert server.ranges == [None]


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("absent", "cannot download .*/absent: HTTP 404 Not Found"),
        ("other", r"/other is not toy, or damaged: got sha256 \w{12}\.\.\. of [\d,]+ bytes, expected \w{12}"),
        ("damaged-archive", "is not toy, or damaged: cannot unpack"),
        ("endless", "cannot download .*: it sends more than [0-9,]+ bytes"),
        ("stalls", r"cannot download .*: nothing came for 0.2 s; what came is kept: run it again to go on"),
        ("never-answers", r"cannot download .*: nothing came for 0.2 s"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing_in_its_place(
    manner: str, message: str, server: Server, toy: DataSet
) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        get(server.url(manner))
    assert "\n" not in str(caught.value)
    assert not toy.path.exists()
    assert held(toy).keys() <= {"toy.csv.download"}


def test_a_stalled_transfer_goes_on_in_the_next_run(server: Server, toy: DataSet) -> None:
    for size in (1000, 2000):
        with pytest.raises(MoldiffError, match="nothing came for"):
            get(server.url("stalls"))
        assert held(toy) == {"toy.csv.download": size}
    assert server.ranges == [None, "bytes=1000-"]


def test_a_range_that_was_not_asked_for_is_refused(server: Server, toy: DataSet) -> None:
    part = part_of(toy, server.url("wrong-range"), CONTENT[:1000])
    with pytest.raises(MoldiffError, match="asked for bytes from 1000, got bytes 1-"):
        get(server.url("wrong-range"))
    assert part.read_bytes() == CONTENT[:1000]


def test_a_wrong_download_leaves_a_good_copy_alone(server: Server, toy: DataSet) -> None:
    get(server.url("good"))
    with pytest.raises(MoldiffError, match="is not toy, or damaged"):
        get(server.url("other"))
    assert held(toy) == {"toy.csv": len(CONTENT)}
    assert toy.cached()


def test_a_damaged_copy_is_fetched_again(server: Server, toy: DataSet) -> None:
    get(server.url("good")).write_bytes(CONTENT.swapcase())
    assert not toy.cached()
    DATA_SETS["toy"] = replace(toy, url=server.url("good"))
    assert fetch("toy", say=lambda line: None).read_bytes() == CONTENT


def test_no_server_is_one_line_that_names_the_way_out(
    toy: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(MoldiffError, match=r"cannot reach 127.0.0.1:\d+: .*refused.* \(--from FILE\)"):
            fetch("toy", url)
    assert capsys.readouterr().err == f"downloading toy from {url}\n"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "only http:// and https:// are understood"),
        ("file:///etc/passwd", "only http:// and https:// are understood"),
        ("http://", "it names no host"),
        ("http://[::1", "cannot download"),
        ("http://127.0.0.1:port/", "cannot download"),
        ("http://127.0.0.1/\u00fc b", "cannot download"),
    ],
)
def test_what_is_no_url_is_refused(url: str, message: str, toy: DataSet) -> None:
    with pytest.raises(MoldiffError, match=message):
        get(url)


def tar(content: bytes) -> bytes:
    """A gzipped tar with a folder, a link and a file in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, kind in (("folder", tarfile.DIRTYPE), ("file", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, tar])
def test_a_file_does_as_well_packed_or_not(
    pack: Callable[[bytes], bytes], toy: DataSet, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(pack(CONTENT))
    assert fetch("toy", str(tmp_path / "mine")).read_bytes() == CONTENT
    assert Molecules().read(Path("toy")).iloc[0].tolist() == [2, "CO", None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], r"mine is not toy, or damaged: got sha256 \w{12}\.\.\. of"),
        (CONTENT + b"x", "mine is not toy: more than"),
        (gzip.compress(CONTENT)[:-9], "mine is not toy, or damaged: cannot unpack .*: Compressed file ended"),
        (gzip.compress(b"x" * 300)[:20] + b"!" * 40, "is not toy, or damaged: cannot unpack"),
        (tar(CONTENT)[:-200], "is not toy, or damaged: cannot unpack"),
        (b"", "mine is not toy, or damaged: got sha256 e3b0c44298fc... of 0 bytes"),
    ],
    ids=["short", "long", "torn", "damaged", "torn-tar", "empty"],
)
def test_a_file_that_is_not_the_data_set_is_refused(
    content: bytes, message: str, toy: DataSet, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(MoldiffError, match=message):
        fetch("toy", str(tmp_path / "mine"))
    assert held(toy) == {}


def test_files_and_folders_that_cannot_be_used_are_refused(
    toy: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MoldiffError, match=r"cannot read .*absent: No such file"):
        fetch("toy", str(tmp_path / "absent"))
    with pytest.raises(MoldiffError, match=r"cannot read .*: it is a folder"):
        fetch("toy", str(tmp_path))
    with pytest.raises(MoldiffError, match=r"got 'toys' \(toy\?\), choose from qm9, zinc250k, toy"):
        fetch("toys")
    (tmp_path / "file").touch()
    monkeypatch.setenv(sets.HOME, str(tmp_path / "file"))
    with pytest.raises(MoldiffError, match=r"cannot make .*file/data: .*; MOLDIFF_HOME names another"):
        fetch("toy", str(tmp_path / "absent"))


def test_a_disk_that_refuses_is_one_line(server: Server, toy: DataSet) -> None:
    part_of(toy, server.url("good"), b"").unlink()
    # A folder where the file belongs: as unwritable as a full disk, and for root too.
    part_of(toy, server.url("good"), b"").unlink()
    key = hashlib.sha256(server.url("good").encode()).hexdigest()[:8]
    toy.path.with_name(f"toy.csv.{key}.download").mkdir()
    with pytest.raises(MoldiffError, match=r"cannot write .*\.download: Is a directory"):
        get(server.url("good"))


def test_the_cache_is_the_users_own_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(sets.HOME, str(tmp_path))
    assert sets.cache_folder() == tmp_path / "data"
    monkeypatch.setenv(sets.HOME, "~/elsewhere")
    assert sets.cache_folder() == Path.home() / "elsewhere" / "data"
    monkeypatch.delenv(sets.HOME)
    assert sets.cache_folder().parts[-2:] == ("moldiff", "data")


def test_the_origins_are_pinned() -> None:
    assert [each.name for each in registry.build("data", "catalogue")] == ["qm9", "zinc250k"]
    for each in registry.build("data", "catalogue"):
        assert re.match(r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/", each.url)
        assert re.fullmatch(r"[0-9a-f]{64}", each.sha256)
        assert each.rows < each.size
    assert registry.resolve("data", "fetch") is fetch
    assert download.STALL > 1
