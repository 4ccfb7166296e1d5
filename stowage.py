"""The `stowage` command: mounts each folder's commands on one application, nothing else.

Every folder's `cli` module imports only typer when loaded; numpy, duckdb and numba wait inside the commands, so that
`stowage --help` answers at once.
"""

from __future__ import annotations

import sys

import typer

from analytics import cli as analytics_cli
from dashboard import cli as dashboard_cli
from scheduler.live import cli as live_cli
from traces import cli as traces_cli

app = typer.Typer(
    name="stowage",
    help="Decide where work runs on a cluster, and prove it: import traces, replay them under any policy, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(traces_cli.app, name="trace", help="Import, check, make and fetch cluster traces.")
analytics_cli.mount(app)
live_cli.mount(app)
dashboard_cli.mount(app)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of a failure."),
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """Run the command; an error that knows its exit code becomes one message on stderr instead of a traceback."""
    debug = "--debug" in sys.argv
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app()
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if debug or exit_code is None:
            raise
        print(f"stowage: {error}", file=sys.stderr)
        sys.exit(exit_code)
    except KeyboardInterrupt:
        print("stowage: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
