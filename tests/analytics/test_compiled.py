"""Where machine code is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics import compiled


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in compiled.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "analytics" / "loop.py").write_text("import numba\n")
    (tmp_path / "analytics" / "plain.py").write_text("x = 1\n")
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return tmp_path


def cache_folder(monkeypatch: pytest.MonkeyPatch) -> str:
    import os

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    compiled.use_own_cache()
    return os.environ["NUMBA_CACHE_DIR"]


def test_a_change_in_any_compiled_file_moves_the_cache_and_other_changes_do_not(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache_folder(monkeypatch)
    (sources / "analytics" / "plain.py").write_text("x = 2\n")
    assert cache_folder(monkeypatch) == first
    (sources / "analytics" / "loop.py").write_text("import numba  # changed\n")
    assert cache_folder(monkeypatch) != first


def test_a_folder_that_the_user_chose_is_left_alone(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    compiled.use_own_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "/chosen"


def test_only_a_few_folders_of_other_versions_stay(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in range(compiled.KEPT + 5):
        (sources / "analytics" / "loop.py").write_text(f"import numba  # {version}\n")
        current = cache_folder(monkeypatch)
    folders = list((sources / "cache" / "stowage").glob("numba-*"))
    assert len(folders) == compiled.KEPT + 1
    assert Path(current) in folders
