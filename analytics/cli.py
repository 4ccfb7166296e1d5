"""`stowage replay`, `compare`, `sweep`, `capacity`."""

from __future__ import annotations

import typer


def mount(app: typer.Typer) -> None:
    """Add this folder's commands to the top level of `app`."""
