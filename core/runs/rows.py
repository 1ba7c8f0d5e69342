"""The examples that a run learns from: a manifest read by a backbone's contract, once, with what was left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from graftwork.core.activation_cache.activations import same_on_all_processes
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.leaks import Leaks, find_leaks, refuse_leaks
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.near_duplicates import NearDuplicates, with_near_duplicates
from graftwork.core.data.windows import cut_windows
from graftwork.core.evaluation.evaluation import counted
from graftwork.core.model.backbone import Backbone
from graftwork.core.runs.vector_rows import vector_examples
from graftwork.core.types import InputMonitor, NearDuplicatesMode

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Rows:
    """examples: as read, of which splits keep near-duplicates together if that was asked for. monitor: what has
    measured them meanwhile; None where the domain has nothing that does. alike: the near-duplicates, None where nobody
    has looked. leaks: what lies in different parts of a split column. lost_classes: of which no file could be read."""

    examples: Examples
    monitor: InputMonitor | None = None
    alike: NearDuplicates | None = None
    leaks: Leaks = field(default_factory=Leaks)
    lost_classes: tuple[str, ...] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that the metrics must not be read without."""
        found = [str(self.leaks)] if self.leaks else []
        if self.lost_classes:
            found.append(_lost(self.lost_classes, len(self.examples.manifest.classes)))
        dropped = self.examples.manifest.dropped_rows
        if dropped:
            found.append(f"{counted(dropped, 'row')} of the table without a label, in no number here")
        return tuple(found)

    def notes(self) -> dict[str, Any]:
        """What has to be known of the rows, as plain values."""
        return {"left_out": [asdict(one) for one in self.examples.left_out],
                "shared_between_parts": len(self.leaks.identical), "leaks": self.leaks.to_json(),
                "near_duplicates": None if self.alike is None else self.alike.to_json()}  # fmt: skip

    def training_summary(self, learnt: Manifest) -> dict[str, Any] | None:
        """What the examples of these rows are like, by which new ones that are unlike them are told; None where nothing
        looked."""
        return None if self.monitor is None else self.monitor.summary(learnt.examples)


@dataclass(frozen=True)
class RowOptions:
    """skip_unreadable: leave out files that cannot be read, and with them the classes of which nothing is left.
    near_duplicates: whether splits keep files that hold nearly the same "together", or they are found for the "report"
    only, or not looked for ("ignore"). allow_leaks: go on where a split column has a group, or files that hold the same
    or nearly the same, in several parts. leave_out: a column whose values are parts in this sense. vectors: a folder
    that `embed` wrote, whose vectors stand for the files; near-duplicates are not looked for then."""

    skip_unreadable: bool = False
    near_duplicates: NearDuplicatesMode = "together"
    allow_leaks: bool = False
    leave_out: str | None = None
    vectors: str | Path | None = None


def read_rows(backbone: Backbone, manifest: Manifest, runtime: Runtime, options: RowOptions) -> Rows:
    """Reads every example, or its windows where the backbone asks for these, or its vector where these are kept.

    Raises what `vector_examples` raises; UnreadableError that lists all files that cannot be read, if they are not to
    be left out; ManifestError that lists what leaks between the parts of a split column, if it is not allowed to.
    """
    domain, monitor, near_duplicates = backbone.domain, None, options.near_duplicates
    if options.vectors is not None:
        examples, near_duplicates = vector_examples(backbone, manifest, options.vectors), "ignore"
        log.info("%d vectors are from %s; nearly the same files are not looked for", len(examples), options.vectors)
    else:
        monitor = None if domain.monitor is None else domain.monitor(backbone.contract, {}, "flag")
        windows = cut_windows(domain, manifest, backbone.contract)
        unreadable: Literal["skip", "stop"] = "skip" if options.skip_unreadable else "stop"
        examples = read_examples(windows, monitor or backbone.contract, unreadable=unreadable, frames=backbone.frames)
        examples = replace(examples, contract=backbone.contract)
    named = examples.manifest.classes
    examples = same_on_all_processes(_of_classes_with_rows(examples), runtime)
    lost = tuple(name for name in named if name not in examples.manifest.classes)
    found, alike = with_near_duplicates(domain, examples.manifest, near_duplicates)
    examples = replace(examples, manifest=found)  # of those that can be read
    if alike is not None and alike.sets:
        log.info("%s", alike)
    apart = found if options.leave_out is None else replace(found, parts=found.column(options.leave_out))
    leaks = find_leaks(apart)
    if not options.allow_leaks:
        refuse_leaks(apart, leaks)
    if leaks:
        log.warning("%s", leaks)
    return Rows(examples, monitor, alike, leaks, lost)


def _of_classes_with_rows(examples: Examples) -> Examples:
    """The examples without the classes of which every file was left out: nothing can be learnt of them."""
    if not examples.left_out:
        return examples
    manifest, empty = examples.manifest.without_empty_classes()
    if empty:
        log.warning("%s", _lost(empty, len(manifest.classes)))
    return replace(examples, manifest=manifest)


def _lost(classes: Sequence[str], left: int) -> str:
    return (f"no file of {', '.join(map(repr, classes))} can be read: the run learns {left} classes, not "
            f"{left + len(classes)}")  # fmt: skip
