"""The sections of a report, each from what a run's folder holds; one that has nothing to say is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graftwork.core.recipe import ROWS_TOGETHER, Recipe
from graftwork.core.runs.provenance import without_home
from graftwork.core.runs.report.blocks import (
    Block,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    data_uri,
    facts,
    interval,
    is_interval,
    number,
    said,
    tables_of,
    words,
)
from graftwork.core.runs.report.examples import Viewer, near_duplicates, worst_predictions
from graftwork.core.runs.report.folder import GENERIC, RunFolder
from graftwork.core.tasks.plots import panel_svg
from graftwork.core.tasks.task import Drawn

KNOWN = (
    "left_out",
    "overlap",
    "near_duplicates",
    "leaks",
    "shared_between_parts",
    "random_split",
    "control",
    "cautions",
)
"""Keys that other sections say."""

PLOTS = {"det.png": "detection error trade-off", "evaluation.png": "evaluation"}
"""Plots that lie in a folder ready to be shown, where they cannot be drawn from predictions."""


def asked(folder: RunFolder, run: RunFolder) -> list[Block]:
    """The command and the settings."""
    record, adapter = run.run | folder.run, run.adapter
    found: list[Block] = []
    if record.get("command"):
        found.append(Text(record["command"], "code"))
    elif "command" in record:
        found.append(Text("Asked for from Python."))
    data = record.get("data", {})
    unused = ("target", "task") if data.get("folds") is None else ("target", "task", "test_fraction")
    found.append(facts({
        "manifest": _place(record.get("manifest")),
        "rows": record.get("rows"),
        "target": adapter.get("target"),
        "task": adapter.get("task"),
        "backbone": adapter.get("backbone", {}).get("id"),
        "strategy": None if "strategies" in record else adapter.get("strategy"),
        "strategies": record.get("strategies"),
        "run that is evaluated": _place(record.get("run")),
        **{words(name): value for name, value in data.items() if name not in unused},
    }))  # fmt: skip
    recipe = adapter.get("training", {}).get("recipe")
    if recipe:
        usual = vars(Recipe())
        changed = {
            words(name): value
            for name, value in recipe.items()
            if name in usual and value != (usual[name] or ROWS_TOGETHER if name == "batch_size" else usual[name])
        }
        found.append(facts(changed, "settings that differ from the defaults") if changed
                     else Text("All other settings are the defaults."))  # fmt: skip
    return found


def data(run: RunFolder) -> list[Block]:
    """Counts by part and class, groups, files that were left out."""
    parts: dict[str, Any] = run.data.get("parts", {})
    found: list[Block] = []
    if parts:
        found.append(_counts(parts))
    left_out = run.data.get("left_out", run.metrics.get("left_out", []))
    if left_out:
        rows = tuple((said(one.get("row")), _place(one["path"]) or "", without_home(one["reason"])) for one in left_out)
        found.append(Table(("row", "file", "why it was left out"), rows, f"{len(rows)} files could not be used"))
    elif parts:
        found.append(Text("Every file could be read."))
    conflicting = run.data.get("conflicting", [])
    if conflicting:
        sets = tuple((", ".join(f"{_place(path)}: {target}" for path, target in one.items()),) for one in conflicting)
        found.append(Table(("files, each with its target",), sets, "the very same content with different targets"))
    return found


def _counts(parts: dict[str, Any]) -> Table:
    names = list(parts)
    rows: list[tuple[str, ...]] = [("rows", *(said(one["rows"]) for one in parts.values()))]
    if any(one["groups"] for one in parts.values()):
        rows.append(("groups", *(_groups(one["groups"]) for one in parts.values())))
    for label in dict.fromkeys(label for one in parts.values() for label in one["classes"]):
        counts = [(one["classes"].get(label, 0), one["rows"]) for one in parts.values()]
        rows.append((label, *(f"{count:,} ({count / max(rows_of, 1):.0%})" for count, rows_of in counts)))
    if any(one["range"] for one in parts.values()):
        rows.append(("values", *(_range(one["range"]) for one in parts.values())))
    return Table(("", *names), tuple(rows), "rows by part and class", tuple(range(1, len(names) + 1)))


def _groups(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "–"
    least, most = counts["smallest"], counts["largest"]
    return f"{counts['count']:,} of {f'{least} to {most}' if least != most else most} rows"


def _range(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{number(ends[0])} to {number(ends[1])}, mean {number(ends[2])}"


def split(run: RunFolder) -> list[Block]:
    """How rows came into parts."""
    record, how = run.run, run.data.get("split")
    if how is None or record.get("verb") == "evaluate":
        return []
    options, grouped = record.get("data", {}), any(one["groups"] for one in run.data["parts"].values())
    text = f"Parts: {how}."
    if how == "drawn":
        text += f" Shares: test {options.get('test_fraction', 0):.0%}, validation {options.get('val_fraction', 0):.0%}."
    if "drawn" in how:
        text += " Files with the same content are never separated"
        text += ", nor are rows of a group." if grouped else "; no group (patient, speaker) is known of any row."
        seed = run.adapter.get("training", {}).get("recipe", {}).get("seed")
        text += "" if seed is None else f" Seed {seed}."
    found: list[Block] = [Text(text)]
    leaks = run.metrics.get("leaks") or {}
    if any(leaks.values()):
        found.append(facts({words(name): value for name, value in leaks.items()}, "in several parts of the split"))
    return found


def external(run: RunFolder) -> list[Block]:
    """What evaluated rows share with those that a run has learnt from."""
    if run.run.get("verb") != "evaluate":
        return []
    overlap = run.metrics.get("overlap")
    if overlap is None:
        return [Text("Whether the run has learnt from some of these rows is not known: its folder does not say.")]
    found: list[Block] = [facts({words(name): value for name, value in overlap.items() if value not in (None, [])},
                                "what these rows share with the training's")]  # fmt: skip
    return found


def metrics(run: RunFolder) -> list[Block]:
    """Every metric of every part, with its interval and by what."""
    found: list[Block] = []
    decides = None if run.task is None else run.task.metric
    for part, values in run.parts.items():
        own = sorted(((name, one) for name, one in values.items() if is_interval(one)), key=lambda x: x[0] != decides)
        rows = tuple((words(name), interval(one), _method(one)) for name, one in own)
        plain = {words(name): one for name, one in values.items() if name != "about" and not is_interval(one)
                 and isinstance(one, (int, float, str))}  # fmt: skip
        found.append(Table(("metric", "value [95 % interval]", "method"), rows, _about(part, values["about"])))
        if plain:
            found.append(facts(plain))
        pooled = values["about"].get("pooled")
        if pooled:
            rows = tuple((words(name), interval(one), _method(one)) for name, one in pooled.items())
            mixed = "of one ranking of all folds, which mixes the scales of several models"
            found.append(Table(("metric", "value [95 % interval]", "method"), rows, mixed))
    return found


def _method(value: dict[str, Any]) -> str:
    if value["value"] is not None and value["low"] is None:
        return f"no interval: {value.get('method') or 'not defined'}"
    return str(value.get("method") or "")


def _about(part: str, about: dict[str, Any]) -> str:
    """What metrics are of."""
    rows = about.get("rows", about.get("trials"))
    text = part if rows is None else f"{part}: {rows:,} {'rows' if 'rows' in about else 'trials'}"
    if about.get("groups"):
        text += f" in {about['groups']:,} groups"
    if about.get("folds"):
        text += f", {len(about['folds'])}-fold cross-validation"
    if about.get("repeats"):
        text += f" repeated {len(about['repeats'])} times"
    return text


def plots(run: RunFolder) -> list[Block]:
    """The task's plots, drawn from the predictions; else what lies in the folder."""
    shown: list[Picture] = []
    found, task = run.predicted, run.task
    if found is not None and task is not None:
        columns, values, predictions = found.columns, found.values, found.predictions
        classes = tuple(run.adapter["classes"])
        groups = tuple(columns["group"]) if "group" in columns else None
        drawn = Drawn(values, predictions, classes, run.adapter["target"],
                      task.confusion(values, predictions, classes), groups)  # fmt: skip
        shown = [Picture(data_uri(panel_svg(panel)), panel.says or panel.name) for panel in task.panels(drawn)]
        if len(set(columns.get("fold", ()))) > 1:
            again = " of the first drawing of folds" if "repeat" in columns else ""
            return [Text(f"Curves are of the predictions of all folds{again} together; the headline is their mean."),
                    Pictures(tuple(shown)), *_cases(run)]  # fmt: skip
    else:
        for name, says in PLOTS.items():
            content = run.picture(name)
            if content is not None:
                shown.append(Picture(data_uri(content), says, wide=name == "evaluation.png"))
    return ([Pictures(tuple(shown))] if shown else []) + _cases(run)


def _cases(run: RunFolder) -> list[Block]:
    content = run.picture("cases.png")
    if content is None:
        return []
    return [Pictures((Picture(data_uri(content), "the worst, the median and the best case",
                              "the worst, the median and the best case", wide=True),))]  # fmt: skip


def folds(run: RunFolder) -> list[Block]:
    """The metrics of every fold."""
    found: list[Block] = []
    for part, values in run.parts.items():
        own = values["about"].get("folds")
        if not own:
            continue
        names = list(own[0])
        rows = tuple((str(place), *(said(fold[name]) for name in names)) for place, fold in enumerate(own, start=1))
        found.append(Table(("fold", *map(words, names)), rows, f"{part}, each fold by its own model",
                           tuple(range(1, len(names) + 1))))  # fmt: skip
    return found


def groups(run: RunFolder) -> list[Block]:
    """What groups have to do with the score."""
    mixed, control = run.metrics.get("random_split"), run.metrics.get("control")
    if not mixed or not run.parts:
        return []
    apart = next(iter(run.parts.values()))
    rows = tuple((words(name), interval(one), interval(mixed[name])) for name, one in apart.items()
                 if is_interval(one) and name in mixed)  # fmt: skip
    found: list[Block] = [
        Text("Evaluated a second time with rows of a group on both sides: a large difference says that the model "
             "knows groups again. Only `groups apart` says what new ones can expect."),
        Table(("metric", "groups apart", "random split"), rows),
    ]  # fmt: skip
    if control:
        found += tables_of({name: one for name, one in control.items() if one is not None}, "what groups alone explain")
    return found


DRAWN = ("decision_curve",)
"""What the plots show already."""


def generic(run: RunFolder, key: str) -> list[Block]:
    """A key of `metrics.json`, at the top, of a part or of what is said about one, as tables; not what is drawn."""
    given = run.metrics.get(key)
    if isinstance(given, dict):
        given = {name: value for name, value in given.items() if name not in DRAWN}
    found = tables_of(given) if given else []
    for part, values in run.parts.items():
        for own in (values, values["about"]):
            if own.get(key):
                found += tables_of(own[key], part if len(run.parts) > 1 else "")
    return found


def others(run: RunFolder) -> list[Block]:
    """Keys of `metrics.json` that nothing else says."""
    said_elsewhere = {*KNOWN, *GENERIC, *run.parts}
    rest = {
        name: value for name, value in run.metrics.items() if name not in said_elsewhere and value not in (None, [])
    }
    for part, values in run.parts.items():
        own = {name: one for name, one in values.items() if name not in ("about", *GENERIC) and not is_interval(one)
               and isinstance(one, (dict, list)) and one}  # fmt: skip
        if own:
            rest[part] = own
    return tables_of(rest)


def strategies(folder: RunFolder) -> list[Block]:
    """What was compared, and the figure that is left of the best on rows that did not choose it."""
    compared = folder.comparison
    if not compared:
        return []
    metric, best = compared["metric"], compared["best"]
    rows = []
    for one in compared["strategies"]:
        difference = one["differences"].get(metric)
        mark = " (best)" if one["strategy"] == best else ""
        mark += " (cheapest as good)" if one["strategy"] == compared["cheapest"] and not mark else ""
        rows.append((
            one["strategy"] + mark,
            interval(one["metrics"][metric]),
            "–" if difference is None or one["strategy"] == best else interval(difference),
            "resumed" if one["seconds"] is None else f"{one['seconds']:,.1f}",
            f"{one['peak_memory_mb']:,.0f}",
            f"{one['parameters']['trained']:,}",
        ))  # fmt: skip
    found: list[Block] = []
    corrected = compared.get("corrected")
    if best is not None and corrected and corrected["value"] is not None and len(rows) > 1:
        value = next(one["metrics"][metric]["value"] for one in compared["strategies"] if one["strategy"] == best)
        found.append(Text(
            f"{best} is the best of {len(rows)} on the rows that chose it, with {number(value)}. On new rows expect, "
            f"and publish, {metric} {interval(corrected)}: {number(abs(value - corrected['value']))} "
            f"{'less' if value >= corrected['value'] else 'more'} ({corrected.get('method', '')}).",
            "strong",
        ))  # fmt: skip
    found.append(Table(
        ("strategy", f"{words(metric)} [95 % interval]", "difference to the best", "seconds", "peak MB", "trained"),
        tuple(rows), f"{compared['part']}: {compared['rows']:,} rows"
        + (f" in {compared['groups']:,} groups" if compared["groups"] else "")
        + f"; as good is what is shown to be at most {compared.get('margin', 0):g} below the best", (3, 4, 5),
    ))  # fmt: skip
    if compared["refused"]:
        found.append(Table(("could not run", "reason"), tuple(compared["refused"].items())))
    content = folder.picture("comparison.png")
    if content is not None:
        found.append(
            Pictures((Picture(data_uri(content), f"{metric} of every strategy with its interval", wide=True),))
        )
    return found


def model(run: RunFolder) -> list[Block]:
    """The backbone, what was learnt, the input contract, and the proof that what was frozen did not move."""
    adapter = run.adapter
    if not adapter:
        return []
    backbone, training, counted = adapter["backbone"], adapter["training"], adapter["parameters"]
    found: list[Block] = [facts({
        "backbone": backbone["id"],
        "weights": _place(backbone["weights"]) or "the source's own",
        "strategy": adapter["strategy"],
        "parameters that learnt": f"{counted['trained']:,} of {counted['all']:,}",
        "training rows": training["rows"],
        "training groups": training["groups"],
        "best epoch": training.get("best_epoch"),
        "features": adapter.get("features"),
        "computed on": training.get("computed"),
        "output": ", ".join(adapter["classes"]) or "a number",
    })]  # fmt: skip
    frozen = training["frozen"]
    if frozen["tensors"]:
        same = frozen.get("before") == frozen.get("after")
        found.append(Text(
            f"Frozen tensors: {frozen['tensors']:,}. SHA-256 before and after training "
            f"{'are the same' if same else 'DIFFER'}: {frozen.get('before')}"
            + ("" if same else f" and {frozen.get('after')}"),
            "proof" if same else "strong",
        ))  # fmt: skip
    else:
        found.append(Text("Nothing was frozen: every tensor learnt."))
    found.append(facts({words(name): value for name, value in adapter["input"].items()}, "how an example is read"))
    content = run.picture("loss.png")
    if content is not None:
        found.append(Pictures((Picture(data_uri(content), "loss and metric by epoch", "loss and metric by epoch"),)))
    return found


def reproduce(folder: RunFolder, run: RunFolder) -> list[Block]:
    """Digests, versions, seconds and memory."""
    record, costs = folder.run or run.run, folder.costs or run.costs
    found: list[Block] = [facts({
        "manifest, SHA-256": record.get("manifest_digest"),
        "backbone, SHA-256": run.run.get("backbone", {}).get("digest")
        if isinstance(run.run.get("backbone"), dict) else None,
        "seconds": costs.get("seconds"),
        "peak memory, MB": costs.get("peak_memory_mb"),
        "peak memory of the GPU, MB": costs.get("peak_device_memory_mb"),
        "system": costs.get("system"),
    })]  # fmt: skip
    made_with = record.get("made_with") or run.adapter.get("made_with")
    if made_with:
        found.append(
            Text("Versions: " + ", ".join(f"{name} {version}" for name, version in made_with.items()), "small")
        )
    return found


def cautions(folder: RunFolder, run: RunFolder) -> list[str]:
    """Sentences that the metrics must not be read without."""
    found = [str(one) for one in run.data.get("cautions", [])]
    for part, values in run.parts.items():
        caution, groups = values["about"].get("caution"), values["about"].get("groups")
        if groups is not None and groups < FEW_GROUPS:
            found.append(f"{part}: {groups} groups only, so that intervals are rough")
        found += [f"{part}: {one}" for one in str(caution).split("; ")] if caution else []
    left_out = run.data.get("left_out", [])
    if left_out:
        found.append(f"{len(left_out)} files could not be used and are in no number here")
    conflicting = run.data.get("conflicting", [])
    if conflicting:
        found.append(f"{len(conflicting)} sets of files hold the very same and have different targets")
    task = run.task
    if task is not None and run.parts:
        part, values = next(iter(run.parts.items()))
        headline = values.get(task.metric, {})
        if headline.get("value") is not None and headline.get("low") is None:
            found.append(f"{part}: {words(task.metric)} has no interval: {headline.get('method') or 'not defined'}")
        if part in ("val", "train"):
            found.append(f"the rows of {part} took part in training: no new row has been predicted")
    if folder.comparison and len(folder.comparison["strategies"]) > 1:
        found.append("the strategy was chosen on the rows that it is reported on: publish the corrected figure")
    return list(dict.fromkeys(without_home(one) for one in found))


FEW_GROUPS = 10
"""Below so many, intervals were not simulated to cover."""


def mistakes(run: RunFolder, viewer: Viewer) -> list[Block]:
    """The worst predictions."""
    return worst_predictions(run, viewer)


def duplicates(run: RunFolder, viewer: Viewer) -> list[Block]:
    """Files that hold nearly the same."""
    return near_duplicates(run, viewer)


def all_sections(folder: RunFolder, run: RunFolder, viewer: Viewer) -> list[Section]:
    """Those that have something to say. folder: of the report; run: whose predictions it shows, of a comparison the
    best strategy's."""
    written = [
        ("asked", "What was asked", asked(folder, run)),
        ("data", "Data", data(run)),
        ("duplicates", "Near-duplicates", duplicates(run, viewer)),
        ("split", "How rows were split", split(run)),
        ("external", "Rows of the training met again", external(run)),
        ("strategies", "Strategies compared", strategies(folder)),
        ("metrics", "Metrics", metrics(run)),
        ("plots", "Plots", plots(run)),
        ("folds", "Folds", folds(run)),
        ("groups", "What groups explain", groups(run)),
        *((key, title, generic(run, key)) for key, title in GENERIC.items()),
        ("others", "Further results", others(run)),
        ("mistakes", "Worst predictions", mistakes(run, viewer)),
        ("model", "Model and frozen tensors", model(run)),
        ("reproduce", "Versions, digests and costs", reproduce(folder, run)),
    ]
    kept = [(id, title, tuple(block for block in blocks if not (isinstance(block, Table) and not block.rows)))
            for id, title, blocks in written]  # fmt: skip
    return [Section(id, title, blocks) for id, title, blocks in kept if blocks]


def _place(path: Any) -> str | None:
    return None if path is None else without_home(str(path))
