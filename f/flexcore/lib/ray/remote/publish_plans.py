# requirements: flexcore_base
"""How rows get into a table of PostgreSQL, decided before any of them is loaded. Shipped as source.

create   the table does not exist: it is made with the types that the columns had
swap     a copy of the table (LIKE … INCLUDING ALL) is filled beside it and takes its name; readers wait for the
         moment of the swap alone
refill   TRUNCATE and INSERT, where others depend on the table itself: views, triggers, policies, sequences,
         partitions, publications; readers wait until the rows are in
append   INSERT
merge    INSERT … ON CONFLICT (key) DO UPDATE
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from f.flexcore.lib.ray.remote import load_plans, postgres, shared_storage, table_catalog

# What a copy of a table by LIKE would lack, or what holds on to the table itself. Each query answers with names.
DEPENDENTS = {
    "the view {}": """
SELECT DISTINCT v.oid::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class WHERE d.refobjid = {oid} AND d.classid = 'pg_rewrite'::regclass AND v.oid <> {oid}
""",
    "the trigger {}": "SELECT tgname::text FROM pg_trigger WHERE tgrelid = {oid} AND NOT tgisinternal",
    "the policy {}": "SELECT polname::text FROM pg_policy WHERE polrelid = {oid}",
    "the rule {}": "SELECT rulename::text FROM pg_rewrite WHERE ev_class = {oid}",
    "the foreign key {}": "SELECT conname::text FROM pg_constraint WHERE conrelid = {oid} AND contype = 'f'",
    "the parent or partition {}": """
SELECT CASE WHEN inhrelid = {oid} THEN inhparent ELSE inhrelid END::regclass::text FROM pg_inherits
WHERE inhrelid = {oid} OR inhparent = {oid}
""",
    "the publication {}": """
SELECT pubname::text FROM pg_publication_tables p JOIN pg_class c ON c.relname = p.tablename
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname WHERE c.oid = {oid}
""",
    "the sequence {}": """
SELECT s.oid::regclass::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
WHERE d.refobjid = {oid} AND d.deptype IN ('a', 'i')
""",
    "the rights on the column {}": """
SELECT attname::text FROM pg_attribute WHERE attrelid = {oid} AND attacl IS NOT NULL
""",
    "the setting {}": """
SELECT unnest(reloptions || CASE WHEN relpersistence <> 'p' THEN '{{unlogged}}' ELSE '{{}}'::text[] END
              || CASE WHEN relreplident <> 'd' THEN '{{replica identity}}' ELSE '{{}}'::text[] END
              || CASE WHEN relrowsecurity THEN '{{row security}}' ELSE '{{}}'::text[] END)
FROM pg_class WHERE oid = {oid}
""",
    "the owner {}": """
SELECT relowner::regrole::text FROM pg_class WHERE oid = {oid} AND NOT pg_has_role(relowner, 'MEMBER')
""",
}
REFERRERS = (
    "SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = {oid} AND contype = 'f' AND conrelid <> {oid}"
)
UNIQUE_KEYS = """
SELECT (SELECT array_to_json(array_agg(a.attname::text ORDER BY a.attname)) FROM pg_attribute a
        WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))::text
FROM pg_index i WHERE i.indrelid = {oid} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
"""


@dataclass(frozen=True)
class Publication:
    """How the rows get into the target, and why so."""

    how: str
    schema: str
    name: str
    plans: tuple[load_plans.LoadPlan, ...]
    reasons: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    target: table_catalog.Table | None = None

    @property
    def quoted(self) -> str:
        return postgres.quote_name(self.schema, self.name)

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"


def plan_publication(
    ask: table_catalog.Ask, name: str, write: str, keys: Sequence[str], plans: Sequence[load_plans.LoadPlan]
) -> Publication:
    """Raises Problem for a target that cannot take the rows, before any of them is loaded."""
    if not table_catalog.exists(ask, name):
        schema, table = table_catalog.split_name(name)
        if write == "merge":
            missing = [key for key in keys if key not in {plan.name for plan in plans}]
            if missing:
                raise key_problem(f"the data has no column {missing[0]}")
        return Publication("create", schema, table, tuple(created_types(ask, plans)), keys=tuple(keys))
    target = table_catalog.describe_table(ask, name)
    if target.kind not in (table_catalog.TABLE, table_catalog.PARTITIONED):
        raise shared_storage.Problem(
            "InvalidInput",
            f"table: {target.label} is a {table_catalog.KIND_NAMES[target.kind]}, which takes no rows",
            "table",
            "Name a table.",
        )
    fitted = fit_columns(target, plans)
    publication = Publication(write, target.schema, target.name, tuple(fitted), target=target)
    if write == "append":
        return publication
    if write == "merge":
        check_keys(ask, target, keys, plans)
        return replace(publication, keys=tuple(keys))
    return choose_replacement(ask, target, publication)


def choose_replacement(ask: table_catalog.Ask, target: table_catalog.Table, publication: Publication) -> Publication:
    """Whether a copy can take the table's place, or the table itself must be filled anew."""
    referrers = [row[0] for row in ask(REFERRERS.format(oid=target.oid))]
    if referrers:
        raise shared_storage.Problem(
            "Conflict",
            f"{target.label} cannot be replaced: {', '.join(referrers[:5])} refer to its rows by foreign keys",
            "write",
            "Use merge, which keeps the rows that they refer to.",
        )
    reasons = [what.format(name) for what, query in DEPENDENTS.items() for (name,) in ask(query.format(oid=target.oid))]
    if target.kind == table_catalog.PARTITIONED:
        reasons.insert(0, "its partitions")
    return replace(publication, how="refill" if reasons else "swap", reasons=tuple(reasons))


def created_types(ask: table_catalog.Ask, plans: Sequence[load_plans.LoadPlan]) -> list[load_plans.LoadPlan]:
    """With the types that the columns had where they come from, as far as this database knows them."""
    made = []
    for plan in plans:
        known = ask(
            f"SELECT t.typname::text FROM pg_type t WHERE t.oid = to_regtype({postgres.quote_text(plan.created)})"
        )
        created = plan.created if known else "numeric" if plan.staged == "numeric" else plan.staged
        made.append(replace(plan, created=created, target=created, base=known[0][0] if known else plan.staged))
    return made


def fit_columns(target: table_catalog.Table, plans: Sequence[load_plans.LoadPlan]) -> list[load_plans.LoadPlan]:
    """The plans with the target's types. Raises Problem for columns that it does not have, or that it must be given."""
    columns = {column.name: column for column in target.columns}
    unknown = [plan.name for plan in plans if plan.name not in columns]
    if unknown:
        raise shared_storage.Problem(
            "InvalidInput",
            f"{target.label} has no column {unknown[0]}{table_catalog.suggest(unknown[0], list(columns))}"
            + (f" (nor {', '.join(unknown[1:6])})" if unknown[1:] else ""),
            "columns",
            "Add the column to the table, or leave it out by columns.",
        )
    generated = [plan.name for plan in plans if columns[plan.name].origin == "s"]
    if generated:
        raise shared_storage.Problem(
            "InvalidInput",
            f"{target.label} computes its column {generated[0]} itself",
            "columns",
            "Leave it out by columns.",
        )
    return [replace(plan, target=columns[plan.name].pg_type, base=columns[plan.name].base) for plan in plans]


def check_keys(
    ask: table_catalog.Ask, target: table_catalog.Table, keys: Sequence[str], plans: Sequence[load_plans.LoadPlan]
) -> None:
    known = {plan.name for plan in plans}
    missing = [key for key in keys if key not in known]
    if missing:
        raise key_problem(f"the data has no column {missing[0]}")
    unique = [json.loads(row[0]) for row in ask(UNIQUE_KEYS.format(oid=target.oid)) if row[0]]
    if sorted(keys) not in [sorted(item) for item in unique]:
        raise key_problem(f"{target.label} has no unique index on ({', '.join(keys)}), which tells rows apart")


def key_problem(what: str) -> shared_storage.Problem:
    return shared_storage.Problem(
        "InvalidInput", f"key_columns: {what}", "key_columns", "Correct key_columns, or create the unique index."
    )
