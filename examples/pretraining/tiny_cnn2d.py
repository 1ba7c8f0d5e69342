"""Pretrains `tiny:cnn2d` to name the formula behind a picture. It sees generated pictures only.

    python examples/pretraining/tiny_cnn2d.py --out tiny_cnn2d

The result is a folder with model.safetensors in half precision and history.csv: 22 minutes on one core.
`--device cuda` where there is a GPU.
"""

from __future__ import annotations

import argparse
import csv
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from procedural_images import CLASSES, draw, total
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork import imaging

HELD_OUT = 2000
MEAN, STD = (0.4, 0.4, 0.4), (0.28, 0.28, 0.28)
"""Of pictures of 0 to 1: what the contract of `tiny:cnn2d` takes away and divides by."""


def draw_many(numbers: range) -> tuple[Tensor, Tensor]:
    drawn = [draw(number) for number in numbers]
    pictures = np.stack([np.round(picture * 255).astype(np.uint8) for picture, _ in drawn])
    return torch.from_numpy(pictures), torch.tensor([kind for _, kind in drawn])


def draw_all(workers: int) -> tuple[Tensor, Tensor]:
    """Every picture (pictures, SIDE, SIDE) as bytes, and its class."""
    parts = [range(first, min(first + 500, total())) for first in range(0, total(), 500)]
    with ProcessPoolExecutor(workers) as pool:
        found = list(track(pool.map(draw_many, parts), "drawing", len(parts)))
    return torch.cat([pictures for pictures, _ in found]), torch.cat([kinds for _, kinds in found])


def changed(pictures: Tensor, side: int) -> Tensor:
    """Pictures (batch, SIDE, SIDE) of bytes -> (batch, 3, side, side), turned, moved, scaled, tinted, with noise."""
    batch, device = len(pictures), pictures.device
    angle = torch.randn(batch, device=device) * 0.25
    size = torch.empty(batch, 2, device=device).uniform_(0.65, 1.1)
    flip = torch.where(torch.rand(batch, device=device) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    shift = torch.empty(batch, 2, device=device).uniform_(-0.2, 0.2)
    rows = [torch.stack([flip * cos * size[:, 0], -sin * size[:, 1], shift[:, 0]], 1),
            torch.stack([flip * sin * size[:, 0], cos * size[:, 1], shift[:, 1]], 1)]  # fmt: skip
    grid = F.affine_grid(torch.stack(rows, 1), [batch, 1, side, side], align_corners=False)
    grey = F.grid_sample(pictures[:, None].float() / 255, grid, padding_mode="zeros", align_corners=False)
    grey = grey.clamp(1e-4, 1) ** torch.empty(batch, 1, 1, 1, device=device).uniform_(-0.5, 0.5).exp()
    grey = grey * torch.empty(batch, 1, 1, 1, device=device).uniform_(0.6, 1.1)
    tinted = (torch.rand(batch, 1, 1, 1, device=device) < 0.3) * torch.randn(batch, 3, 1, 1, device=device) * 0.3
    colour = grey * (1 + tinted) + 0.5 * tinted * torch.rand(batch, 1, 1, 1, device=device)
    noise = torch.rand(batch, 1, 1, 1, device=device) * 0.06 * torch.randn(batch, 1, side, side, device=device)
    return (colour + noise).clamp(0, 1)


def standard(pictures: Tensor) -> Tensor:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return (pictures - mean[:, None, None].to(pictures)) / std[:, None, None].to(pictures)


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Tensor, kinds: Tensor, device: str) -> float:
    """Share of held-out pictures, only made smaller, whose formula is named."""
    model.eval()
    right = 0
    for chosen in torch.arange(len(kinds)).split(250):
        plain = F.interpolate(pictures[chosen].to(device)[:, None].float() / 255, size=(96, 96), mode="area")
        plain = plain.expand(-1, 3, -1, -1)
        right += int((model(standard(plain)).argmax(1).cpu() == kinds[chosen]).sum())
    model.train()
    return right / len(kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tiny_cnn2d"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device = arguments.device
    torch.manual_seed(arguments.seed)
    pictures, kinds = draw_all(arguments.workers)
    order = torch.randperm(len(kinds))
    val, train = order[:HELD_OUT], order[HELD_OUT:]
    network = imaging.load_backbone("tiny:cnn2d", weights="random").network
    model = nn.Sequential(network, nn.Dropout(0.1), nn.Linear(network.num_features, CLASSES))  # type: ignore[arg-type]
    model.to(device, memory_format=torch.channels_last).train()
    steps = len(train) // arguments.batch_size
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=steps * arguments.epochs, pct_start=0.15
    )
    history, began = [], time.monotonic()
    for epoch in range(arguments.epochs):
        side = 64 if epoch < arguments.epochs // 2 else 96
        summed = 0.0
        batches = train[torch.randperm(len(train))].split(arguments.batch_size)[:steps]
        for chosen in track(batches, f"epoch {epoch + 1} of {arguments.epochs}"):
            inputs = standard(changed(pictures[chosen].to(device), side))
            scores = model(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(scores, kinds[chosen].to(device), label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            summed += float(loss.detach())
        row = {"epoch": epoch + 1, "side": side, "train_loss": round(summed / steps, 4),
               "held_out_accuracy": round(accuracy(model, pictures[val], kinds[val], device), 4),
               "seconds": round(time.monotonic() - began)}  # fmt: skip
        history.append(row)
        print(row, flush=True)
        save(model[0], arguments.out, history)


def save(network: nn.Module, folder: Path, history: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    with (folder / "history.csv").open("w", newline="") as stream:
        rows = csv.DictWriter(stream, list(history[0]))
        rows.writeheader()
        rows.writerows(history)


if __name__ == "__main__":
    main()
