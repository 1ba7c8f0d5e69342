"""The verb `cache`: what is stored of frozen stages, how much room it takes, and how it is removed."""

# Heavy packages are imported by the verb, so that help is shown at once.
from __future__ import annotations

import json
import time
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.console import print_table


def cache_command(commands: CommandLine) -> Verb:
    """Name, function and help of `cache`."""

    def cache(**options: Any) -> None:
        from graftwork.core.activation_cache.eviction import cache_folder, clear, stores

        folder = cache_folder(options["cache"])
        removed = clear(folder) if options["clear"] else 0
        found = stores(folder)
        if options["json"]:
            print(
                json.dumps(
                    {
                        "folder": str(folder),
                        "removed_bytes": removed,
                        "stores": [
                            {"path": str(one.path), "bytes": one.bytes, "last_used": one.last_used} for one in found
                        ],
                    },
                    indent=2,
                )
            )
            return
        if options["clear"]:
            print(f"{removed / 1e6:,.0f} MB removed from {folder}"
                  + (f"; {len(found)} stores are in use and stay" if found else ""))  # fmt: skip
            return
        print_table(["store", "MB", "last used"], [(one.path.name[:16], f"{one.bytes / 1e6:,.1f}", _ago(one.last_used))
                                                   for one in found])  # fmt: skip
        print(f"{len(found)} stores, {sum(one.bytes for one in found) / 1e6:,.1f} MB: {folder}")

    return (
        "cache",
        o.with_parameters(
            cache,
            o.option("cache", str | None, None, "Folder; by default $GRAFTWORK_CACHE, else the user's cache folder."),
            o.option("clear", bool, False, "Remove all stores but those used within the last ten minutes."),
            o.JSON,
        ),
        "Show what is stored of frozen stages, or remove it. Nothing is lost but the time to compute it again.\n\n"
        f"Example: `graftwork-{commands.domain.name} cache --clear`",
    )


def _ago(seconds: float) -> str:
    passed = max(0.0, time.time() - seconds)
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if passed >= 2 * size:
            return f"{passed / size:.0f} {unit} ago"
    return "just now"
