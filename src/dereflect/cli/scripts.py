"""What the programs of `benchmarks/` and `scripts/` share with the command line: how they say faults."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from dereflect.cli.messages import fault_line
from dereflect.errors import DereflectError, Unforeseen, first_line


def run_script(main: Callable[[], None]) -> None:
    """Run a program; a fault of what it was given is one line on standard error, and exit code 2.

    Other faults are its own and keep their traceback.
    """
    try:
        main()
    except Unforeseen:
        raise
    except DereflectError as error:
        line = fault_line(error)
    except OSError as error:
        if error.filename is None:
            raise
        line = f"{error.filename}: {first_line(error)}"
    else:
        return
    typer.echo(line, err=True)
    sys.exit(2)
