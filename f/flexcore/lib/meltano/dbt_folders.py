# requirements: flexcore_base
"""Where a project keeps its dbt projects. Imports nothing heavy: a form's select waits for it."""

from __future__ import annotations

from pathlib import Path

PROJECT_FILE = "dbt_project.yml"
DEEPEST = 3
# Where people keep the models of a Meltano project; dbt's packages hold projects of their own.
SKIPPED = {"dbt_packages", "dbt_modules", ".meltano", "node_modules", ".venv", "target"}


def find_folders(root: Path) -> list[str]:
    """Folders below the root that hold a dbt project, as relative paths."""
    found = []
    for path in sorted(root.glob(f"**/{PROJECT_FILE}")):
        parts = path.relative_to(root).parts[:-1]
        if len(parts) <= DEEPEST and not SKIPPED.intersection(parts):
            found.append("/".join(parts) or ".")
    return found
