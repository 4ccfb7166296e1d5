"""What can go wrong in analytics, for the reader of one line on stderr.

`exit_code` is what the command exits with: 2 for input a person must change, 1 for a run that failed. Both keep one
message as their only argument, so that they survive the way back from a worker process.
"""

from __future__ import annotations


class InputError(ValueError):
    """An option, study file or run folder that breaks a rule; the message states the rule and the value."""

    exit_code = 2


class StudyFailed(RuntimeError):
    """Some cells of a study did not finish; the finished ones are kept."""

    exit_code = 1
