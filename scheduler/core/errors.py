"""What the decision core raises when its input is broken. Not fitting is an answer, never one of these."""

from __future__ import annotations


class StowageInputError(ValueError):
    """The caller's input breaks a rule; the message states the rule and the value that broke it."""

    exit_code = 2
