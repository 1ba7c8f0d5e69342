"""Items of reporting guidelines, and in which section of a report each is answered. Numbers are the guidelines', the
wording is shortened: authors fill in the originals."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from graftwork.core.runs.report.blocks import Table

AUTHOR = "the author"


@dataclass(frozen=True)
class Item:
    """number, text: of the guideline. sections: ids of those that answer it, as far as a report has them. rest: what is
    left to the author even then."""

    number: str
    text: str
    sections: tuple[str, ...] = ()
    rest: str = ""


CLAIM = (
    Item("1", "title or abstract: AI methodology and its category", ("asked",), "the title"),
    Item("2", "structured abstract"),
    Item("3", "background, intended use and role"),
    Item("4", "aims, objectives, hypotheses"),
    Item("5", "prospective or retrospective"),
    Item("6", "study goal"),
    Item("7", "data sources", ("data",), "where, when and how data were collected"),
    Item("8", "inclusion and exclusion criteria", ("data",), "criteria; here only files that could not be read"),
    Item("9", "preprocessing", ("model",)),
    Item("10", "selection of data subsets"),
    Item("11", "de-identification"),
    Item("12", "missing data", ("data",), "values missing in the clinical record"),
    Item("13", "image acquisition protocol"),
    Item("14", "reference standard: how it was obtained"),
    Item("15", "reference standard: rationale"),
    Item("16", "reference standard: source of annotations, annotators"),
    Item("17", "annotation of the test set"),
    Item("18", "variability between and within annotators"),
    Item("19", "assignment to partitions", ("split",)),
    Item("20", "level at which partitions are disjoint", ("split", "duplicates")),
    Item("21", "intended sample size", (), "the reasoning; the sizes are in the data section"),
    Item("22", "model: inputs, outputs, architecture", ("model",), "a reference for the backbone"),
    Item("23", "software, frameworks, versions", ("reproduce",)),
    Item("24", "initialisation of parameters", ("model",)),
    Item("25", "training: settings", ("asked", "model")),
    Item("26", "selection of the final model", ("strategies", "split")),
    Item("27", "ensembling"),
    Item("28", "metrics of performance", ("metrics",), "why these"),
    Item("29", "significance and uncertainty", ("metrics",)),
    Item("30", "robustness or sensitivity analysis", ("corruptions", "subgroups", "groups")),
    Item("31", "explainability", ("maps",), "how maps were judged"),
    Item("32", "evaluation on internal data", ("metrics",)),
    Item("33", "testing on external data", ("external",)),
    Item("34", "trial registration"),
    Item("35", "numbers included and excluded", ("data",), "a flow diagram"),
    Item("36", "demographic and clinical characteristics by partition", (), "all but the counts"),
    Item("37", "performance and its uncertainty, on every partition", ("metrics", "plots")),
    Item("38", "diagnostic performance and precision", ("decision", "metrics")),
    Item("39", "failure analysis", ("mistakes",), "what they have in common"),
    Item("40", "limitations", ("cautions",), "the discussion"),
    Item("41", "implications for practice"),
    Item("42", "full protocol or technical details", ("reproduce",), "the protocol"),
    Item("43", "availability of software, model, data", ("reproduce",), "where they are"),
    Item("44", "funding and its role"),
)

TRIPOD_AI = (
    Item("1", "title"),
    Item("2", "abstract"),
    Item("3a-c", "background: context, target population, health inequalities"),
    Item("4", "objectives"),
    Item("5a-b", "sources and dates of data", ("data",), "sources, dates, how representative they are"),
    Item("6a-c", "participants: setting, eligibility, treatments"),
    Item("7", "data preparation and quality", ("data", "duplicates", "model")),
    Item("8a-c", "outcome: definition, assessors, blinding"),
    Item("9a-c", "predictors: choice, definition, assessors", ("model",), "why these recordings or scans"),
    Item("10", "sample size", ("data",), "the reasoning"),
    Item("11", "missing data", ("data",), "the clinical record"),
    Item("12a", "how data were used, partitions", ("split",)),
    Item("12b", "handling of predictors", ("model",)),
    Item("12c", "type of model, its building, internal validation", ("model", "split", "strategies")),
    Item("12d", "heterogeneity between clusters", ("groups", "subgroups", "folds")),
    Item("12e", "measures and plots of performance", ("metrics", "plots")),
    Item("12f", "model updating", ("recalibration",)),
    Item("12g", "how predictions are made", ("model", "decision")),
    Item("13", "class imbalance", ("data", "asked")),
    Item("14", "fairness", ("subgroups",), "what was done about it"),
    Item("15", "output of the model, thresholds", ("model", "decision")),
    Item("16", "differences between training and evaluation data", ("data", "external"), "in setting and eligibility"),
    Item("17", "ethical approval"),
    Item("18a-f", "funding, interests, protocol, registration, data and code", ("reproduce",), "all but the code"),
    Item("19", "patient and public involvement"),
    Item("20a-c", "flow and characteristics of participants", ("data",), "all but the counts"),
    Item("21", "numbers of participants and outcomes in each analysis", ("data", "metrics")),
    Item("22", "the full model", ("model", "reproduce")),
    Item("23a", "performance with confidence intervals", ("metrics", "plots", "subgroups")),
    Item("23b", "heterogeneity in performance", ("groups", "folds")),
    Item("24", "results of updating", ("recalibration",)),
    Item("25", "interpretation, fairness"),
    Item("26", "limitations", ("cautions",), "the discussion"),
    Item("27a-c", "usability: poor inputs, expertise, next steps", ("corruptions",), "the discussion"),
)

CHECKLISTS = {"CLAIM 2024": CLAIM, "TRIPOD+AI": TRIPOD_AI}


def checklist(name: str, sections: Collection[str], titles: dict[str, str]) -> Table:
    """One row an item: where this report answers it, and what the author must write. sections: ids of those that the
    report has; titles: what they are called."""
    rows = []
    for item in CHECKLISTS[name]:
        there = [titles[section] for section in item.sections if section in sections]
        left = item.rest or "–" if there else (f"all of it{': ' * bool(item.rest)}{item.rest}")
        rows.append((item.number, item.text, ", ".join(there) or "–", left))
    answered = sum(row[2] != "–" for row in rows)
    return Table(("item", "asks for", "answered here", "left to the author"), tuple(rows),
                 f"{name}: this report has something on {answered} of {len(rows)} items")  # fmt: skip
