"""What a search for settings varies, and one choice out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graftwork.core.model.strategies import parse_strategy
from graftwork.core.recipe import Recipe

if TYPE_CHECKING:
    import optuna

RATES = (1e-4, 1e-2)
"""Learning rates of heads that are searched, on a logarithmic scale."""

RANKS = (2, 4, 8, 16, 32)
"""Ranks of `lora`, whose alpha is twice the rank, as in the recipe's defaults: its changes count alike."""


@dataclass(frozen=True)
class Choice:
    """One point of the space. image_size: None for the backbone's own."""

    strategy: str
    recipe: Recipe
    image_size: int | None = None


@dataclass(frozen=True)
class SearchSpace:
    """strategies: names that are searched. trained: those of them that train in epochs, and have a rate and epochs to
    choose; the others are solved. recipe: what is not searched, and the most epochs. image_sizes: searched where there
    are any. changes: whether random changes of the examples are searched."""

    strategies: tuple[str, ...]
    trained: frozenset[str]
    recipe: Recipe
    image_sizes: tuple[int, ...] = ()
    changes: bool = True

    def to_json(self) -> dict[str, Any]:
        """What is searched, as plain values."""
        return {
            "strategies": list(self.strategies),
            "image sizes": list(self.image_sizes),
            "augment": self.changes,
            "epochs": list(self.epochs),
            "learning rate": list(RATES),
            "lora rank": list(RANKS),
        }

    @property
    def epochs(self) -> tuple[int, int]:
        """Fewest and most epochs: from a quarter of the recipe's."""
        return max(1, self.recipe.epochs // 4), max(1, self.recipe.epochs)

    def first_points(self) -> list[dict[str, Any]]:
        """Where the search begins: every strategy with the recipe's own settings, as `compare` runs them."""
        return [self._first_point(name) for name in self.strategies]

    def _first_point(self, strategy: str) -> dict[str, Any]:
        point: dict[str, Any] = {"strategy": strategy}
        if self.image_sizes:
            point["image_size"] = self.image_sizes[0]
        if strategy in self.trained:
            rate = min(max(self.recipe.learning_rate, RATES[0]), RATES[1])
            point |= {"learning_rate": rate, "epochs": self.epochs[1]}
            if self.changes:
                point["augment"] = "off"
        if parse_strategy(strategy).name == "lora":
            point["lora_rank"] = min(RANKS, key=lambda rank: abs(rank - self.recipe.lora_rank))
        return point

    def choose(self, trial: optuna.Trial) -> Choice:
        """What the sampler chooses for a trial."""
        strategy = trial.suggest_categorical("strategy", self.strategies)
        size = trial.suggest_categorical("image_size", self.image_sizes) if self.image_sizes else None
        changes: dict[str, Any] = {}
        if strategy in self.trained:
            changes["learning_rate"] = trial.suggest_float("learning_rate", *RATES, log=True)
            changes["epochs"] = trial.suggest_int("epochs", *self.epochs)
            if self.changes:
                changes["augment"] = trial.suggest_categorical("augment", ("off", "on"))
        if parse_strategy(strategy).name == "lora":
            changes["lora_rank"] = trial.suggest_categorical("lora_rank", RANKS)
            changes["lora_alpha"] = 2.0 * changes["lora_rank"]
        return Choice(strategy, replace(self.recipe, **changes), size)
