# requirements: flexcore_base
"""Last step of the weekly report: sends it once, and shows it; a repeat sends nothing again."""

import os
from typing import Any

from f.flexcore.lib.operations import report_delivery
from f.flexcore.lib.views import weekly_pages

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    report: dict,
    notify: c_flexcore_notifications | None = None,
    settings: c_flexcore_settings | None = None,
    send_again: bool = False,
) -> dict[str, Any]:
    state = report_delivery.send_report(report, notify, settings, os.environ, send_again is True)
    print(report_delivery.NOTES[state])
    result = {**report, "success": True, "delivery": state}
    return weekly_pages.show(result, report_delivery.NOTES[state], os.environ)
