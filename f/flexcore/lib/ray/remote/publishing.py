# requirements: flexcore_base
"""Puts the rows of a staging table into the target, in one transaction, as publish_plans decided. Shipped as source.

The same transaction writes a row of `flexcore_copies` under the execution's key: an attempt that was killed after the
commit is known by it, and of two that publish at once the second one finds the first one's row.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import load_plans, postgres, publish_plans, shared_storage, staging, table_catalog

Json = dict[str, Any]
LEDGER, LEDGER_KEEP = "flexcore_copies", "30 days"
SWAP_LOCK_TIMEOUT = "30s"
INDEXES = """
SELECT c.relname::text, regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX .* ON .* USING', 'INDEX ON USING')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {oid} ORDER BY 2, 1
"""
GRANTS = """
SELECT a.privilege_type::text, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = {oid}
"""


def find_published(session: postgres.Session, schema: str, key: str) -> Json | None:
    """{rows, row_hash} of what this execution has published already."""
    if not session.value(f"SELECT to_regclass({postgres.quote_text(postgres.quote_name(schema, LEDGER))}) IS NOT NULL"):
        return None
    ledger = postgres.quote_name(schema, LEDGER)
    rows = session.rows(f"SELECT rows, row_hash, how FROM {ledger} WHERE key = {postgres.quote_text(key)}")
    return {"rows": rows[0][0], "row_hash": rows[0][1], "publish": rows[0][2]} if rows else None


def prepare_ledger(session: postgres.Session, schema: str) -> None:
    ledger = postgres.quote_name(schema, LEDGER)
    session.run(
        f"CREATE TABLE IF NOT EXISTS {ledger} (key text PRIMARY KEY, target text NOT NULL, how text NOT NULL, "
        "rows int8 NOT NULL, row_hash text NOT NULL, published_at timestamptz NOT NULL DEFAULT now())"
    )


def check_narrowing(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    """Raises Problem that names each column of which the target's type would cut or round a value."""
    changed = [
        plan for plan in publication.plans if plan.staged != "text" and plan.target and plan.target != plan.staged
    ]
    changed += [plan for plan in publication.plans if plan.staged == "text" and plan.base in load_plans.TEXT_TYPES[1:3]]
    if not changed:
        return
    counts = ", ".join(
        f"count(*) FILTER (WHERE {postgres.quote_name(plan.name)}::{plan.target}::{plan.staged} "
        f"IS DISTINCT FROM {postgres.quote_name(plan.name)})"
        for plan in changed
    )
    (row,) = session.rows(f"SELECT {counts} FROM {stage.table}")
    problems = [
        f"{plan.name} ({plan.target}) in {count} rows" for plan, count in zip(changed, row, strict=True) if count
    ]
    if problems:
        raise shared_storage.Problem(
            "DataError",
            f"{publication.label} cannot hold the values exactly: {'; '.join(problems)}",
            "table",
            "Widen the type of the column, or leave it out by columns.",
        )


def publish(
    session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication, key: str, row_hash: str
) -> Json:
    """{rows, publish}: what was written. All of it or nothing; the staging table goes with it."""
    check_narrowing(session, stage, publication)
    prepare_ledger(session, publication.schema)
    ledger = postgres.quote_name(publication.schema, LEDGER)
    with session.transaction():
        session.run(f"SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'")
        rows = int(session.value(f"SELECT count(*) FROM {stage.table}"))
        session.run(
            f"INSERT INTO {ledger} (key, target, how, rows, row_hash) VALUES ({postgres.quote_text(key)}, "
            f"{postgres.quote_text(publication.label)}, {postgres.quote_text(publication.how)}, {rows}, "
            f"{postgres.quote_text(row_hash)})"
        )
        session.run(f"DELETE FROM {ledger} WHERE published_at < now() - interval '{LEDGER_KEEP}'")
        WRITERS[publication.how](session, stage, publication)
        session.run(f"DROP TABLE {stage.table}, {stage.parts}")
    return {"rows": rows, "publish": publication.how}


def insert_into(quoted: str, publication: publish_plans.Publication, stage: staging.Staging, ending: str = "") -> str:
    names = ", ".join(postgres.quote_name(plan.name) for plan in publication.plans)
    values = ", ".join(plan.value for plan in publication.plans)
    # A column that numbers its rows takes the numbers that they have.
    return f"INSERT INTO {quoted} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage.table}{ending}"


def create(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    columns = ", ".join(f"{postgres.quote_name(plan.name)} {plan.created}" for plan in publication.plans)
    if publication.keys:
        columns += f", PRIMARY KEY ({', '.join(map(postgres.quote_name, publication.keys))})"
    session.run(f"CREATE TABLE {publication.quoted} ({columns})")
    if publication.keys:
        merge(session, stage, publication)
    else:
        session.run(insert_into(publication.quoted, publication, stage))


def append(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    session.run(insert_into(publication.quoted, publication, stage))


def merge(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    """Of several rows of one key the one that was read last counts, which an extraction with an overlap may bring."""
    keys = ", ".join(map(postgres.quote_name, publication.keys))
    empty = " OR ".join(f"{postgres.quote_name(key)} IS NULL" for key in publication.keys)
    without = int(session.value(f"SELECT count(*) FROM {stage.table} WHERE {empty}"))
    if without:
        raise shared_storage.Problem(
            "DataError",
            f"{without} rows have no value in ({', '.join(publication.keys)}), by which they are told apart",
            "key_columns",
            "Choose columns that are never null, or leave those rows out.",
        )
    others = [plan for plan in publication.plans if plan.name not in publication.keys]
    updates = ", ".join(
        f"{postgres.quote_name(plan.name)} = EXCLUDED.{postgres.quote_name(plan.name)}" for plan in others
    )
    names = ", ".join(postgres.quote_name(plan.name) for plan in publication.plans)
    values = ", ".join(f"{plan.value} AS {postgres.quote_name(plan.name)}" for plan in publication.plans)
    session.run(
        f"INSERT INTO {publication.quoted} ({names}) OVERRIDING SYSTEM VALUE "
        f"SELECT {names} FROM (SELECT DISTINCT ON ({keys}) {values} FROM {stage.table} ORDER BY {keys}, ctid DESC) "
        f"AS rows ON CONFLICT ({keys}) DO {f'UPDATE SET {updates}' if updates else 'NOTHING'}"
    )


def refill(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    session.run(f"TRUNCATE {publication.quoted}")
    session.run(insert_into(publication.quoted, publication, stage))


def swap(session: postgres.Session, stage: staging.Staging, publication: publish_plans.Publication) -> None:
    """Fills a copy of the table, and only then keeps everybody from the table itself."""
    target = publication.target
    assert target is not None
    fresh = postgres.quote_name(publication.schema, f"flexcore_new_{stage.key}")
    session.run(f"CREATE TABLE {fresh} (LIKE {publication.quoted} INCLUDING ALL)")
    session.run(insert_into(fresh, publication, stage))
    session.run(f"LOCK TABLE {publication.quoted} IN ACCESS EXCLUSIVE MODE")
    # Since the plan was made somebody may have come to depend on it.
    again = publish_plans.choose_replacement(
        session.rows, table_catalog.describe_table(session.rows, publication.label), publication
    )
    if again.how != "swap":
        raise shared_storage.Problem(
            "Unavailable",
            f"{publication.label} has changed while the data was loaded: {', '.join(again.reasons)} depends on it now",
            "table",
            "Run again.",
        )
    ((oid,),) = session.rows(f"SELECT {postgres.quote_text(fresh)}::regclass::oid::int8")
    names = [(row[0], row[1]) for row in session.rows(INDEXES.format(oid=target.oid))]
    fresh_names = [(row[0], row[1]) for row in session.rows(INDEXES.format(oid=oid))]
    carry_over(session, target, fresh)
    session.run(f"DROP TABLE {publication.quoted}")
    session.run(f"ALTER TABLE {fresh} RENAME TO {postgres.quote_name(publication.name)}")
    for (old, _), (new, _) in zip(names, fresh_names, strict=True):
        quoted = postgres.quote_name(publication.schema, new)
        session.run(f"ALTER INDEX {quoted} RENAME TO {postgres.quote_name(old)}")


def carry_over(session: postgres.Session, target: table_catalog.Table, fresh: str) -> None:
    """Owner, rights and comment, which LIKE leaves out."""
    owner = session.value(f"SELECT relowner::regrole::text FROM pg_class WHERE oid = {target.oid}")
    session.run(f"ALTER TABLE {fresh} OWNER TO {owner}")
    for privilege, grantee, is_grantable in session.rows(GRANTS.format(oid=target.oid)):
        ending = " WITH GRANT OPTION" if is_grantable else ""
        session.run(f"GRANT {privilege} ON {fresh} TO {grantee}{ending}")
    comment = session.value(f"SELECT obj_description({target.oid}, 'pg_class')")
    if comment:
        session.run(f"COMMENT ON TABLE {fresh} IS {postgres.quote_text(comment)}")


WRITERS = {"create": create, "append": append, "merge": merge, "refill": refill, "swap": swap}
