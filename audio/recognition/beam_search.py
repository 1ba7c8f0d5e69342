"""The most probable text of the outputs of a CTC head: all paths that spell it count, not the best one alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 32


def best_text(log_shares: NDArray[np.float64], width: int = WIDTH) -> list[int]:
    """Numbers of the most probable text without blanks, from logarithms of shares (frames, classes), blank first.

    Prefix beam search (Graves and Jaitly 2014; Hannun et al. 2014): after every frame the `width` most probable
    beginnings of texts are kept, each with the shares of its paths that end in a blank and of those that end in its
    last character. Exact where no beginning is dropped; without a language model.
    """
    # Beginnings are a tree: of every node its parent and last character, and its children by character.
    parents, last, children = [-1], [0], [dict[int, int]()]
    beam = np.array([0])
    blank, spoken = np.array([0.0]), np.array([-np.inf])
    for shares in log_shares:
        place = {int(node): row for row, node in enumerate(beam)}
        ends = np.array([last[node] for node in beam])
        total = np.logaddexp(blank, spoken)
        longer = total[:, None] + shares
        # The same character twice needs a blank in between; without one it only lasts longer.
        longer[range(len(beam)), ends] = blank + shares[ends]
        longer[:, 0] = -np.inf
        stay_blank, stay_spoken = total + shares[0], np.where(ends > 0, spoken + shares[ends], -np.inf)
        for row, node in enumerate(beam):
            before = place.get(parents[node])
            if before is not None:  # two ways to one beginning
                stay_spoken[row] = np.logaddexp(stay_spoken[row], longer[before, ends[row]])
                longer[before, ends[row]] = -np.inf
        scores = np.concatenate([np.logaddexp(stay_blank, stay_spoken), longer.ravel()])
        kept = np.argsort(-scores, kind="stable")[:width]
        kept = kept[scores[kept] > -np.inf]
        nodes = []
        for choice in kept.tolist():
            if choice < len(beam):
                nodes.append(int(beam[choice]))
                continue
            row, character = divmod(choice - len(beam), len(shares))
            known = children[beam[row]]
            if character not in known:
                known[character] = len(last)
                parents.append(int(beam[row]))
                last.append(character)
                children.append({})
            nodes.append(known[character])
        old = kept < len(beam)
        rows = np.where(old, kept, 0)
        blank = np.where(old, stay_blank[rows], -np.inf)
        spoken = np.where(old, stay_spoken[rows], scores[kept])
        beam = np.array(nodes)
    node, found = int(beam[np.logaddexp(blank, spoken).argmax()]), list[int]()
    while node:
        found.append(last[node])
        node = parents[node]
    return found[::-1]
