"""Selections held against catalogs and capabilities."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.meltano.remote.observer import Observer
from f.flexcore.lib.meltano.remote.selection import Pattern, escape_stream, find_problems, list_unselected
from f.flexcore.lib.meltano.run_command import requested_patterns


def catalog(**streams: list[str]) -> dict[str, Any]:
    return {
        "streams": [
            {"tap_stream_id": name, "schema": {"properties": {item: {"type": "string"} for item in columns}}}
            for name, columns in streams.items()
        ]
    }


NESTED = {"type": "object", "properties": {"city": {}, "zip": {}}}
CATALOG: dict[str, Any] = catalog(
    orders=["id", "email"], people=["name"], **{"sales.orders": ["id"], "public-users": ["id"], "a[1]": ["id"]}
)
CATALOG["streams"].append(
    {
        "tap_stream_id": "Accounts",
        "schema": {"properties": {"address": NESTED, "full name": {}}},
        "metadata": [{"breadcrumb": ["properties", "full name"], "metadata": {}}],
    }
)


def problems(select: list[str], **extras: Any) -> list[tuple[str, str]]:
    given = {"_select": select, **extras}
    found = find_problems("tap-a", given, ["catalog", "discover"], CATALOG)
    return [(item.problem, item.remedy) for item in found]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.*",
        "*",
        "orders.*",
        "orders",
        "o*.em*",
        r"sales\.orders.*",
        "sales?orders.id",
        "a[[]1].*",
        "Accounts.address.city",
        "Accounts.address.*",
        "Accounts.address",
        "Accounts.full name",
        "public-users.id",
    ],
)
def test_a_pattern_that_chooses_something_is_not_a_problem(pattern: str) -> None:
    assert problems([pattern]) == problems(["*.*", f"!{pattern}"]) == []


@pytest.mark.parametrize(
    ("pattern", "spelling"),
    [
        ("ordres.*", "orders.*"),
        ("Orders.email", "orders.email"),
        ("accounts.*", "Accounts.*"),
        ("orders.emial", "orders.email"),
        ("sales.orders.*", r"sales\\.orders.*"),
        ("sales.orders", r"sales\\.orders"),
        ("sales.orders.id", r"sales\\.orders.id"),
        ("public.users", "public-users.*"),
        ("public_users.id", "public-users.id"),
        ("a[1].*", "a[[]1].*"),
        ("Accounts.adress.city", "Accounts.address.city"),
        ("Accounts.address.cty", "Accounts.address.city"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_the_right_spelling(pattern: str, spelling: str) -> None:
    for sign in ("", "!"):
        ((problem, remedy),) = problems(["*.*", sign + pattern])
        assert f"select {sign + pattern!r} matches no" in problem
        assert f"Write '{sign}{spelling}'" in remedy


def test_what_there_is_stands_in_the_problem() -> None:
    ((stream, _), (column, remedy)) = problems(["nothing.*", "orders.zzz"])
    assert "(orders, people, sales.orders, public-users, a[1], Accounts)" in stream
    assert "no column of the stream orders (id, email)" in column and remedy == "Correct it or leave it out."
    many = catalog(**{f"s{number}": ["id"] for number in range(100)})
    (found,) = find_problems("tap-a", {"_select": ["x.*"]}, ["properties"], many)
    assert "s11 and 88 more" in found.problem


def test_only_leaving_out_chooses_nothing() -> None:
    ((problem, remedy),) = problems(["!people.*"])
    assert "only leaves out (!people.*), so nothing is extracted" in problem and "'*.*'" in remedy


@pytest.mark.parametrize(
    ("extras", "said"),
    [
        ({"_metadata": {"order": {"replication-method": "FULL_TABLE"}}}, "metadata 'order' matches no stream"),
        ({"_metadata": {"orders": {"emial": {"selected": False}}}}, "metadata 'orders.emial' matches no column"),
        ({"_metadata": {"sales.orders": {"replication-key": "id"}}}, "metadata 'sales.orders' matches no stream"),
        ({"_schema": {"order": {"id": {"type": "integer"}}}}, "schema 'order' matches no stream"),
        ({"_select_filter": ["ordres"]}, "select_filter 'ordres' matches no stream"),
        ({"_metadata": {"orders": {"replication-key": "id", "id": {"selected": True}}, "*": {"x": 1}}}, ""),
        ({"_schema": {"sales.orders": {"new": {"type": "integer"}}}}, ""),
    ],
)
def test_other_rules_are_held_against_the_catalog_too(extras: dict[str, Any], said: str) -> None:
    found = problems(["*.*"], **extras)
    assert [said in problem for problem, _ in found] == ([True] if said else [])


def test_a_period_in_a_key_of_metadata_is_written_as_a_wildcard() -> None:
    ((_, remedy),) = problems(["*.*"], _metadata={"sales.orders": {"id": {"selected": False}}})
    assert remedy == "Write 'sales?orders.id'."


@pytest.mark.parametrize("capabilities", [[], ["state"], ["discover", "state"]])
@pytest.mark.parametrize(
    ("extras", "names"),
    [
        ({"_select": ["orders.*"]}, "select has"),
        ({"_select": ["*.*"], "_metadata": {"orders": {"a": 1}}}, "metadata has"),
        ({"_select": ["!x"], "_schema": {"orders": {}}}, "select and schema have"),
        ({"_select": ["*.*"]}, ""),
    ],
)
def test_a_tap_without_a_catalog_selects_nothing(capabilities: list[str], extras: dict[str, Any], names: str) -> None:
    found = find_problems("tap-a", extras, capabilities, None)
    assert [f"capabilities lack catalog), so {names} no effect" in item.problem for item in found] == [True] * bool(
        names
    )


def test_a_catalog_of_its_own_knows_no_selection() -> None:
    ((problem, _),) = problems(["orders.*"], _catalog="own.json")
    assert "catalog of its own (own.json), used as it is: select has no effect" in problem
    assert problems(["*.*"], _catalog="own.json") == []


def test_streams_that_a_marked_catalog_leaves_out_are_known() -> None:
    def entry(stream: str, **marks: Any) -> dict[str, Any]:
        return {"stream": stream, "tap_stream_id": stream, "metadata": [{"breadcrumb": [], "metadata": marks}]}

    marked = {
        "streams": [
            entry("a", selected=True),
            entry("b", selected=False),
            entry("c"),
            entry("d", inclusion="automatic"),
            entry("e", **{"selected-by-default": True}),
            {"stream": "f", "tap_stream_id": "f", "selected": True},
            entry("b2", selected=False),
            {**entry("b2", selected=True)},
        ]
    }
    assert list_unselected(marked) == {"b", "c"}
    assert list_unselected(None) == list_unselected({}) == frozenset()


def test_a_pattern_is_taken_apart_as_meltano_does() -> None:
    assert Pattern.parse("!a.b.c") == Pattern("a", "b.c", negated=True)
    assert Pattern.parse(r"a\.b.c") == Pattern("a.b", "c")
    assert Pattern.parse(r"a\.b") == Pattern("a.b", "")
    assert Pattern.parse(escape_stream("a.b*[x]?")).matches_stream("a.b*[x]?")


def test_a_pattern_for_all_taps_must_match_in_one_of_them() -> None:
    env = {"TAP_A__SELECT": '["orders.*", "x.*"]', "TAP_B__SELECT": '["orders.*", "x.*", "people.*"]'}
    asked = requested_patterns(env, ["tap-a", "tap-b", "tap-c"])
    assert asked == {"tap-a": ["orders.*", "x.*"], "tap-b": ["orders.*", "x.*"]}
    assert requested_patterns(env, ["tap-a"]) == {"tap-a": []}

    def failed(observer: Observer, tap: str, select: list[str], streams: dict[str, list[str]]) -> list[str]:
        found = find_problems(tap, {"_select": select}, ["catalog"], catalog(**streams))
        return [item.rule for item in observer.find_failed_rules(tap, found)]

    observer = Observer(asked)
    assert failed(observer, "tap-a", ["orders.*", "x.*"], {"orders": ["id"]}) == []
    assert failed(observer, "tap-b", ["orders.*", "x.*", "people.*"], {"people": ["id"]}) == ["x.*"]
    observer = Observer(asked)
    assert failed(observer, "tap-a", ["orders.*", "x.*"], {"orders": ["id"]}) == []
    assert failed(observer, "tap-b", ["orders.*", "x.*", "people.*"], {"x": ["id"]}) == ["people.*"]
