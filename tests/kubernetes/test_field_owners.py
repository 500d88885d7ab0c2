"""Who holds which field, as data: no server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.kubernetes_api import field_owners

Fields = dict[str, Any]


def entry(operation: str, fields: Fields, manager: str = "flexcore", **more: str) -> Fields:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


@pytest.mark.parametrize(
    ("first", "second", "union"),
    [
        ({"f:a": {}}, {"f:b": {}}, {"f:a": {}, "f:b": {}}),
        ({"f:a": {"f:x": {}}}, {"f:a": {"f:y": {}}}, {"f:a": {"f:x": {}, "f:y": {}}}),
        ({"f:a": {}}, {"f:a": {"f:x": {}}}, {"f:a": {".": {}, "f:x": {}}}),
        ({"f:a": {".": {}, "f:x": {}}}, {"f:a": {"f:x": {}}}, {"f:a": {".": {}, "f:x": {}}}),
        ({}, {}, {}),
    ],
)
def test_the_union_of_two_sets_of_fields_has_every_field_of_both(first: Fields, second: Fields, union: Fields) -> None:
    assert field_owners.merge_fields(first, second) == union
    assert field_owners.merge_fields(second, first) == union


def test_all_that_we_have_put_there_is_held_by_one_apply_and_others_are_left_alone() -> None:
    theirs = entry("Update", {"f:status": {"f:x": {}}}, "kube-controller-manager", subresource="status")
    scaled = entry("Update", {"f:spec": {"f:replicas": {}}}, subresource="scale")
    given = [entry("Update", {"f:spec": {"f:a": {}}}), theirs, entry("Apply", {"f:spec": {"f:b": {}}}), scaled]
    moved = field_owners.migrate(given)
    assert moved == [entry("Apply", {"f:spec": {"f:a": {}, "f:b": {}}}), theirs, scaled]
    assert field_owners.migrate(moved) == moved, "a second time changes nothing"
    assert given[0]["operation"] == "Update", "and what was given is not changed"


def test_a_released_field_is_held_no_longer_and_an_entry_that_holds_nothing_goes() -> None:
    held = entry("Apply", {"f:spec": {"f:replicas": {}, "f:a": {}}})
    assert field_owners.migrate([held], [field_owners.REPLICAS]) == [entry("Apply", {"f:spec": {"f:a": {}}})]
    alone = entry("Apply", {"f:spec": {"f:replicas": {}}})
    assert field_owners.migrate([alone], [field_owners.REPLICAS]) == []


ITEM: Fields = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"ours": "1", "theirs": "2"}},
    "spec": {
        "replicas": 3,
        "containers": [
            {"name": "x", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "sidecar", "image": "j"},
        ],
    },
    "status": {"replicas": 3},
}


def test_what_we_hold_can_be_applied_again_and_nothing_of_others_with_it() -> None:
    container: dict[str, Any] = {
        ".": {},
        "f:name": {},
        "f:image": {},
        "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
    }
    fields = {
        "f:metadata": {"f:labels": {".": {}, "f:ours": {}}},
        "f:spec": {"f:containers": {'k:{"name":"x"}': container}},
    }
    item = {**ITEM, "metadata": {**ITEM["metadata"], "managedFields": [entry("Apply", fields)]}}
    assert field_owners.extract_applied(item) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "n", "labels": {"ours": "1"}},
        "spec": {"containers": [{"name": "x", "image": "i", "env": [{"name": "A", "value": "1"}]}]},
    }


def test_an_item_that_is_only_held_as_such_keeps_its_key_alone() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:containers": {'k:{"name":"x"}': {".": {}}}}}
    item = {**ITEM, "metadata": {**ITEM["metadata"], "managedFields": [entry("Apply", fields)]}}
    assert field_owners.extract_applied(item)["spec"] == {"containers": [{"name": "x"}]}


@pytest.mark.parametrize(
    ("message", "manager"),
    [
        ('conflict with "kubectl-edit" using apps/v1', "kubectl-edit"),
        ('conflict with "kubectl" with subresource "scale" using apps/v1', "kubectl, by scale"),
        ("words of a later version", "words of a later version"),
    ],
)
def test_a_conflict_is_read_from_the_servers_words(message: str, manager: str) -> None:
    cause = {"reason": "FieldManagerConflict", "message": message, "field": ".spec.replicas"}
    (conflict,) = field_owners.parse_conflicts({"details": {"causes": [cause]}})
    assert (conflict.field, conflict.manager) == (".spec.replicas", manager)
    assert field_owners.parse_conflicts({"details": {"causes": [{"reason": "FieldValueInvalid"}]}}) == []
