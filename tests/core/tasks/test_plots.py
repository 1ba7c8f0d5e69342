"""Panels: nothing clipped at two and at ten classes, areas with their intervals, shares, and the decision curve."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import average_precision_score, roc_auc_score

from graftwork.core.evaluation.evaluation import evaluate_predictions
from graftwork.core.tasks import SINGLE_LABEL
from graftwork.core.tasks.plots import draw_side_by_side, panel_svg, short_name
from graftwork.core.tasks.task import Drawn


def drawn(count, rows=200, names="a class of a long name {}"):
    rng = np.random.default_rng(0)
    values = rng.integers(0, count, rows)
    predictions = rng.dirichlet(np.ones(count), rows)
    predictions[np.arange(rows), values] += 0.3
    predictions /= predictions.sum(1, keepdims=True)
    classes = tuple(names.format(place) for place in range(count))
    return Drawn(values, predictions, classes, "label", SINGLE_LABEL.confusion(values, predictions, classes))


def beyond(figure):
    """By how many inches what is drawn reaches beyond the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.get_tightbbox(canvas.get_renderer())
    width, height = figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.mark.parametrize("count", [2, 3, 10, 14])
def test_no_title_name_or_legend_is_clipped(count):
    panels = SINGLE_LABEL.panels(drawn(count))
    assert beyond(draw_side_by_side(panels)) < 0.02
    for panel in panels:
        assert beyond(draw_side_by_side([panel])) < 0.02, panel.name


def test_the_check_sees_what_is_clipped():
    figure = draw_side_by_side(SINGLE_LABEL.panels(drawn(2))[:1])
    figure.text(0.9, 0.5, "far too long for this place")
    assert beyond(figure) > 0.5


def labels_of(panel):
    figure = draw_side_by_side([panel])
    part = figure.subfigs[0]
    legends = [*part.legends, *(own for axes in part.axes if (own := axes.get_legend()) is not None)]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_areas_of_two_classes_are_those_of_the_evaluation_with_their_intervals():
    own = drawn(2, names="{}")
    metrics = evaluate_predictions(SINGLE_LABEL, own.classes, own.values, own.predictions).metrics
    roc, precision, *_ = SINGLE_LABEL.panels(own)
    assert labels_of(roc) == [f"1: {metrics['auroc']}"]
    assert labels_of(precision) == [f"1: {metrics['average_precision']}"]
    assert str(metrics["auroc"]) in roc.says


def test_areas_of_more_classes_are_each_against_the_rest():
    own = drawn(4, names="{}")
    roc, precision, *_ = SINGLE_LABEL.panels(own)
    for measure, panel in ((roc_auc_score, roc), (average_precision_score, precision)):
        found = [label.split(" [")[0] for label in labels_of(panel)]
        assert found == [f"{k}: {measure(own.values == k, own.predictions[:, k]):.3f}" for k in range(4)]


def test_the_area_below_the_drawn_steps_is_the_average_precision():
    own = drawn(2)
    (axes,) = draw_side_by_side([SINGLE_LABEL.panels(own)[1]]).subfigs[0].axes
    line = next(one for one in axes.lines if one.get_drawstyle().startswith("steps"))
    recall, precision = line.get_data()
    assert line.get_drawstyle() == "steps-post"  # a point's precision holds from its recall down to the next one's
    area = (precision[:-1] * -np.diff(recall)).sum()
    assert area == pytest.approx(average_precision_score(own.values, own.predictions[:, 1]))


def test_intervals_count_groups():
    own = drawn(2, names="{}")
    groups = tuple(str(row // 10) for row in range(200))
    grouped = Drawn(own.values, own.predictions, own.classes, "label", own.confusion, groups)
    metrics = evaluate_predictions(SINGLE_LABEL, own.classes, own.values, own.predictions, groups).metrics
    assert labels_of(SINGLE_LABEL.panels(grouped)[0]) == [f"1: {metrics['auroc']}"]


def test_the_confusion_matrix_says_counts_and_shares_where_there_are_any():
    own = drawn(3)
    panel = next(one for one in SINGLE_LABEL.panels(own) if one.name == "confusion")
    (axes,) = draw_side_by_side([panel]).subfigs[0].axes
    shares = own.confusion / own.confusion.sum(1, keepdims=True)
    expected = {f"{count}\n{share:.0%}" for count, share in zip(own.confusion.ravel(), shares.ravel(), strict=True)
                if count}  # fmt: skip
    assert {text.get_text() for text in axes.texts} == expected


@pytest.mark.parametrize("name", ["$\\frac{$ {}", "_hidden {}", "a & <b> {}", "x" * 60 + "{}"])
def test_any_name_can_be_drawn(name):
    own = drawn(2)
    classes = tuple(name.replace("{}", str(place)) for place in range(2))
    panels = SINGLE_LABEL.panels(Drawn(own.values, own.predictions, classes, name, own.confusion))
    assert len(labels_of(panels[0])) == 1
    assert all(panel_svg(panel).startswith(b"<?xml") for panel in panels)


def test_long_names_keep_their_ends_by_which_they_differ():
    one, other = (short_name(f"a rather long name of a class, number {place}") for place in (1, 2))
    assert one != other
    assert max(map(len, (one, other))) <= 22


def test_one_panel_is_the_same_bytes_twice():
    first, again = (panel_svg(SINGLE_LABEL.panels(drawn(3))[0]) for _ in range(2))
    assert first == again
