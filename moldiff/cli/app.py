"""The application: its verbs, and how errors and interrupts leave it."""

import os
import sys

import typer
from typer.exceptions import TyperException

from moldiff.cli.data import data_app
from moldiff.cli.evaluate import evaluate
from moldiff.cli.generate import generate
from moldiff.cli.likelihood import likelihood
from moldiff.cli.models import models, show
from moldiff.cli.oracle import oracle_app
from moldiff.cli.score import score
from moldiff.cli.train import train
from moldiff.errors import MoldiffError

#: Exit codes: what the caller can mend, and an interrupt from the keyboard.
BAD_INPUT, INTERRUPTED = 2, 130

app = typer.Typer(
    name="moldiff",
    help="Design molecules with masked discrete diffusion.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(generate)
app.command()(train)
app.command()(evaluate)
app.command()(likelihood)
app.command()(score)
app.command()(models)
app.command()(show)
app.add_typer(data_app, name="data")
app.add_typer(oracle_app, name="oracle")


def main() -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of a command line; what went wrong is one line on stderr."""
    try:
        # As the context's object a verb can say by which command its outputs came to be.
        code = app(arguments or ["--help"], prog_name="moldiff", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
    except MoldiffError as error:
        return _fail(str(error), BAD_INPUT)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return _fail(message or "see moldiff --help", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`moldiff ... | head`); nothing is left to tell anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if code == INTERRUPTED:  # typer makes an exit code of the interrupt
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print("moldiff: " + " ".join(message.split()), file=sys.stderr)
    return code
