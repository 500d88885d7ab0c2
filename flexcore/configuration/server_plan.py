"""What a workspace and its server lack of the configuration, and what they have of an earlier one: secrets, settings,
the workers' tags, how long jobs stay.

Each is read first and changed only where it differs, so that a second `apply` finds nothing. Values are never shown.
What nobody can see by itself (a field of the settings, a tag, a number) goes again only when MEMORY says that it was
made here; a variable, a resource or a schedule says it in its description.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from f.flexcore.lib.core.errors import Forbidden, NotFound
from flexcore.client.windmill import Windmill
from flexcore.configuration.files import Configuration
from flexcore.configuration.plan import FOLDER, SETTINGS, Plan, is_ours

# What the workers of a new group listen to beside our tags: Windmill's own defaults.
USUAL_TAGS = ["deno", "python3", "go", "bash", "powershell", "dependency", "flow", "hub", "other", "bun"]
DAY_S = 24 * 3600
CUSTOM_TAGS, RETENTION = "settings/global/custom_tags", "settings/global/retention_period_secs"
# A secret variable, though it holds no secret: `wmill sync` neither pulls nor deletes those.
MEMORY = f"{FOLDER}/config_applied"
ABOUT_MEMORY = "What `flexcore config apply` made here, so that it can remove it again."
ABOUT_SECRET = "From the environment, by `flexcore config apply`."


@dataclass(frozen=True, slots=True)
class ServerChange:
    """what: for people, without any value. made: for the memory, once it is done; None forgets a key."""

    what: str
    make: Callable[[], Any]
    made: dict[str, Any] = field(default_factory=dict)


class Memory:
    """What earlier applies made in this workspace: `settings` (places in the resource), `created` (the resource
    itself), `group:NAME` and `custom_tags` (tags), `retention` ([what it was before, what it was set to])."""

    def __init__(self, client: Windmill) -> None:
        self._client = client
        try:
            self.made: dict[str, Any] = json.loads(client.get(f"variables/get_value/{MEMORY}"))
            self._exists = True
        except NotFound:
            self.made, self._exists = {}, False
        except ValueError:
            self.made, self._exists = {}, True

    def note(self, made: dict[str, Any]) -> None:
        self.made = {name: item for name, item in {**self.made, **made}.items() if item not in (None, [])}
        body = {"value": json.dumps(self.made), "is_secret": True, "description": ABOUT_MEMORY}
        if self._exists and not self.made:
            self._client.delete(f"variables/delete/{MEMORY}")
            self._exists = False
        elif self._exists:
            self._client.post(f"variables/update/{MEMORY}", body)
        elif self.made:
            self._client.post("variables/create", body | {"path": MEMORY})
            self._exists = True


def make(client: Windmill, changes: list[ServerChange], say: Callable[[str], None]) -> None:
    """One after the other; what was made is remembered at once, for whatever comes next may fail."""
    memory = Memory(client)
    for change in changes:
        change.make()
        if change.made:
            memory.note(change.made)
        say(f"done: {change.what}")


def server_changes(client: Windmill, configuration: Configuration, plan: Plan, embedded: bool) -> list[ServerChange]:
    """Raises FlexcoreError when the server cannot be asked. The embedded engine has no workers to set up, and reads
    resources from their files."""
    made = Memory(client).made
    found = [change for path, value in plan.secrets.items() for change in _secret(client, path, value)]
    found += _settings(client, plan.settings, made)
    if not embedded:
        found += [change for path in plan.gone for change in _gone(client, path)]
    found += _stale_secrets(client, plan)
    if not embedded:
        found += [*_workers(client, configuration, made), *_retention(client, configuration, made)]
    return found


def _secret(client: Windmill, path: str, value: str) -> list[ServerChange]:
    body = {"value": value, "is_secret": True, "description": ABOUT_SECRET}
    try:
        now = client.get(f"variables/get_value/{path}")
    except NotFound:
        return [
            ServerChange(
                f"create secret variable {path}", lambda: client.post("variables/create", body | {"path": path})
            )
        ]
    return (
        []
        if now == value
        else [ServerChange(f"update secret variable {path}", lambda: client.post(f"variables/update/{path}", body))]
    )


def _stale_secrets(client: Windmill, plan: Plan) -> Iterator[ServerChange]:
    for item in client.list_all("variables/list", path_start=f"{FOLDER}/"):
        path = item["path"]
        if item.get("description") == ABOUT_SECRET and path.startswith(f"{FOLDER}/") and path not in plan.secrets:
            yield ServerChange(f"delete secret variable {path}", partial(_delete, client, "variables", path))


def _gone(client: Windmill, file: str) -> Iterator[ServerChange]:
    path, kind = file.removesuffix(".yaml").rsplit(".", 1)
    try:
        now = client.get(f"{kind}s/get/{path}")
    except NotFound:
        return
    if is_ours(now.get("description")):
        yield ServerChange(f"delete {kind} {path}", partial(_delete, client, f"{kind}s", path))


def _delete(client: Windmill, kind: str, path: str) -> None:
    client.delete(f"{kind}/delete/{path}")


# The settings resource


def _settings(client: Windmill, wanted: dict[str, Any], made: dict[str, Any]) -> list[ServerChange]:
    """Fields that the configuration never had stay as they are."""
    try:
        now = client.get(f"resources/get/{SETTINGS}")["value"] or {}
        exists = True
    except NotFound:
        now, exists = {}, False
    ours = list(made.get("settings", ()))
    value = deepcopy(now)
    gone = [place for place in ours if place not in wanted and _drop(value, place)]
    changed = [place for place, item in wanted.items() if _put(value, place, item)]
    kept = [place for place in ours if place in wanted]
    if not gone and not changed:
        return []
    body = {
        "path": SETTINGS,
        "value": value,
        "resource_type": "c_flexcore_settings",
        "description": "From windmill.yaml and flexcore.yaml, by `flexcore config apply`.",
    }
    if not value and made.get("created"):
        forget = {"settings": None, "created": None}
        return [ServerChange(f"delete resource {SETTINGS}", partial(_delete, client, "resources", SETTINGS), forget)]
    what = ", ".join([*changed, *(f"without {place}" for place in gone)])
    return [
        ServerChange(
            f"{'update' if exists else 'create'} resource {SETTINGS}: {what}",
            lambda: client.post("resources/create", body, update_if_exists="true"),
            {"settings": list(dict.fromkeys([*kept, *changed])), "created": made.get("created") or not exists or None},
        )
    ]


def _put(value: dict[str, Any], place: str, item: Any) -> bool:
    """Whether the value had to be changed."""
    name, _, listed = place.removesuffix("]").partition("[")
    if listed:
        items = value.setdefault(name, [])
        if item in items:
            return False
        items.append(item)
        return True
    *folders, last = place.split(".")
    for folder in folders:
        value = value.setdefault(folder, {})
    changed = last not in value or value[last] != item
    value[last] = item
    return changed


def _drop(value: dict[str, Any], place: str) -> bool:
    """Whether it was there; what it leaves empty goes with it."""
    name, _, listed = place.removesuffix("]").partition("[")
    if listed:
        items = value.get(name) or []
        there = listed in items
        if there:
            items.remove(listed)
            if not items:
                del value[name]
        return there
    first, _, rest = place.partition(".")
    if first not in value:
        return False
    if not rest:
        del value[first]
        return True
    there = isinstance(value[first], dict) and _drop(value[first], rest)
    if there and not value[first]:
        del value[first]
    return there


# The instance


def _workers(client: Windmill, configuration: Configuration, made: dict[str, Any]) -> Iterator[ServerChange]:
    """Tags are added to those that are there, and ours alone go."""
    given = "windmill.yaml" in configuration.given
    tags, group = configuration.windmill.workers.tags if given else [], configuration.flexcore.worker_group
    before = f"group:{group}"
    if tags or made.get("custom_tags"):
        custom = client.ask("GET", CUSTOM_TAGS) or []
        ours = made.get("custom_tags", [])
        after, said = _tags(custom, tags, ours)
        if after != custom:
            yield ServerChange(
                f"custom tags of the instance: {said}",
                lambda: _as_superadmin(client, CUSTOM_TAGS, {"value": after}),
                {"custom_tags": [tag for tag in after if tag in tags and (tag in ours or tag not in custom)]},
            )
    for key in dict.fromkeys([before, *(name for name in made if name.startswith("group:"))]):
        wanted = tags if key == before else []
        if wanted or key in made:
            yield from _group(client, key.removeprefix("group:"), wanted, made.get(key, []))


def _group(client: Windmill, group: str, wanted: list[str], ours: list[str]) -> Iterator[ServerChange]:
    config = client.ask("GET", f"configs/get/worker__{group}") or {}
    listens = config.get("worker_tags") or USUAL_TAGS
    # A deployment whose workers are divided by tag, as resources/deploy has them, stays divided.
    served = client.served_tags(wanted) if wanted else {}
    wanted = [tag for tag in wanted if tag in listens or not served.get(tag)]
    after, said = _tags(listens, wanted, ours, verbs=("listen to", "no longer listen to"))
    if after != listens:
        yield ServerChange(
            f"worker group {group}: {said}",
            lambda: _as_superadmin(client, f"configs/update/worker__{group}", config | {"worker_tags": after}),
            {f"group:{group}": [tag for tag in after if tag in wanted and (tag in ours or tag not in listens)]},
        )


def _tags(
    now: list[str], wanted: list[str], ours: list[str], verbs: tuple[str, str] = ("add", "remove")
) -> tuple[list[str], str]:
    """The tags afterwards, and what changes in words."""
    new = [tag for tag in wanted if tag not in now]
    old = [tag for tag in ours if tag in now and tag not in wanted]
    said = [f"{verb} {', '.join(tags)}" for verb, tags in zip(verbs, (new, old), strict=True) if tags]
    return [*(tag for tag in now if tag not in old), *new], "; ".join(said)


def _retention(client: Windmill, configuration: Configuration, made: dict[str, Any]) -> Iterator[ServerChange]:
    days, memory = configuration.windmill.observability.retention_days, made.get("retention")
    if days is None and memory is None:
        return
    now = client.ask("GET", RETENTION)
    if days is not None and now != days * DAY_S:
        before = memory[0] if memory else now
        yield ServerChange(
            f"keep finished jobs for {days} days",
            lambda: _as_superadmin(client, RETENTION, {"value": days * DAY_S}),
            {"retention": [before, days * DAY_S]},
        )
    if days is None and memory and now == memory[1]:
        yield ServerChange(
            "keep finished jobs as long as before",
            lambda: _as_superadmin(client, RETENTION, {"value": memory[0]}),
            {"retention": None},
        )


def _as_superadmin(client: Windmill, path: str, body: Any) -> None:
    try:
        client.ask("POST", path, body)
    except Forbidden as error:
        raise Forbidden(
            f"The settings of the instance are its superadmin's to change ({error})",
            subject="token",
            remedy="Apply once with the token of a superadmin; the files of the bundle were not changed.",
        ) from None
