# requirements: flexcore_base
"""The Windmill resources that steps take, as models: one for each `c_*.resource-type.yaml` at the bundle's root.

A form that was left empty sends "" or null; both mean the default.

Which fields of a form are secret says a mark on the field; what masks or leaves them out derives from it.

    token: Annotated[str, SECRET] = ""             every text in it is a secret
    parameters: Annotated[dict, OPAQUE] = {}       may hold anything: what looks like a secret in it is one
Neither goes into a result, a label or the arguments of another step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import core_schema

from f.flexcore.lib.core import redaction, workloads


@dataclass(frozen=True, slots=True)
class Mark:
    is_whole: bool


SECRET, OPAQUE = Mark(is_whole=True), Mark(is_whole=False)


def marked_fields(model: type[BaseModel]) -> dict[str, Mark]:
    """The marked fields of a model and their marks."""
    found = {}
    for name, field in model.model_fields.items():
        mark = next((item for item in field.metadata if isinstance(item, Mark)), None)
        if mark:
            found[name] = mark
    return found


def secret_values(form: BaseModel) -> Iterator[str]:
    """The texts in a form that must never be seen in any output, those of forms within it, too."""
    marks = marked_fields(type(form))
    for name in type(form).model_fields:
        value = getattr(form, name)
        if isinstance(value, BaseModel):
            yield from secret_values(value)
        elif name in marks:
            yield from _texts(value) if marks[name].is_whole else redaction.find_secrets(value)


def dump_public(form: BaseModel) -> dict[str, Any]:
    """The form as JSON data without its marked fields."""
    return form.model_dump(mode="json", exclude=set(marked_fields(type(form))))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


class Form(BaseModel):
    """What a person fills in: unknown fields are refused, empty ones mean the default."""

    # Built when it is first used: a step uses few of them.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None and item != ""}
        return value


class LateForm:
    """Marks a field that holds another form, `module:NAME`, which is imported when it is given: most requests leave it
    out. Validates as that form does. Empty is None, since Windmill sends an object for a nested form that nobody has
    touched, with its fields empty; where its defaults ask for nothing, so is a form of defaults alone
    (`is_optional`)."""

    def __init__(self, address: str, *, is_optional: bool = False) -> None:
        self.address, self.is_optional = address, is_optional

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return handler(TypeAdapter(self._import() | None).core_schema)

    def _import(self) -> Any:
        module, _, name = self.address.partition(":")
        return getattr(import_module(module), name)

    def _validate(self, value: Any) -> Any:
        if not value or (isinstance(value, dict) and all(item in (None, "") for item in value.values())):
            return None
        form = self._import()
        given = form.model_validate(value)
        return None if self.is_optional and given == form() else given


# A key in the address would be seen wherever the address is.
OTLP_ENDPOINT = r"^$|^https?://[^/@\s]+(/\S*)?$"
TRACE_PAGE = r"^$|^https?://\S*\{trace_id\}\S*$"


class Resource(Form):
    """A form that Windmill stores as a resource."""

    def secrets(self) -> Iterator[str]:
        """The values that must never be seen in any output."""
        return secret_values(self)


class MeltanoProject(Resource):
    """c_meltano_project: exactly one of `path`, `git_url` and `meltano_yml` says where the project is.

    env: environment variables for the plugins; every one of them is treated as a secret.
    """

    path: str = ""
    git_url: str = ""
    git_ref: str = ""
    git_token: Annotated[str, SECRET] = ""
    subdirectory: str = ""
    meltano_yml: str = ""
    environment: str = ""
    state_backend_uri: str = ""
    env: Annotated[dict[str, str], SECRET] = {}

    @model_validator(mode="after")
    def _one_source(self) -> MeltanoProject:
        given = [name for name in ("path", "git_url", "meltano_yml") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, git_url and meltano_yml (given: {', '.join(given) or 'none'})")
        return self


# Of a head on this machine, where Ray itself puts it.
RAY_ADDRESS = "http://127.0.0.1:8265"


# Each job's supervisor takes about 85 MB of the head (ray issue 60159), and as much again the program of a job that
# asks for no CPU: this is what a head of 4 GB bears.
MAX_RAY_JOBS = 16


class RayCluster(Resource):
    """c_ray_cluster: the dashboard address (Jobs API), how to authenticate, and where Serve answers; or a reference to
    a cluster, whose address and token whoever opens the connection finds out (lib/ray/connection).

    serve_url: as seen by callers, when it is not the dashboard's host with Serve's own port.
    max_jobs: of ours on the head at once; 0: as many as come.
    kubernetes_cluster, namespace, name: a RayCluster of KubeRay there; resource: another resource of this type;
    local_head: one that ensure_cluster started on the worker's own machine. lease: which lease of the cluster the
    reference stands for. A reference holds no secret, so it may be the result of a step.
    """

    address: str = Field(default=RAY_ADDRESS, pattern=r"^https?://")
    token: Annotated[str, SECRET] = ""
    headers: Annotated[dict[str, str], SECRET] = {}
    verify_tls: bool = True
    ca_certificate: str = ""
    serve_url: str = ""
    max_jobs: int = Field(default=MAX_RAY_JOBS, ge=0)
    kubernetes_cluster: str = ""
    namespace: str = ""
    name: str = ""
    resource: str = ""
    local_head: str = ""
    lease: str = ""

    @model_validator(mode="after")
    def _is_one_cluster(self) -> RayCluster:
        kinds = {
            "address": self.address != RAY_ADDRESS,
            "name": bool(self.kubernetes_cluster or self.namespace or self.name),
            "resource": bool(self.resource),
            "local_head": bool(self.local_head),
        }
        given = [kind for kind, is_given in kinds.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} name different clusters: give one of them")
        return self

    @property
    def is_on_kubernetes(self) -> bool:
        return bool(self.kubernetes_cluster or self.namespace or self.name)

    @property
    def is_reference(self) -> bool:
        """Whether `address` says nothing, and what does must be resolved first."""
        return self.is_on_kubernetes or bool(self.resource or self.local_head)


class Postgresql(Resource):
    """postgresql, which Windmill itself defines: a PostgreSQL database and the user who asks it."""

    host: str = Field(min_length=1)
    port: int = Field(default=5432, ge=1, le=65535)
    user: str = ""
    password: Annotated[str, SECRET] = ""
    dbname: str = Field(min_length=1)
    sslmode: Literal["", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = ""
    root_certificate_pem: str = ""

    @model_validator(mode="before")
    @classmethod
    def _is_postgresql(cls, value: Any) -> Any:
        if isinstance(value, dict) and "database" in value and "dbname" not in value:
            raise ValueError("is the resource of another kind of database, such as mysql: choose a postgresql resource")
        return value


# As labels are written: gpu-a100, spot, kueue, eu-only.
CAPABILITY_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"


class KubernetesCluster(Resource):
    """c_kubernetes_cluster: a kubeconfig with an optional context, or server with token and CA, or in-cluster.

    mode auto: the kubeconfig when given, else the server when given, else in-cluster.
    cloud to latency: what a placement among several clusters goes by; all may be left out. A price of null is not
    known, and is not 0. egress_gib_usd: of data that leaves the cluster for another location; data_location: where data
    beside it lies, a name as in the settings' `egress_usd_per_gib`; capabilities: what it has and others lack, in words
    of your own; latency: how near it is to those who call what is served there.
    mode auto: the kubeconfig when given, else the server when given, else in-cluster. prometheus_url: as the worker
    reaches it; a canary counts requests there.
    """

    mode: Literal["auto", "kubeconfig", "token", "in_cluster"] = "auto"
    kubeconfig: Annotated[str, SECRET] = ""
    context: str = ""
    server: str = ""
    token: Annotated[str, SECRET] = ""
    ca_certificate: str = ""
    verify_tls: bool = True
    namespace: str = ""
    cloud: str = ""
    region: str = ""
    cpu_hour_usd: float | None = Field(default=None, ge=0, le=workloads.MAX_COST_USD)
    memory_gib_hour_usd: float | None = Field(default=None, ge=0, le=workloads.MAX_COST_USD)
    gpu_hour_usd: float | None = Field(default=None, ge=0, le=workloads.MAX_COST_USD)
    egress_gib_usd: float | None = Field(default=None, ge=0, le=workloads.MAX_COST_USD)
    capabilities: list[Annotated[str, Field(pattern=CAPABILITY_PATTERN)]] = []
    data_location: str = ""
    latency: Literal["", "low", "medium", "high"] = ""
    prometheus_url: str = Field(default="", pattern=r"^$|^https?://")
    prometheus_token: Annotated[str, SECRET] = ""


class Notifications(Resource):
    """c_flexcore_notifications: who is told when a flow fails: a webhook that takes Slack's form, or people by email.

    webhook_url: whoever has it can write to the channel, so it is a secret.
    """

    channel: Literal["none", "webhook", "email"] = "none"
    webhook_url: Annotated[str, SECRET] = ""
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: Annotated[str, SECRET] = ""
    sender: str = ""
    recipients: list[str] = []

    @model_validator(mode="after")
    def _channel_is_complete(self) -> Notifications:
        needed = {"none": (), "webhook": ("webhook_url",), "email": ("smtp_host", "sender", "recipients")}
        absent = [name for name in needed[self.channel] if not getattr(self, name)]
        if absent:
            raise ValueError(f"the channel {self.channel} needs {', '.join(absent)}")
        if self.webhook_url and not self.webhook_url.startswith(("http://", "https://")):
            raise ValueError("webhook_url must begin with https://")
        return self

    def secrets(self) -> Iterator[str]:
        # A server that refuses the URL may repeat the part that is the secret, without the host.
        yield from (*super().secrets(), urlsplit(self.webhook_url).path)


class Settings(Resource):
    """c_flexcore_settings: where stages hand on their data, the namespace of those who name none, and the clusters
    that `operations/reconcile` and `operations/check_runtimes` look after, as paths of their resources.

    runtimes: what each runtime is and costs, by its name; the choice between them starts from it (core/workloads).
    storage_uri: an fsspec URI, `file:///folder` or `s3://bucket/prefix`; empty means a folder of the worker's home.
    pickle: export writes model.joblib beside a model for MLServer's scikit-learn runtime on Kubernetes, which reads
    nothing else; allow also loads the models that earlier versions stored as a pickle; refuse does neither.
    otlp_endpoint: of an OpenTelemetry collector, by http/protobuf; empty means no traces. otlp_headers: as in
    OTEL_EXPORTER_OTLP_HEADERS. trace_sample_ratio: the share of the runs whose traces are kept. trace_url: the page of
    a trace, with {trace_id} in it.
    """

    storage_uri: str = Field(default="", pattern=r"^$|^(file|s3)://")
    storage_endpoint_url: str = ""
    storage_access_key: Annotated[str, SECRET] = ""
    storage_secret_key: Annotated[str, SECRET] = ""
    storage_region: str = ""
    pickle: Literal["refuse", "export", "allow"] = "export"
    namespace: str = "default"
    ray_clusters: list[str] = []
    kubernetes_clusters: list[str] = []
    runtimes: dict[str, workloads.RuntimeState] = {}
    min_samples: int = Field(default=5, ge=1)
    failure_cost_factor: float = Field(default=1, ge=0)
    egress_usd_per_gib: dict[str, float] = {}
    otlp_endpoint: str = Field(default="", pattern=OTLP_ENDPOINT)
    otlp_headers: Annotated[str, SECRET] = ""
    trace_sample_ratio: float = Field(default=1, ge=0, le=1)
    trace_url: str = Field(default="", pattern=TRACE_PAGE)

    @model_validator(mode="after")
    def _headers_are_headers(self) -> Settings:
        self.trace_headers()
        return self

    def trace_headers(self) -> dict[str, str]:
        """Those of a request to the collector, by name. Raises ValueError that names no value."""
        if not self.otlp_headers:
            return {}
        from f.flexcore.lib.core import otlp

        return otlp.parse_headers(self.otlp_headers)

    def trace_page(self, trace_id: str) -> str:
        """The address of a trace's page; "" when the settings do not say where traces are shown."""
        return self.trace_url.replace("{trace_id}", trace_id)

    def secrets(self) -> Iterator[str]:
        yield from (*super().secrets(), *self.trace_headers().values())

    def clusters(self, field: str) -> list[str]:
        """The paths in one of the lists of clusters."""
        paths: list[str] = getattr(self, field)
        return paths


# --- a resource as Windmill stores it, whatever it holds

RESOURCE_TYPES: dict[str, type[Resource]] = {
    "c_meltano_project": MeltanoProject,
    "c_ray_cluster": RayCluster,
    "c_kubernetes_cluster": KubernetesCluster,
    "c_flexcore_notifications": Notifications,
    "c_flexcore_settings": Settings,
    "postgresql": Postgresql,
}
REFERENCES = ("$res:", "$var:")
# Fields of a resource of any type that say where something is and no secret; masked, they would blot out a log.
PLACES = ("host", "hostname", "port", "user", "username", "database", "dbname", "schema", "sslmode", "region", "bucket")


def find_secrets(resource_type: str, value: Any) -> Iterator[str]:
    """The secrets in the value of a resource: what the marks of its type say, and every text in a field that the type
    does not have; of a type that is not one of ours every text but those of PLACES."""
    fields: Mapping[str, Any] = value if isinstance(value, Mapping) else {"": value}
    model = RESOURCE_TYPES.get(resource_type)
    marks = marked_fields(model) if model else {}
    public = set(model.model_fields) - set(marks) if model else set(PLACES)
    found = [text for name, item in fields.items() if name not in public for text in _texts(item)]
    if model:
        # Where it is not filled in as it should be, its marked fields are among those found.
        with suppress(ValidationError):
            found += model.model_validate(value).secrets()
    yield from (text for text in found if not text.startswith(REFERENCES))


# --- the secret environment of a remote program, as {NAME: value}; a value never appears in an error

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_secret_env(value: Any) -> dict[str, str]:
    """The mapping when every name can be an environment variable and every value is text; ValueError that names the
    wrong one otherwise."""
    if not isinstance(value, Mapping):
        raise ValueError("write it as {NAME: value}, the value as $var:path of a Windmill variable")
    for name, item in value.items():
        if not isinstance(name, str) or not ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError("a name is no environment variable: use letters, digits and _, and no digit first")
        if not isinstance(item, str) or "\0" in item:
            raise ValueError(f"{name} is no text")
    return dict(value)


SecretEnv = Annotated[dict[str, SecretStr], BeforeValidator(check_secret_env)]
