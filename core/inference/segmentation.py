"""Masks of whole scans: predicted, measured, and written into files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.csv_cells import escaped, unescaped
from graftwork.core.data.examples import EXAMPLE_ERRORS, Unreadable, unreadable_report
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import OutputError, UnreadableError
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.example import Example, files_of
from graftwork.core.files import LOCK, OURS, atomic_write
from graftwork.core.inference.ensemble import SPREAD, JoinedMaps
from graftwork.core.inference.unfinished import Found, Unfinished, file_state
from graftwork.core.model.graft import Graft
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.tasks.masks import MEASURES
from graftwork.core.types import Features, OutsideMode, Segmenter

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TABLE, PLOT = "segmentations.csv", "cases.png"


def mask_scores(
    graft: Graft,
    manifest: Manifest,
    runtime: Runtime,
    batch_size: int = 16,
    segmenter: Segmenter | None = None,
    others: Sequence[Graft] = (),
) -> NDArray[np.float64]:
    """Measures of the predicted mask of every row, (rows, classes without the background, measures); NaN where a
    measure is not defined. segmenter: in place of the backbone's. others: grafts whose probabilities are averaged with
    this one's. All are on the runtime's device; each process evaluates its share.

    Raises UnreadableError or ContractError for a file that can no longer be read as it was.
    """
    graft.train(False)  # whoever comes from training has left it learning
    segmenter, run = segmenter or _segmenter(graft), patch_network(graft, runtime, batch_size)
    if others:
        for other in others:
            other.train(False)
        run = JoinedMaps([run, *(patch_network(one, runtime, batch_size) for one in others)])
    rows = runtime.share(range(len(manifest)))
    width = (len(manifest.classes) - 1) * len(MEASURES)
    found = torch.empty((len(rows), width), dtype=torch.float64)
    with progress("evaluating masks", len(rows)) as advance:
        for place, row in enumerate(rows):
            own = segmenter.scores(manifest.examples[row], run, runtime.device)
            # A segmenter of somebody's own may know fewer measures.
            every = np.full((len(own), len(MEASURES)), np.nan)
            every[:, : own.shape[1]] = own
            found[place] = torch.from_numpy(every).flatten()
            advance(1, "")
    gathered: NDArray[np.float64] = runtime.gather(rows, found, len(manifest)).numpy()
    return gathered.reshape(len(manifest), len(manifest.classes) - 1, len(MEASURES))


@undisturbed()
def draw_worst_and_best(graft: Graft, evaluated: EvaluatedPart, folder: Path, recipe: Recipe) -> None:
    """Writes `cases.png`: the evaluated cases with the lowest, the median and the highest mean Dice.

    The graft is the one that was evaluated, on the CPU. recipe: how it predicts. Nothing is drawn where no case has a
    Dice.
    """
    dice = evaluated.predictions[:, :, 0]
    defined = np.flatnonzero(~np.isnan(dice).all(1))
    if not len(defined):
        return
    means = np.nanmean(dice[defined], axis=1)
    order = defined[np.argsort(means, kind="stable")]
    chosen = dict.fromkeys(int(order[place]) for place in (0, len(order) // 2, -1))
    ranks = {int(order[len(order) // 2]): "median", int(order[-1]): "best", int(order[0]): "worst"}
    # Of several files the first is what is drawn.
    drawn = {row: Path(files_of(evaluated.manifest.inputs[row])[0]).name for row in chosen}
    titles = [f"{ranks[row]}: {drawn[row]}, Dice {np.nanmean(dice[row]):.3f}"
              for row in chosen]  # fmt: skip
    runtime = start_runtime(recipe)
    runtime.place(graft).train(False)
    cases = [(title, evaluated.manifest.examples[row]) for title, row in zip(titles, chosen, strict=True)]
    with atomic_write(folder / PLOT) as temporary:
        _segmenter(graft).draw(cases, patch_network(graft, runtime, 1), temporary, runtime.device)
    runtime.release(graft)


@undisturbed()
def segment_examples(
    graft: Graft, examples: Sequence[Example], out: Path, recipe: Recipe, *, training_summary: dict[str, Any],
    skip_unreadable: bool, outside: OutsideMode, file_format: str | None = None, others: Sequence[Graft] = (),
    unfinished: Unfinished | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Writes the predicted mask of every example into the folder `out`, and a table `segmentations.csv` beside them.

    One row an example: its path, that of its mask, and the size of every class. With `skip_unreadable`, those that
    cannot be read have an `error` instead; without it they are all reported at the end, and the masks of the others
    are there. training_summary: what those of the training were like, {} where it is not known. outside: whether scans
    unlike them have the reason in a column `outside`, or count as unreadable. file_format: of the masks, where not the
    segmenter's usual ones. others: grafts whose probabilities are averaged with this one's; `spread` says how far they
    differ. unfinished: where every row is kept when its mask is written, and what an earlier start has kept.

    Raises OutputError for what is no folder to write into, UnreadableError.
    """
    check_mask_folder(out)
    runtime = start_runtime(recipe)
    runtime.place(graft).train(False)
    segmenter, apply = _segmenter(graft), patch_network(graft, runtime, recipe.rows_together)
    joined = None
    if others:
        for other in others:
            runtime.place(other).train(False)
        apply = joined = JoinedMaps([apply, *(patch_network(one, runtime, recipe.rows_together) for one in others)])
    domain, monitor = graft.backbone.domain, None
    if domain.monitor is not None and training_summary:
        monitor = domain.monitor(graft.backbone.contract, {"": training_summary}, outside)
    segmenter = segmenter if file_format is None else segmenter.with_format(file_format)
    names = segmenter.names(examples)
    known = {} if unfinished is None else _known(unfinished, examples, names, out)
    _check_free(out, names, frozenset() if unfinished is None else unfinished.files)
    if unfinished is not None and len(examples) > 1 and runtime.rank == 0:
        _begin(unfinished, names, out)
    rows: list[dict[str, Any]] = []
    failures = []
    with progress("segmenting", len(examples)) as advance:
        for example, name in zip(examples, names, strict=True):
            path, state = str(example), [] if unfinished is None else file_state(example)
            if example in known:
                found = known[example]
                rows.append({"path": path, **found.row})
                if found.outside is not None and monitor is not None:
                    monitor.outside[path] = found.outside
                advance(1, "")
                continue
            try:
                if monitor is not None:
                    monitor.read(example)
                with atomic_write(out / name) as temporary:
                    sizes = segmenter.segment(example, apply, temporary, runtime.device)
                    spread = {} if joined is None else {SPREAD: joined.spread()}
                    rows.append({"path": path, "mask": name, **sizes, **spread})
                if unfinished is not None and len(examples) > 1 and runtime.rank == 0:
                    reason = None if monitor is None else monitor.outside.get(path)
                    unfinished.keep("", [(example, state, Found(_plain(rows[-1]), reason))])
            except EXAMPLE_ERRORS as error:
                failures.append(Unreadable(path, str(error)))
                rows.append({"path": path, "mask": None, "error": str(error)})
            advance(1, "")
    for one in (graft, *others):
        runtime.release(one)
    table = _write_table(out, rows, {} if monitor is None else monitor.outside)
    if failures and not skip_unreadable:
        rest = f"\nthe others' masks are in {out}" if len(failures) < len(examples) else ""
        raise UnreadableError(unreadable_report(failures) + rest)
    if failures:
        log.warning("%d of %d files could not be read: see the column `error`", len(failures), len(examples))
    return table


def _write_table(out: Path, rows: Sequence[dict[str, Any]], outside: dict[str, str]) -> pd.DataFrame:
    """`segmentations.csv`, with what is unlike the training's by path."""
    import pandas as pd

    table = pd.DataFrame(rows)
    if outside:
        log.warning("%d of %d files are unlike the training's: see the column `outside`", len(outside), len(rows))
        table["outside"] = table["path"].map(outside)
    with atomic_write(out / TABLE) as temporary:
        escaped(table).to_csv(temporary, index=False, float_format="%.9g")
    return table


def _begin(unfinished: Unfinished, names: Sequence[str], out: Path) -> None:
    """Keeps the names of the masks before the first of them is there, and removes what a killed start was writing: in
    this folder alone, others may be writing in those below."""
    if unfinished.files:
        for path in out.glob(f"{OURS}*"):
            if path.is_file() and path.name != LOCK:
                path.unlink(missing_ok=True)
    unfinished.begin(names)


def _known(
    unfinished: Unfinished, examples: Sequence[Example], names: Sequence[str], out: Path
) -> dict[Example, Found]:
    """What an earlier start has kept, where its mask is there still."""
    return {example: found for example, name in zip(examples, names, strict=True)
            if (found := unfinished.find("", example)) is not None and found.row.get("mask") == name
            and (out / name).is_file()}  # fmt: skip


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: without its path, and with None for what is not defined."""
    return {name: None if value != value else value for name, value in row.items() if name != "path"}


def check_mask_folder(out: Path) -> None:
    """Raises OutputError for a file where a folder for masks is needed."""
    if out.is_file() or out.suffix.lower() == ".csv":
        raise OutputError(f"{out}: --out must be a folder for masks, this is a file; the table goes into it")


def _check_free(folder: Path, names: Sequence[str], begun: frozenset[str] = frozenset()) -> None:
    """Raises OutputError where a mask would take the place of a file that an earlier prediction did not write: the true
    masks are often called so. begun: what one that was ended may have written."""
    import pandas as pd

    table, own = folder / TABLE, set(begun)
    try:
        if table.is_file():
            found = unescaped(pd.read_csv(table, dtype=str))
            if "mask" not in found:
                raise ValueError(f"expected a column 'mask', found {', '.join(map(repr, found))}")
            own |= set(found["mask"].dropna())
    except (OSError, ValueError) as error:
        raise OutputError(f"{table}: does not say which masks an earlier prediction wrote ({error}); name another "
                          "--out, or delete it") from error  # fmt: skip
    taken = [name for name in names if (folder / name).exists() and name not in own]
    if taken:
        listed = ", ".join(taken[:5])
        raise OutputError(
            f"{folder}: files that no earlier prediction wrote would be lost: {listed}; name another --out"
        )


def _segmenter(graft: Graft) -> Segmenter:
    return cast(Segmenter, graft.backbone.segmenter)  # without one no graft for masks is made


def patch_network(graft: Graft, runtime: Runtime, batch_size: int) -> Callable[[Tensor], Tensor]:
    """The graft as a function of patches (batch, channels, *size), on any device, to logits on the same, float32; at
    most `batch_size` go through the network together."""

    def maps(patches: Features) -> Tensor:
        given, logits = patches.values, graft.outputs(runtime.send(patches)).values  # noqa: PD011
        return logits.float().to(given.device)

    def run(patches: Tensor) -> Tensor:
        found: list[Tensor] = []
        for part in torch.split(patches, batch_size):
            with torch.no_grad(), runtime.autocast():  # sliding windows are weighted in place
                found += in_pieces(maps, Features(part))
        return torch.cat(found)

    return run
