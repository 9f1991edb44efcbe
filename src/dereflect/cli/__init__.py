"""The command line: one small file a verb, nothing but wiring; heavy imports happen inside the verbs.

A new verb is a function in its own file and one line under "the verbs" below. A method's own verbs come from
its family.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

from dereflect.cli import (
    batch,
    benchmark,
    data,
    evaluate,
    export,
    integrations,
    methods,
    models,
    separate,
    serve,
    synthesize,
    train,
    video,
)
from dereflect.cli.help import HelpfulGroup
from dereflect.cli.messages import fault_line, usage_line
from dereflect.cli.streams import OutputLost, watched_streams
from dereflect.errors import DereflectError

_UsageError: Any = typer.BadParameter.__base__  # which typer itself does not export

app = typer.Typer(
    name="dereflect",
    cls=HelpfulGroup,
    epilog="Begin with:  dereflect separate photo.jpg  (the help of each verb: dereflect VERB --help)",
    help="Separate a photo shot through glass into the scene behind it and its reflection.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The verbs.
app.command()(separate.separate)
app.add_typer(models.app, name="models")
app.command("train")(train.train)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("synthesize")(synthesize.synthesize)
app.add_typer(data.app, name="data")
app.command("benchmark")(benchmark.benchmark)
app.command("batch")(batch.batch)
app.command("video")(video.video)
app.command("serve")(serve.serve)
app.add_typer(integrations.app, name="integrations")
methods.attach(app)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from dereflect.cli.version import version_line

    typer.echo(version_line())
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
        with contextlib.redirect_stdout(sys.stderr):  # where typer has rich, get_help prints by itself
            typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command line. The user's faults are one line on standard error and exit code 2."""
    try:
        with watched_streams():
            code = _run()
    except OutputLost as error:
        with contextlib.suppress(OSError):
            typer.echo(f"dereflect: standard output: cannot be written ({error})", err=True)
        code = 1
    sys.exit(code)


def _run() -> int:
    try:
        return app(standalone_mode=False, prog_name="dereflect") or 0
    except DereflectError as error:
        typer.echo(f"dereflect: {fault_line(error)}", err=True)
        return 2
    except _UsageError as error:
        typer.echo(f"dereflect: {usage_line(error)}", err=True)
        return 2
    except typer.Abort:
        return 130
