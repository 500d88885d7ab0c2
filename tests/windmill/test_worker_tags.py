"""Tags that a workflow's jobs have and no worker listens to, found before the jobs wait for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from f.flexcore.lib.core.errors import Forbidden, NotFound
from f.flexcore.lib.windmill.worker_tags import find_unserved_tags, warn_of_unserved_tags

SCRIPTS = {
    "f/flexcore/ray/train_model": ("ml", "python3"),
    "f/flexcore/pipeline/prepare": (None, "python3"),
    "f/team/clean": ("big", "bun"),
}


class Server:
    """flows: the value of each by its path; served: the tags that have a worker."""

    def __init__(self, flows: dict[str, Any], served: Iterable[str] = ("flow", "python3")) -> None:
        self.flows, self.served = flows, set(served)

    def get(self, path: str, **query: Any) -> Any:
        if path == "scripts/list":
            found = [(name, *of) for name, of in SCRIPTS.items() if name.startswith(query["path_start"])]
            return [{"path": name, "tag": tag, "language": language} for name, tag, language in found]
        try:
            return self.flows[path.removeprefix("flows/get/")]
        except KeyError:
            raise NotFound(path, subject="path", remedy="-") from None

    def served_tags(self, tags: Iterable[str]) -> dict[str, bool]:
        return {tag: tag in self.served for tag in tags}


def flow(*modules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"value": {"modules": [{"id": "a", "value": module} for module in modules]}, **more}


def script(path: str, **more: Any) -> dict[str, Any]:
    return {"type": "script", "path": path, **more}


TRAIN = script("f/flexcore/ray/train_model")
NESTED = {"modules": [{"id": "b", "value": TRAIN}]}


@pytest.mark.parametrize(
    "module",
    [
        TRAIN,
        {"type": "forloopflow", **NESTED},
        {"type": "whileloopflow", **NESTED},
        {"type": "branchone", "branches": [], "default": NESTED["modules"]},
        {"type": "branchone", "branches": [{"expr": "true", **NESTED}], "default": []},
        {"type": "branchall", "branches": [NESTED]},
    ],
    ids=lambda module: str(module["type"]),
)
def test_a_tag_is_found_wherever_its_step_stands(module: dict[str, Any]) -> None:
    assert find_unserved_tags(Server({"f/x/y": flow(module)}), "f/x/y") == {"ml": ["f/flexcore/ray/train_model"]}


def test_failure_module_and_preprocessor_count_too() -> None:
    own = {"failure_module": {"value": TRAIN}, "preprocessor_module": {"value": script("f/team/clean")}}
    found = find_unserved_tags(Server({"f/team/y": {"value": {"modules": [], **own}}}), "f/team/y")
    assert found == {"big": ["f/team/clean"], "ml": ["f/flexcore/ray/train_model"]}


def test_the_flow_has_a_tag_of_its_own_and_so_have_flows_that_it_runs_each_read_once() -> None:
    again = {"type": "flow", "path": "f/x/y"}
    server = Server({"f/x/y": flow({"type": "flow", "path": "f/x/z"}, tag="slow"), "f/x/z": flow(TRAIN, again)})
    found = find_unserved_tags(server, "f/x/y")
    assert found == {"ml": ["f/flexcore/ray/train_model"], "slow": ["f/x/y"]}


def test_a_step_overrides_the_tag_of_its_script_and_inline_code_has_that_of_its_language() -> None:
    steps = [script("f/flexcore/pipeline/prepare", tag_override="gpu"), {"type": "rawscript", "language": "bunnative"}]
    assert find_unserved_tags(Server({"f/x/y": flow(*steps)}), "f/x/y") == {
        "gpu": ["f/flexcore/pipeline/prepare"],
        "nativets": ["f/x/y"],
    }


def test_what_is_known_at_run_time_only_is_not_judged() -> None:
    steps = [script("f/flexcore/ray/train_model", tag_override="gpu-$args[size]"), script("f/elsewhere/unknown")]
    assert find_unserved_tags(Server({"f/x/y": flow(*steps, {"type": "identity"})}), "f/x/y") == {}


def test_the_warning_names_the_tag_who_waits_and_what_to_do() -> None:
    said = warn_of_unserved_tags(Server({"f/x/y": flow(TRAIN)}), "f/x/y")
    assert said == [
        "No worker listens to the tag ml: f/flexcore/ray/train_model will wait. Start a worker with WORKER_TAGS that"
        " hold it, or let `flexcore config apply` add it to a group."
    ]


def test_with_no_worker_for_flows_the_warning_does_not_list_them_all() -> None:
    flows = {f"f/x/{n}": flow({"type": "flow", "path": f"f/x/{n + 1}"}) for n in range(5)} | {"f/x/5": flow()}
    (said,) = warn_of_unserved_tags(Server(flows, served=[]), "f/x/0")
    assert "f/x/0, f/x/1, f/x/2 and 3 more will wait" in said


class Refusing(Server):
    def served_tags(self, tags: Iterable[str]) -> dict[str, bool]:
        raise Forbidden("no", subject="windmill", remedy="-")


def test_a_server_that_does_not_say_warns_of_nothing_and_stops_nothing() -> None:
    assert warn_of_unserved_tags(Refusing({"f/x/y": flow(TRAIN)}), "f/x/y") == []
    assert warn_of_unserved_tags(Server({}), "f/x/missing") == []
