"""Seconds of a recording that somebody names, as `talk.wav#t=12,22`: whether they can be meant."""

from __future__ import annotations

from graftwork.core.data.content import split_span


def span_problem(path: str) -> str | None:
    """What is wrong with the seconds in a path; None where nothing is, or none are named."""
    span = split_span(path)
    if span is None or 0 <= span[1] < span[2] < float("inf"):
        return None
    return f"expected seconds from 0 on, the start before the end, as #t=12,22; found {span[1]:g} and {span[2]:g}"
