# requirements: flexcore_kubernetes
"""All that an engineer needs to understand one execution, in one ZIP file without secrets."""

from typing import Any

from f.flexcore.lib.dashboard import bundle_file, shapes


def main(execution: str) -> dict[str, Any]:
    found = bundle_file.make_debug_bundle(execution)
    print(f"{found['file_name']} {found['uri'] or 'is in the result'}")
    return found | {"wm_labels": [shapes.LABEL]}
