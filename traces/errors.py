"""What a trace that is not what it says gets as an answer."""

from __future__ import annotations

from pathlib import Path


class TraceError(Exception):
    """Root of what goes wrong with traces. The command makes it a message and an exit code: here 1, a failed run."""

    exit_code = 1


class OutputExistsError(TraceError):
    """The place for the result is taken, and nobody said --force."""

    exit_code = 2


class TraceFormatError(TraceError, ValueError):
    """The input breaks a rule of its format; nothing was written under the final name.

    Says where (file, 1-based physical row, field), which rule was broken and by what value, and what to do about it.
    """

    exit_code = 2

    def __init__(
        self,
        rule: str,
        *,
        file: Path | str | None = None,
        row: int | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.rule, self.row, self.field, self.fix = rule, row, field, fix
        self.file = None if file is None else str(file)
        super().__init__(rule)

    def __str__(self) -> str:
        places = [
            self.file,
            f"row {self.row}" if self.row is not None else None,
            f"field {self.field}" if self.field else None,
        ]
        place = ", ".join(part for part in places if part)
        message = f"{place}: {self.rule}" if place else self.rule
        return f"{message}. {self.fix}" if self.fix else message

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process with every field."""
        return _rebuild, (self.rule, self.file, self.row, self.field, self.fix)


def _rebuild(rule: str, file: str | None, row: int | None, field: str | None, fix: str | None) -> TraceFormatError:
    return TraceFormatError(rule, file=file, row=row, field=field, fix=fix)
