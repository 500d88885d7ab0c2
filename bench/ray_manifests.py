"""How many public manifests of KubeRay are taken, and why each other one is refused.

    python -m bench.ray_manifests FOLDER                      by our own rules alone
    python -m bench.ray_manifests FOLDER --namespace NAME     also by the dry run of the cluster of KUBECONFIG

FOLDER has YAML files, such as ray-operator/config/samples of a clone of KubeRay. Every object of ray.io in them counts;
nothing of them is kept here, and the dry run creates nothing.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core import errors, redaction, resources
from f.flexcore.lib.kubernetes_api import credentials, http_client
from f.flexcore.lib.ray import kubernetes_session, ray_job_plan, ray_manifest


def find_objects(folder: Path) -> Iterator[tuple[str, Any]]:
    """(file and object, the object) of every object of ray.io; files without one are passed over."""
    for path in sorted(folder.rglob("*.y*ml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except yaml.YAMLError:
            # A template: the rules say so.
            yield path.name, path.read_text()
            continue
        for document in documents:
            if isinstance(document, dict) and str(document.get("apiVersion")).startswith("ray.io/"):
                yield f"{path.name}: {ray_manifest.describe(document)}", document


def open_session(namespace: str) -> kubernetes_session.Session:
    kubeconfig = Path(os.environ["KUBECONFIG"]).read_text()
    access = credentials.resolve_access(resources.KubernetesCluster(kubeconfig=kubeconfig))
    kubernetes = http_client.HttpKubernetes(access, redaction.Redactor(access.secrets()))
    return kubernetes_session.Session(kubernetes, namespace, is_inside=False)


def judge(item: Any, session: kubernetes_session.Session | None) -> tuple[str, str]:
    """(who refuses it, why), ("", "") for one that is taken."""
    try:
        manifest = ray_manifest.read_manifest(item)
    except errors.FlexcoreError as error:
        return "rules", str(error)
    if session is None:
        return "", ""
    try:
        ray_job_plan.check_on_server(session, manifest)
    except errors.FlexcoreError as error:
        return "server", str(error)
    return "", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--namespace", default="")
    given = parser.parse_args()
    session = open_session(given.namespace) if given.namespace else None
    found = [(name, *judge(item, session)) for name, item in find_objects(given.folder)]
    for name, who, why in found:
        if who:
            print(f"{who:6} {name}\n       {why[:400]}")
    counts = Counter(who or "taken" for _, who, _ in found)
    refused = f"by our rules: {counts['rules']}, by the server: {counts['server']}"
    print(f"{counts['taken']} of {len(found)} taken; refused {refused}")


if __name__ == "__main__":
    main()
