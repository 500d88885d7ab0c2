"""How a bundle's files are named, and how one file names another."""

from __future__ import annotations

# Before the name of a file whose text stands for the value.
INLINE = "!inline "
# Extensions of the languages that Windmill knows; `.py` is the one we run, the others are refused by name.
LANGUAGES = {
    ".py": "python3",
    ".ts": "bun",
    ".bun.ts": "bun",
    ".deno.ts": "deno",
    ".fetch.ts": "nativets",
    ".go": "go",
    ".sh": "bash",
    ".ps1": "powershell",
    ".pg.sql": "postgresql",
    ".my.sql": "mysql",
    ".bq.sql": "bigquery",
    ".sf.sql": "snowflake",
    ".ms.sql": "mssql",
    ".odb.sql": "oracledb",
    ".duckdb.sql": "duckdb",
    ".gql": "graphql",
    ".php": "php",
    ".rs": "rust",
    ".playbook.yml": "ansible",
    ".cs": "csharp",
    ".nu": "nu",
    ".java": "java",
    ".rb": "ruby",
    ".r": "rlang",
}
