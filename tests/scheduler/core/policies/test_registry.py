"""Policies are found by name, load late, and refuse what an engine could not call."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit, types
from numba.core.sigutils import normalize_signature

from scheduler.core import policies
from scheduler.core.errors import StowageInputError
from scheduler.core.policies import (
    POLICIES,
    SCORE_SIGNATURE,
    Policy,
    Taxonomy,
    get_policy,
    policy_names,
    score_function,
)


def test_every_name_loads_the_policy_of_that_name() -> None:
    assert {name: policy.name for name, policy in POLICIES.items()} == {name: name for name in policy_names()}
    assert list(POLICIES) == sorted(POLICIES)


def test_unknown_name_lists_the_known_ones_and_suggests_the_nearest() -> None:
    message = r"no policy is named 'best_fitt'\. Did you mean best-fit\? Known: .*best-fit"
    with pytest.raises(StowageInputError, match=message) as raised:
        get_policy("best_fitt")
    assert raised.value.exit_code == 2
    assert "nonesuch" not in POLICIES


def test_importing_the_registry_does_not_import_numba() -> None:
    check = "import sys, scheduler.core.policies as p; p.policy_names(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_score_that_is_not_compiled_with_the_signature_is_refused() -> None:
    with pytest.raises(StowageInputError, match="not compiled as float64"):
        Policy("mine", "A plain function.", lambda *_: 0.0)
    other = njit("float64(int64)")(lambda node: 0.0)
    with pytest.raises(StowageInputError, match="not compiled as float64"):
        Policy("mine", "Another signature.", other)


@pytest.mark.parametrize("name", ["", "Best Fit", "-best", "best_fit"])
def test_a_name_that_is_not_hyphened_lower_case_is_refused(name: str) -> None:
    with pytest.raises(StowageInputError, match="lower-case words"):
        Policy(name, "Summary.", get_policy("best-fit").score)


def test_a_taxonomy_outside_the_list_is_refused() -> None:
    with pytest.raises(StowageInputError, match="'galaxy' is none of OS-level, cluster, big-data"):
        Taxonomy(level="galaxy")  # type: ignore[arg-type]


def test_a_policy_of_an_installed_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Policy("mine", "Best fit by another name.", get_policy("best-fit").score)
    monkeypatch.setitem(sys.modules, "a_package", SimpleNamespace(POLICY=mine))
    _install(monkeypatch, "mine", "a_package:POLICY")
    assert get_policy("mine") is mine
    assert "mine" in POLICIES


def test_an_installed_package_cannot_replace_a_built_in_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "best-fit", "no_such_module:POLICY")
    assert get_policy("best-fit").name == "best-fit"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:POLICY", "did not load: No module named"),
        ("math:pi", "is a float, not a"),
        ("scheduler.core.policies.best_fit:POLICY", "calls itself 'best-fit'"),
    ],
)
def test_a_broken_installed_policy_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    _install(monkeypatch, "theirs", value)
    with pytest.raises(StowageInputError, match=message):
        get_policy("theirs")


def test_machine_code_is_kept_in_the_cache_directory_that_is_set(tmp_path: Path) -> None:
    load = "from scheduler.core.policies import get_policy; get_policy('first-fit')"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", load], env=environment, check=True)
    assert list(tmp_path.rglob("first_fit.score-*.nbi"))


def test_a_policy_loads_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])

    def zero(demand, demand_nonzero, allocatable, requested, requested_nonzero, node, draw):  # type: ignore[no-untyped-def]
        return 0.0

    assert Policy("mine", "Without a cache.", score_function(zero)).name == "mine"


def test_a_score_can_be_passed_to_a_compiled_function_that_was_not_compiled_for_it() -> None:
    arguments, returned = normalize_signature(SCORE_SIGNATURE)

    @njit(types.float64(types.FunctionType(returned(*arguments)), *arguments[:5]))
    def best(score, demand, demand_nonzero, allocatable, requested, requested_nonzero):  # type: ignore[no-untyped-def]
        return score(demand, demand_nonzero, allocatable, requested, requested_nonzero, 1, 0)

    demand = np.array([10, 20])
    allocatable = np.array([[100, 100], [100, 200]])
    requested = np.array([[0, 0], [40, 30]])
    values = (demand, demand, allocatable, requested, requested)
    assert best(get_policy("best-fit").score, *values) == get_policy("best-fit").score(*values, 1, 0)
    assert best(get_policy("best-fit").score, *values) == pytest.approx(-(0.5 + 0.75))


def _install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name=name, value=value, group=policies.ENTRY_POINT_GROUP)
    monkeypatch.setattr(policies, "entry_points", lambda group: [point] if group == policies.ENTRY_POINT_GROUP else [])
