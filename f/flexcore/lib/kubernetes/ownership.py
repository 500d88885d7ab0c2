# requirements: flexcore_kubernetes
"""Which other tool owns an object: by its labels, annotations, owner references and field managers. Pure.

What such a tool owns it puts back to its own source whenever it looks again; two writers of one object undo each
other, so it is refused by the tool's name, even where the object was ours before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors

Object = Mapping[str, Any]
# Who writes spec.replicas for a HorizontalPodAutoscaler.
AUTOSCALER_MANAGER = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Owner:
    """tool: its name; source: what of it owns the object, where that is known; remedy: what to do instead."""

    tool: str
    source: str
    remedy: str

    def to_error(self, kind: str, name: str, namespace: str) -> errors.Conflict:
        source = f" ({self.source})" if self.source else ""
        return errors.Conflict(
            f"{kind} {name} in namespace {namespace} is managed by {self.tool}{source}",
            subject="name",
            category="owned_by_another",
            remedy=f"{self.remedy} Or choose another name or namespace.",
            owner={"tool": self.tool, "source": self.source},
        )


@dataclass(frozen=True, slots=True)
class Marks:
    """labels, annotations: names whose value says the source; exact: (label, value) pairs; managers: field managers."""

    tool: str
    remedy: str
    annotations: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    exact: tuple[tuple[str, str], ...] = ()
    managers: tuple[str, ...] = ()


ARGO_CD = Marks(
    "Argo CD",
    "Change it in the Application's repository, or take it out of the Application first.",
    annotations=("argocd.argoproj.io/tracking-id",),
    labels=("argocd.argoproj.io/instance",),
    managers=("argocd-controller", "argocd-application-controller"),
)
ROLLOUTS = Marks(
    "Argo Rollouts",
    "Change the Rollout instead: it moves replicas and weights itself.",
    annotations=("argo-rollouts.argoproj.io/managed-by-rollouts", "rollout.argoproj.io/revision"),
    labels=("rollouts-pod-template-hash",),
    managers=("rollouts-controller", "argo-rollouts"),
)
HELM = Marks(
    "Helm",
    "Change the chart's values and upgrade the release, or uninstall it first.",
    annotations=("meta.helm.sh/release-name",),
    exact=(("app.kubernetes.io/managed-by", "Helm"),),
    managers=("helm",),
)
FLUX = Marks(
    "Flux",
    "Change it in the repository that Flux reads, or suspend and delete its Kustomization or HelmRelease first.",
    labels=("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"),
    managers=("kustomize-controller", "helm-controller"),
)
# A release of Flux's is one of Helm's as well; the tool to turn to is Flux.
TOOLS = (ARGO_CD, FLUX, HELM, ROLLOUTS)


def find_owner(item: Object) -> Owner | None:
    """The tool that owns the object; None when none is known to."""
    metadata = item["metadata"]
    for marks in TOOLS:
        if (source := _find_mark(marks, item)) is not None:
            return Owner(marks.tool, source, marks.remedy)
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            kind, name = reference.get("kind"), reference.get("name")
            return Owner(_name_controller(reference), f"{kind} {name}", f"Change the {kind} {name} instead.")
    return None


def _find_mark(marks: Marks, item: Object) -> str | None:
    """The source that the first mark names, "" where it names none; None without a mark."""
    metadata = item["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    for values, names in ((annotations, marks.annotations), (labels, marks.labels)):
        for name in names:
            if name in values:
                return f"{name}: {values[name]}"
    # The selector that a Rollout has given to a Service outlives its annotation.
    if any(name in ((item.get("spec") or {}).get("selector") or {}) for name in marks.labels):
        return ""
    if any(labels.get(name) == value for name, value in marks.exact):
        return ""
    managers = {str(entry.get("manager")) for entry in metadata.get("managedFields") or ()}
    return "" if managers & set(marks.managers) else None


def _name_controller(reference: Object) -> str:
    group = str(reference.get("apiVersion") or "").partition("/")[0]
    return {"serving.kserve.io": "KServe", "argoproj.io": "Argo Rollouts", "keda.sh": "KEDA"}.get(group, group)
