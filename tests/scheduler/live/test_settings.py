"""Settings come from a file, the environment wins, and everything that is wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.live.settings import ServeSettings, SettingsError, load_settings, settings_schema


def test_a_file_is_json_or_yaml(tmp_path: Path) -> None:
    texts = {"s.json": '{"port": 1234, "policy": "best-fit"}', "s.yaml": "port: 1234\npolicy: best-fit\n"}
    for name, text in texts.items():
        path = tmp_path / name
        path.write_text(text)
        settings = load_settings(ServeSettings, path)
        assert (settings.port, settings.policy, settings.host) == (1234, "best-fit", "127.0.0.1")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"port": 1234}')
    monkeypatch.setenv("STOWAGE_SERVE_PORT", "4321")
    assert load_settings(ServeSettings, path).port == 4321


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"port": 99999, "mode": "sometimes", "prot": 1}')
    with pytest.raises(SettingsError) as error:
        load_settings(ServeSettings, path)
    assert all(key in str(error.value) for key in ("port:", "mode:", "prot:", str(path)))


@pytest.mark.parametrize("text", ["[1]", "{", "a: b: c"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"s\.json"):
        load_settings(ServeSettings, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(ServeSettings, tmp_path / "nowhere")


def test_every_setting_has_a_description_and_a_default() -> None:
    schema = settings_schema(ServeSettings)
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    for name, one in schema["properties"].items():
        assert one.get("description"), name
        assert "default" in one, name
    json.dumps(schema)


def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_SERVE_PORT", "many")
    with pytest.raises(SettingsError, match=r"STOWAGE_SERVE_PORT \(port\): .*integer"):
        load_settings(ServeSettings)
