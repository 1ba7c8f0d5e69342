"""The examples that a run learns from: a manifest read by a backbone's contract, once, with what was left out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from graftwork.core.activation_cache.activations import same_on_all_processes
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import cut_windows
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Rows:
    """examples: as read. watch: what has looked at them meanwhile; None where the domain has nothing that does."""

    examples: Examples
    watch: Watch | None = None

    def seen(self, learnt: Manifest) -> dict[str, Any] | None:
        """What the examples of these rows are like, by which new ones that are unlike them are told; None where nothing
        looked."""
        return None if self.watch is None else self.watch.seen(learnt.examples)


def read_rows(backbone: Backbone, manifest: Manifest, runtime: Runtime, *, skip_unreadable: bool) -> Rows:
    """Reads every example, or its windows where the backbone asks for these.

    skip_unreadable: files that cannot be read are left out, and with them the classes of which nothing is left. Raises
    UnreadableError that lists all others.
    """
    domain = backbone.domain
    watch = None if domain.watch is None else domain.watch(backbone.contract, {}, "flag")
    examples = read_examples(cut_windows(domain, manifest, backbone.contract), watch or backbone.contract,
                             unreadable="skip" if skip_unreadable else "stop", frames=backbone.frames)  # fmt: skip
    examples = replace(examples, contract=backbone.contract)
    examples = same_on_all_processes(_of_classes_with_rows(examples), runtime)
    shared = examples.manifest.shared_content()  # of those that can be read
    if shared:
        log.warning("%d pairs of rows in different parts of the split hold the same file; test numbers may flatter",
                    len(shared))  # fmt: skip
    return Rows(examples, watch)


def _of_classes_with_rows(examples: Examples) -> Examples:
    """The examples without the classes of which every file was left out: nothing can be learnt of them."""
    if not examples.left_out:
        return examples
    manifest, empty = examples.manifest.without_empty_classes()
    if empty:
        log.warning("no file of %s can be read: the run learns %d classes, not %d", ", ".join(map(repr, empty)),
                    len(manifest.classes), len(examples.manifest.classes))  # fmt: skip
    return replace(examples, manifest=manifest)
