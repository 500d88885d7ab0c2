"""Kubeconfigs, and what `kubectl config view --minify --raw -o json` (1.36.2) makes of them.

Each case is a list of files, as KUBECONFIG names them. Expected: (context, server, token, namespace), or None where
kubectl refuses. tests/kubernetes/test_kubeconfigs.py compares our reading with it, and it with a kubectl where there is
one.
"""

from __future__ import annotations

from typing import Any

import yaml

Object = dict[str, Any]
Expected = tuple[str, str, str, str] | None


def write(
    context: str = "a", cluster: str = "c", user: str = "u", server: str = "https://a:1", token: str = "ta", **more: Any
) -> str:
    config: Object = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [
            {"name": context, "context": {"cluster": cluster, "user": user, **more.pop("context_fields", {})}}
        ],
        "clusters": [{"name": cluster, "cluster": {"server": server}}],
        "users": [{"name": user, "user": {"token": token}}],
        **more,
    }
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


A, B = write(), write("b", "c", "u", "https://b:1", "tb")
OTHER = write("b", "d", "v", "https://b:1", "tb")
TWICE = [{"name": "a", "context": {"cluster": "c", "user": "u"}}] * 2
ONE: Expected = ("a", "https://a:1", "ta", "")
NAMES = [
    "two words",
    "a/b@c",
    "arn:aws:eks:eu-west-1:123456789012:cluster/prod",
    "gke_my-project_europe-west1-b_prod",
    "admin@prod.example.com:6443",
    "2024",
    "2024-05-01",
    "on",
    "0x10",
    "é",
    "-",
    "a\tb",
    " a ",
    "'",
    '"',
    "#x",
    "*",
    "{{ name }}",
    "x" * 300,
]

CASES: dict[str, tuple[list[str], Expected]] = {
    "one file": ([A], ONE),
    "a namespace": ([write(context_fields={"namespace": "team"})], ("a", "https://a:1", "ta", "team")),
    **{f"the context {name[:50]!r}": ([write(name)], (name, "https://a:1", "ta", "")) for name in NAMES},
    "one of many names": ([write("a b", "c/d", "u@e")], ("a b", "https://a:1", "ta", "")),
    "two files, the first says all": ([A, B], ONE),
    "two files, turned round": ([B, A], ("b", "https://b:1", "tb", "")),
    "two files of different names": ([A, OTHER], ONE),
    "the first has no current context": (
        [A.replace("current-context: a", "current-context: ''"), OTHER],
        ("b", "https://b:1", "tb", ""),
    ),
    "the first names what the second has": (
        ["current-context: b\n", OTHER],
        ("b", "https://b:1", "tb", ""),
    ),
    "the first has the context, the second its cluster and user": (
        [
            yaml.safe_dump({"current-context": "a", "contexts": [TWICE[0]]}),
            A.replace("current-context: a", "current-context: z"),
        ],
        ONE,
    ),
    "two users of one name are not mixed": (
        [A.replace("token: ta", "username: ''"), B],
        ("a", "https://a:1", "", ""),
    ),
    "an empty file first": (["", A], ONE),
    "two contexts of one name": ([write(contexts=TWICE)], None),
    "two clusters of one name, not used": (
        [A + "\n", write(clusters=[{"name": "z", "cluster": {"server": "https://z"}}] * 2)],
        None,
    ),
    "no such context": ([A.replace("current-context: a", "current-context: b")], None),
    "no current context": ([A.replace("current-context: a", "current-context: ''")], None),
    "a field that nobody knows": ([A + "colors: true\npreferences: {}\n"], ONE),
    "extensions": ([A + "extensions:\n- {name: x, extension: {a: b}}\n"], ONE),
    "another version": ([A.replace("apiVersion: v1", "apiVersion: v2")], None),
    "another kind": ([A.replace("kind: Config", "kind: Pod")], None),
    "neither kind nor version": ([A.replace("apiVersion: v1\nkind: Config\n", "")], ONE),
    "dashes around it": (["---\n" + A + "---\n"], ONE),
    "a comment before the dashes": (["# mine\n---\n" + A], ONE),
    "a list of contexts that is null": ([A.replace("users:", "others: null\nusers:")], ONE),
    "users are a mapping": (["users: {u: {token: ta}}\n" + A.partition("users:")[0]], None),
    "a token of digits": ([A.replace("token: ta", "token: '0123'")], ("a", "https://a:1", "0123", "")),
    "windows line ends": ([A.replace("\n", "\r\n")], ONE),
    "quotes": ([A.replace("current-context: a", 'current-context: "a"')], ONE),
    "a block": ([A.replace("token: ta", "token: >-\n      ta")], ONE),
    "json": (
        [
            '{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"c","user":"u"}}],"clusters":[{"name":"c","cluster":{"server":"https://a:1"}}],"users":[{"name":"u","user":{"token":"ta"}}]}'
        ],
        ONE,
    ),
}
