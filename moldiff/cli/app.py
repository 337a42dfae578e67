"""The application: its verbs, and how errors and interrupts leave it."""

import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import BadParameter
from typer.exceptions import TyperException

from moldiff import __version__
from moldiff.cli.benchmark import benchmark_app
from moldiff.cli.compare import compare
from moldiff.cli.data import data_app
from moldiff.cli.design import design_app
from moldiff.cli.evaluate import evaluate
from moldiff.cli.generate import generate
from moldiff.cli.likelihood import likelihood
from moldiff.cli.models import models, show
from moldiff.cli.optimize import optimize
from moldiff.cli.oracle import oracle_app
from moldiff.cli.pareto import pareto
from moldiff.cli.score import score
from moldiff.cli.train import train
from moldiff.errors import MoldiffError, short

#: Exit codes: what the caller can mend, and an interrupt from the keyboard.
BAD_INPUT, INTERRUPTED = 2, 130
#: What an output says that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Characters of an error that are shown, at most.
LONGEST = 1000

app = typer.Typer(
    name="moldiff",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    """Prints the version and ends, where that is asked."""
    if asked:
        print(f"moldiff {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Design molecules with masked discrete diffusion."""


app.command()(generate)
app.command()(train)
app.command()(evaluate)
app.command()(likelihood)
app.command()(score)
app.command()(optimize)
app.command()(pareto)
app.command()(compare)
app.command()(models)
app.command()(show)
app.add_typer(data_app, name="data")
app.add_typer(design_app, name="design")
app.add_typer(oracle_app, name="oracle")
app.add_typer(benchmark_app, name="benchmark")


def main() -> None:
    """Runs the command line and exits with its code."""
    # Closed by the caller (`>&-`): what is printed goes nowhere, and no file takes the place of it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # The name of a file may hold what no encoding has, and a terminal may know few letters.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    share_cores()
    sys.exit(run(sys.argv[1:]))


def share_cores() -> None:
    """Has torch's threads sleep soon where they wait for one another, unless the environment says otherwise.

    By default they spin. Where another program has one of the cores, every small product then waits for a
    thread that has none: sampling was 30 times slower. Read when torch is loaded, so set before.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run(arguments: list[str]) -> int:
    """The exit code of a command line; what went wrong is one line on stderr."""
    try:
        # As the context's object a verb can say by which command its outputs came to be.
        command = typer.main.get_command(app)
        code = command(arguments or ["--help"], prog_name="moldiff", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
        for note in _repeats(command, arguments) if code == 0 else ():
            print(f"moldiff: {note}", file=sys.stderr)
    except MoldiffError as error:
        return _fail(str(error), BAD_INPUT)
    except TyperException as error:
        return _fail(_misuse(error), BAD_INPUT)
    except MemoryError:
        return _fail("there is not enough memory for this; ask for less at once", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`moldiff ... | head`); nothing is left to tell anyone.
        _hush()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        # Files say so themselves, so it is what is printed.
        _hush()
        return _fail(f"cannot write any more: {error.strerror}", BAD_INPUT)
    if code == INTERRUPTED:  # typer makes an exit code of the interrupt
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _repeats(command: Any, arguments: Sequence[str]) -> Iterator[str]:
    """Says of each option that takes one value and is given more often that the last one counts."""
    rest = list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    given = rest[: rest.index("--")] if "--" in rest else rest
    for option in command.params:
        names = [name for name in option.opts if name.startswith("-")]
        if option.multiple or getattr(option, "is_flag", False) or not names:
            continue
        whole = tuple(f"{name}=" for name in names if name.startswith("--"))
        times = sum(each in names or each.startswith(whole) for each in given)
        if times > 1:
            yield f"{names[-1]} is given {times} times and takes one value: the last one counts"


def _hush() -> None:
    """Gives up stdout, which would otherwise be tried once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misuse(error: TyperException) -> str:
    """What is wrong with a command line: which option, what was given, where to read on."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    cause = error.__cause__
    if isinstance(error, BadParameter) and cause is not None and hasattr(cause, "errors"):
        return f"{message}, got {short(repr(cause.errors()[0]['input']))}"
    context = getattr(error, "ctx", None)
    return f"{message} (see {'moldiff' if context is None else context.command_path} --help)".strip()


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # nobody can be told
        print("moldiff: " + _line(message), file=sys.stderr)
    return code


def _line(message: str) -> str:
    """A message as one line that any terminal shows; of an endless one its start and its end."""
    if len(message) > 2 * LONGEST:
        message = f"{message[:LONGEST]} ... {message[-LONGEST:]}"
    # What a caller's file holds may be a command to the terminal, or half of a character.
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(message.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
