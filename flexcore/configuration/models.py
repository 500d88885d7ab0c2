"""What windmill.yaml and flexcore.yaml may say.

windmill.yaml   the server and its surroundings: where it listens, its workers, the clusters, the store, what is watched
flexcore.yaml   this bundle on it: which engine, which workspace, which runtimes and templates are used
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from f.flexcore.lib.core import resources
from f.flexcore.lib.runtimes import RUNTIMES

DURATION = re.compile(r"^(\d+) ?(s|m|h)?$")
UNITS = {"s": 1, "m": 60, "h": 3600}
TAGS = [runtime.worker_tag for runtime in RUNTIMES.values()]


def duration(value: Any) -> int:
    """Seconds: 30, "30s", "5m", "1h"."""
    match = DURATION.match(str(value)) if not isinstance(value, bool) else None
    if match is None or int(match[1]) == 0:
        raise ValueError('must be a time such as 30, "30s", "5m" or "1h"')
    return int(match[1]) * UNITS[match[2] or "s"]


def interval(value: Any) -> int:
    """Seconds that a cron expression can say: those that divide a minute, an hour or a day."""
    seconds = duration(value)
    whole = next(unit for unit in (60, 3600, 86400) if seconds < unit or unit == 86400)
    step = {60: 1, 3600: 60, 86400: 3600}[whole]
    if seconds > whole or seconds % step or whole % seconds:
        raise ValueError("must divide a minute, an hour or a day evenly, such as 15s, 1m, 5m or 1h")
    return seconds


Interval = Annotated[int, BeforeValidator(interval)]
TAG = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$"
Tag = Annotated[str, Field(pattern=TAG)]


HTTP, POSTGRES, STORE, NAME = r"^$|^https?://", r"^$|^postgres(ql)?://", r"^(file|s3)://", r"^[A-Za-z0-9_-]+$"
# What a value must be that does not match.
MEANINGS = {
    HTTP: "an address such as https://example.com",
    POSTGRES: "an address such as postgres://user:password@host/database",
    STORE: "the address of a folder, file:///path or s3://bucket/prefix",
    NAME: "a name of letters, digits, - and _",
    TAG: "a tag of at most 50 letters, digits, ., - and _ that begins with a letter or a digit",
    resources.OTLP_ENDPOINT: "an address such as http://collector:4318, without a user or a key in it",
    resources.TRACE_PAGE: "an address such as https://jaeger.example.com/trace/{trace_id}",
}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


# windmill.yaml


class Server(Section):
    """base_url: where people and workers reach it, when that is not host and port."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    base_url: str = Field(default="", pattern=HTTP)
    database_url: str = Field(default="", pattern=POSTGRES, repr=False)


class Workers(Section):
    """count: so many for Windmill's own work, and so many for the tag of each runtime.
    tags: those of our steps that the workers listen to, beside Windmill's own."""

    count: int = Field(default=2, ge=1, le=1000)
    tags: list[Tag] = TAGS


def _cluster_runtimes() -> Any:
    sections: dict[str, Any] = {}
    for name, runtime in RUNTIMES.items():
        section = create_model(name.title(), __base__=runtime.service, tag=(Tag, runtime.worker_tag))
        sections[name] = (section | None, None)
    return create_model("ClusterRuntimes", __base__=Section, **sections)


# Each runtime as its resource type has it, and the tag of the workers that run its steps.
ClusterRuntimes = _cluster_runtimes()


class Storage(Section):
    """The store that stages hand their data on through."""

    uri: str = Field(pattern=STORE)
    endpoint_url: str = Field(default="", pattern=HTTP)
    access_key: str = ""
    secret_key: str = ""
    region: str = ""


class Security(Section):
    """verify_tls: of the server, and of clusters that do not say it themselves."""

    verify_tls: bool = True


class Observability(Section):
    """reconcile_interval: how often what has no owner is looked for; without it the schedule stays off.
    retention_days: how long the server keeps finished jobs. The others are the settings of traces (docs/tracing.md)."""

    reconcile_interval: Interval | None = None
    retention_days: int | None = Field(default=None, ge=1)
    otlp_endpoint: str = Field(default="", pattern=resources.OTLP_ENDPOINT)
    otlp_headers: str = ""
    trace_sample_ratio: float = Field(default=1, ge=0, le=1)
    trace_url: str = Field(default="", pattern=resources.TRACE_PAGE)


class WindmillFile(Section):
    server: Server = Server()
    workers: Workers = Workers()
    runtimes: ClusterRuntimes = ClusterRuntimes()  # type: ignore[valid-type]
    storage: Storage | None = None
    security: Security = Security()
    observability: Observability = Observability()


# flexcore.yaml


class RuntimeUse(Section):
    """priority: 1 goes first, null last. health_check_interval: without it nobody asks regularly."""

    enabled: bool = True
    priority: int | None = Field(default=None, ge=1, le=1000)
    health_check_interval: Interval | None = None


def _runtimes() -> Any:
    sections: dict[str, Any] = {name: (RuntimeUse, RuntimeUse()) for name in RUNTIMES}
    return create_model("Runtimes", __base__=Section, **sections)


Runtimes = _runtimes()


class Template(Section):
    """file: the flow's folder or flow.yaml, from the bundle's root."""

    file: str
    runtime: Literal[tuple(RUNTIMES)]  # type: ignore[valid-type]
    enabled: bool = True

    @property
    def path(self) -> str:
        """As Windmill has it."""
        return self.file.removesuffix("/flow.yaml").rstrip("/").removesuffix("__flow").removesuffix(".flow")


class FlexcoreFile(Section):
    engine: Literal["windmill", "embedded"] = "embedded"
    server_url: str = Field(default="", pattern=HTTP)
    workspace: str = ""
    token: str = Field(default="", repr=False)
    worker_group: str = Field(default="default", pattern=NAME)
    runtimes: Runtimes = Runtimes()  # type: ignore[valid-type]
    templates: dict[str, Template] = {}

    @property
    def disabled_templates(self) -> dict[str, str]:
        """The template's name, by the flow's path."""
        used = {item.path for item in self.templates.values() if item.enabled}
        return {item.path: name for name, item in self.templates.items() if item.path not in used}
