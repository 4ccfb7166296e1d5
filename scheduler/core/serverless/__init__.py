"""Serverless policies: how long a function's pods stay loaded, one file each, found by name.

`policy` says what a policy is. To add one, write a file that ends in `POLICY = ServerlessPolicy(...)` and add it here.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Final

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless.policy import ServerlessPolicy

_BUILT_IN: Final = {
    "fixed": "fixed:POLICY",
    "greedy-dual": "greedy_dual:POLICY",
    "hazard": "hazard:POLICY",
    "hybrid": "hybrid:POLICY",
    "hybrid-iat": "hybrid_iat:POLICY",
    "oracle": "oracle:KEEPING",
    "oracle-pre-warm": "oracle:LOADING",
    "per-trigger": "per_trigger:POLICY",
    "timers": "timers:POLICY",
}


def serverless_policy_names() -> tuple[str, ...]:
    """Every name `get_serverless_policy` knows, sorted."""
    return tuple(sorted(_BUILT_IN))


def get_serverless_policy(name: str) -> ServerlessPolicy:
    """The policy of that name; StowageInputError, listing those there are, if there is none."""
    if name not in _BUILT_IN:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), _BUILT_IN, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise StowageInputError(
            f"no serverless policy is named {name!r}.{hint} Known: {', '.join(serverless_policy_names())}"
        )
    module, _, attribute = _BUILT_IN[name].partition(":")
    policy: ServerlessPolicy = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return policy
