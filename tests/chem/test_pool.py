"""A pool goes on when an item hangs, crashes or ends its process, and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from moldiff.chem import worker
from moldiff.chem.pool import GIVE_UP, Failure, Pace, Pool
from moldiff.errors import MoldiffError

TICKING = """
import os, signal, time
from moldiff.chem.worker import tick

def double(items):
    out = []
    for place, item in enumerate(items):
        tick(place)
        if item == 13:
            time.sleep(3600)
        if item == 29:
            os._exit(3)
        if item == 31:
            os.kill(os.getpid(), signal.SIGKILL)
        out.append(2 * item)
    return out
"""
SILENT = TICKING.replace("tick(place)", "pass")
ITEMS = list(range(100))
LIMIT = 2.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A zombie is dead; who is to bury it is not ours to say.
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def gone(pid: int) -> bool:
    """Whether a process ends within some time."""
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def imported(module: Callable[[str], str], text: str) -> Any:
    name = module(text)
    sys.path.append(os.getcwd())
    return import_module(name)


@pytest.mark.parametrize("text", [TICKING, SILENT], ids=["ticking", "silent"])
def test_only_the_item_to_blame_is_without_a_result(
    text: str, pool: Pool, module: Callable[[str], str]
) -> None:
    found = pool.map(imported(module, text).double, ITEMS, workers=2, limit=LIMIT)
    late = [item for item in found if isinstance(item, Failure)]
    assert late == [
        Failure("no answer in 2 s"),
        Failure("the process ended with exit code 3"),
        Failure("the process ended by signal SIGKILL"),
    ]
    assert [n for n in ITEMS if found[n] == 2 * n] == [n for n in ITEMS if n not in (13, 29, 31)]


def test_a_pool_is_used_again_with_the_same_processes(pool: Pool, module: Callable[[str], str]) -> None:
    pids = imported(module, "import os\ndef pids(items): return [os.getpid() for _ in items]").pids
    first = pool.map(pids, ITEMS)
    assert set(first) == {first[0]}
    assert first[0] != os.getpid()
    assert pool.map(sorted, ITEMS) == ITEMS
    assert pool.map(pids, ITEMS) == first
    pool.close()
    assert gone(first[0])
    assert set(pool.map(pids, ITEMS)).isdisjoint(first)


def test_results_are_in_order_whatever_the_chunks(pool: Pool) -> None:
    for pace in (Pace(1, 1), Pace(1, 64), Pace(1000, 1000)):
        told: list[int] = []
        found = pool.map(list, ITEMS, workers=2, pace=pace, progress=told.append)
        assert found == ITEMS
        assert told == sorted(told)
        assert told[-1] == len(ITEMS)


def test_nothing_to_do_starts_no_process() -> None:
    assert Pool(make=None).map(list, []) == []  # type: ignore[arg-type]


def test_what_a_function_raises_is_raised_here_and_the_pool_goes_on(pool: Pool) -> None:
    with pytest.raises(TypeError, match="not supported between"):
        pool.map(sorted, [1, "a"] * 4, pace=Pace(2, 2))
    with pytest.raises(MoldiffError, match="one result an item is needed: got 1 of 2"):
        pool.map(set, ["a", "a"] * 4, pace=Pace(2, 2))
    assert pool.map(list, ITEMS) == ITEMS


def test_an_error_that_cannot_travel_is_told_in_words(pool: Pool, module: Callable[[str], str]) -> None:
    made = imported(
        module,
        """
class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

def odd(items):
    raise Odd(1, 2)
""",
    )
    with pytest.raises(RuntimeError, match=r"^Odd: 1 and 2$"):
        pool.map(made.odd, ITEMS)


def test_what_another_process_cannot_find_is_refused(pool: Pool) -> None:
    with pytest.raises(MoldiffError, match="cannot go to another process"):
        pool.map(lambda items: items, ITEMS)
    with pytest.raises(MoldiffError, match="workers must be at least 1: got 0"):
        pool.map(list, ITEMS, workers=0)


def test_a_function_that_always_ends_its_process_is_given_up(
    pool: Pool, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = imported(module, "import os\ndef die(items): os._exit(1)")
    monkeypatch.setattr("moldiff.chem.pool.GIVE_UP", 2)
    found = pool.map(made.die, ITEMS, pace=Pace(1, 1))
    assert found[:2] == [Failure("the process ended with exit code 1")] * 2
    assert {each.reason for each in found[2:]} == {
        "not tried: 2 in a row failed, the last with the process ended with exit code 1"
    }
    assert GIVE_UP > 2


def test_a_process_that_cannot_load_its_job_is_an_error(pool: Pool, module: Callable[[str], str]) -> None:
    name = module("def f(items): return items")
    sys.path.append(os.getcwd())
    function = import_module(name).f
    Path(f"{name}.py").write_text("import os; os._exit(5)")
    for cached in Path("__pycache__").glob("*"):
        cached.unlink()
    with pytest.raises(MoldiffError, match=r"could not be made ready \(the process ended with exit code 5\)"):
        pool.map(function, ITEMS)


def test_a_script_without_its_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from moldiff.chem.pool import Pool\nPool().map(list, [1, 2])\n")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'below `if __name__ == "__main__":`' in ended.stderr.splitlines()[-1]


def test_what_a_worker_prints_is_not_on_stdout(
    pool: Pool, module: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    made = imported(module, "def f(items):\n    print('hello', flush=True)\n    return items")
    assert pool.map(made.f, [1]) == [1]
    out, err = capfd.readouterr()
    assert out == ""
    assert "hello" in err


def test_a_worker_leaves_interrupts_to_its_parent(pool: Pool, module: Callable[[str], str]) -> None:
    text = "import os, signal\ndef f(items):\n    os.kill(os.getpid(), signal.SIGINT)\n    return items"
    assert pool.map(imported(module, text).f, ITEMS) == ITEMS


def test_tick_does_nothing_outside_a_worker() -> None:
    worker.tick(3)
    assert worker._place is None


ENDLESS = """
import os, sys, time
from pathlib import Path

def endless(items):
    Path(f"{os.getpid()}.started").touch()
    time.sleep(3600)

if __name__ == "__main__":
    from moldiff.chem.pool import Pool, Interrupted, Pace
    try:
        Pool().map(endless, [1, 2, 3], workers=2, pace=Pace(1, 1))
    except KeyboardInterrupt as stop:
        assert isinstance(stop, Interrupted), stop
        print([each.reason for each in stop.results])
        sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_an_interrupt_or_the_death_of_its_parent(
    how: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "endless.py"]
    parent = subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, **pipes)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.started"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(each.stem) for each in tmp_path.glob("*.started")]
    assert len(workers) == 2
    assert all(map(alive, workers))
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # the workers get it too, as from a terminal
        out, err = parent.communicate(timeout=60)
        assert (out.strip(), err, parent.returncode) == (str(["interrupted"] * 3), "", 130)
    else:
        parent.kill()
        parent.communicate(timeout=60)
    assert all(map(gone, workers))
