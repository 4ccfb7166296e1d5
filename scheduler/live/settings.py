"""Settings of the long-running commands: one typed schema each, read from a file and the environment.

The file is JSON or YAML; a variable such as STOWAGE_SERVE_PORT replaces one key of it. The JSON schema of these classes
is what the chart's values are checked against (`settings_schema`), so a setting has one home: here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(ValueError):
    """Bad settings, all of them at once."""

    exit_code = 2


class Settings(BaseSettings):
    """Base of all settings: unknown keys are refused, the environment wins over the file."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


class ServeSettings(Settings):
    """Settings of `stowage serve`."""

    model_config = SettingsConfigDict(env_prefix="STOWAGE_SERVE_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8787, ge=0, le=65535, description="TCP port to listen on; 0: any free one.")
    kubeconfig: str = Field("", description="Path of a kubeconfig; empty: the pod's own cluster, or $KUBECONFIG.")
    context: str = Field("", description="Context of the kubeconfig; empty: its current one.")
    log_level: LogLevel = Field("info", description="Least level that is logged.")

    policy: str = Field("kube-default", description="Scoring policy; `stowage policies` lists them.")
    mode: Literal["enforce", "prefer"] = Field(
        "enforce",
        description="prefer: never refuse a node, only score it last; for clusters whose autoscaler must foresee us.",
    )
    scored_nodes: int = Field(10, ge=1, le=10, description="Nodes that get a score; the best gets the highest.")
    shortlist: int = Field(
        100, ge=0,
        description="Best nodes that filter passes on for a pod without affinity, spreading or volumes. "
        "0: all. 1: the policy alone decides, kube-scheduler's scores are not asked.",
    )  # fmt: skip
    price_weight: float = Field(
        0.25, ge=0, le=100, description="Weight of a node's price against the policy's score; 0: prices are ignored."
    )
    assume: bool = Field(True, description="Count a pod on its best-scored node until the API server says where it is.")

    stale_after_s: float = Field(10.0, ge=1, description="Answer Error when a watch shows no sign of life this long.")
    watch_renew_s: int = Field(7, ge=1, le=300, description="How long one watch lasts; shorter than stale_after_s.")
    resync_s: float = Field(600.0, ge=0, description="Compare the cache with a fresh list this often; 0: never.")

    max_body_bytes: int = Field(16 << 20, ge=1 << 10, description="Largest request body; larger ones get 413.")
    max_nodes: int = Field(20_000, ge=1, description="Most nodes in one request; more get 413.")
    max_connections: int = Field(128, ge=1, description="Most connections at once; more are closed.")
    request_timeout_s: float = Field(5.0, gt=0, description="Longest time for a request's head and body to arrive.")
    idle_timeout_s: float = Field(300.0, gt=0, description="Idle keep-alive connections are closed after this.")
    shutdown_grace_s: float = Field(5.0, ge=0, description="Time for requests under way after SIGTERM.")

    tls_cert: str = Field("", description="PEM file of the server's certificate; empty: plain HTTP.")
    tls_key: str = Field("", description="PEM file of its key; both files are read again when they change.")
    tls_client_ca: str = Field("", description="PEM file of the CA of clients; empty: any client.")


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], path: str | Path | None = None, **overrides: Any) -> S:
    """The settings in a file (JSON or YAML), changed by the environment; overrides win over the file.

    Raises SettingsError that lists every key that is wrong.
    """
    values = {**(_read(Path(path)) if path else {}), **overrides}
    try:
        settings = kind(**values)
    except ValidationError as error:
        wrong = [f"{_where(kind, one['loc'])}: {one['msg']}" for one in error.errors()]
        raise SettingsError(f"{path or 'settings'}: " + "; ".join(wrong)) from error
    except ValueError as error:  # an environment variable that is no JSON
        raise SettingsError(f"{path or 'settings'}: {error}") from error
    return settings


def _where(kind: type[Settings], place: tuple[int | str, ...]) -> str:
    """The setting's name, or that of the variable that gives its value."""
    name = ".".join(map(str, place)) or "settings"
    variable = f"{kind.model_config.get('env_prefix', '')}{place[0] if place else ''}".upper()
    return f"{variable} ({name})" if variable in os.environ else name


def settings_schema(kind: type[Settings]) -> dict[str, Any]:
    """The JSON schema of some settings, every key with its description and default."""
    return kind.model_json_schema()


def _read(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        values = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: neither JSON nor YAML: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"{path}: a mapping of settings is wanted, not a {type(values).__name__}")
    return values or {}
