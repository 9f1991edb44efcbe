"""The command line: one small file a verb, nothing but wiring; heavy imports happen inside the verbs.

A new verb is a function in its own file and one line under "the verbs" below. A method's own verbs come from
its family.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from dereflect.cli import (
    batch,
    benchmark,
    data,
    evaluate,
    methods,
    models,
    separate,
    serve,
    synthesize,
    train,
    video,
)
from dereflect.cli.messages import fault_line, usage_line
from dereflect.errors import DereflectError

_UsageError: Any = typer.BadParameter.__base__  # which typer itself does not export

app = typer.Typer(
    name="dereflect",
    help="Separate a photo shot through glass into the scene behind it and its reflection.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The verbs.
app.command()(separate.separate)
app.add_typer(models.app, name="models")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("synthesize")(synthesize.synthesize)
app.add_typer(data.app, name="data")
app.command("benchmark")(benchmark.benchmark)
app.command("batch")(batch.batch)
app.command("video")(video.video)
app.command("serve")(serve.serve)
methods.attach(app)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    import torch

    from dereflect._version import __version__

    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name(0)})"
    elif torch.backends.mps.is_available():
        device = "mps"
    else:
        device = f"cpu ({torch.get_num_threads()} threads)"
    python = ".".join(str(part) for part in sys.version_info[:3])
    typer.echo(f"dereflect {__version__}, torch {torch.__version__}, Python {python}, device {device}")
    raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Print the versions of dereflect and torch, and the device that would be used.",
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def main() -> None:
    """Run the command line. The user's faults are one line on standard error and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False, prog_name="dereflect"))
    except DereflectError as error:
        typer.echo(f"dereflect: {fault_line(error)}", err=True)
        sys.exit(2)
    except _UsageError as error:
        typer.echo(f"dereflect: {usage_line(error)}", err=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our standard output went away (e.g. `| head`): silence the flush at exit and stop.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
