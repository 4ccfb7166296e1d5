"""`stowage trace ...`"""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def trace() -> None:
    """Import, check, make and fetch cluster traces."""
