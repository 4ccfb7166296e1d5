"""The image, the workflows and the release: what can be checked without a registry."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import set_release
from tests.helm.conftest import CHART, ROOT, Render

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINES = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
LAST_STAGE = INSTRUCTIONS[max(n for n, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]


def is_sent(path: str) -> bool:
    """Whether the ignore file lets a path through: the last pattern that matches decides."""
    sent = True
    for line in (ROOT / ".containerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/").removeprefix("**/")
        if pattern and not line.startswith("#") and fnmatch.fnmatch(path, pattern):
            sent = line.startswith("!")
    return sent


def test_all_that_is_copied_into_the_image_exists_and_is_sent_to_the_builder() -> None:
    sources = [words.split()[:-1] for word, words in INSTRUCTIONS if word == "COPY" and "--from" not in words]
    named = [source for group in sources for source in group]
    assert {"requirements.image.lock", "stowage.py", "scheduler/"} <= set(named)
    for source in named:
        assert (ROOT / source).exists(), source
        assert is_sent(source.rstrip("/")), source
    assert not is_sent("tests")
    assert not is_sent(".git")
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()


def test_every_package_of_ours_is_in_the_image() -> None:
    copied = {words.split()[0].rstrip("/") for word, words in INSTRUCTIONS if word == "COPY"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= copied


def test_the_image_runs_without_root_and_without_a_shell() -> None:
    last = dict(LAST_STAGE)
    assert last["USER"] == "65532:65532"
    assert last["ENTRYPOINT"] == '["stowage"]'
    assert "RUN" not in last
    for word, words in INSTRUCTIONS:
        if word == "RUN":
            assert words.startswith("["), words


def test_the_image_has_the_same_versions_as_the_development_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"(?m)^([a-z0-9._-]+==\S+)", (ROOT / name).read_text()))

    image, everything = pins("requirements.image.lock"), pins("requirements.lock")
    assert image <= everything
    names = {pin.split("==")[0] for pin in image}
    assert {"httptools", "msgspec", "ortools", "apscheduler", "kubernetes", "streamlit", "pyarrow"} <= names
    assert not {"pytest", "mypy", "ruff", "hypothesis"} & names


def test_every_pod_of_the_chart_starts_what_the_image_has(render: Render) -> None:
    objects = render()
    for component in ("scheduler", "planner"):
        pod = objects["Deployment", f"s-stowage-{component}"]["spec"]["template"]["spec"]
        own = pod["containers"][-1]
        environment = {entry["name"]: entry["value"] for entry in own["env"]}
        mounts = {mount["mountPath"] for mount in own["volumeMounts"]}
        assert environment["HOME"] in mounts
        assert any(environment["NUMBA_CACHE_DIR"].startswith(f"{path}/") for path in mounts)
        assert "command" not in own  # the image's entry point, stowage
        config = Path(own["args"][own["args"].index("--config") + 1])
        assert config.name in objects["ConfigMap", f"s-stowage-{component}"]["data"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_every_action_and_begin_with_no_rights(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            # What others wrote (a branch's name, a title) must not become part of a script.
            assert "${{" not in step.get("run", ""), step


def test_a_release_writes_its_digest_into_the_chart_and_nothing_else() -> None:
    values = (CHART / "values.yaml").read_text()
    digest = "sha256:" + "b" * 64
    written = set_release.with_image(values, "ghcr.io/Someone/Stowage", digest)
    old, new = yaml.safe_load(values), yaml.safe_load(written)
    assert new.pop("image") == old.pop("image") | {"repository": "ghcr.io/someone/stowage", "digest": digest}
    assert new == old
    assert len(written.splitlines()) == len(values.splitlines())
    with pytest.raises(ValueError, match="no digest"):
        set_release.with_image(values, "r", "latest")


def test_package_chart_and_image_have_one_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(set(set_release.versions().values())) == 1
    assert set_release.main(["--check", "99.0.0"]) == 2
    assert "99.0.0" in capsys.readouterr().err
