"""One call on a machine with a GPU: what frozen passes, training steps, speech, volumes and reading reach there.

    python examples/benchmarks/gpu.py --out gpu.json            # on a GPU; on a CPU, the same parts, small

Every ratio is against a bare PyTorch loop (for LoRA PEFT, for speech transformers, for volumes MONAI's inferer) in the
same call, on the same tensors, after as many warm-up steps. Weights are random and examples are noise: nothing is
downloaded. Prints a table, and writes it as JSON with the card, the versions and the seconds it took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from graftwork import audio, core, imaging
from graftwork.core.activation_cache.frozen_pass import Pass, outputs
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import Examples, load_batches, read_many
from graftwork.core.data.manifest import Manifest
from graftwork.core.types import Features


@dataclass(frozen=True)
class Size:
    """How large the parts are. images: of the frozen pass. steps: timed ones, after as many for warming up."""

    networks: tuple[str, ...]
    images: int
    batch: int
    steps: int
    speech: dict[str, Any]
    clips: int
    volume: int
    patch: int


LARGE = Size(("resnet50", "vit_base_patch16_224"), 20_000, 128, 20, {"model_type": "wav2vec2"}, 400, 256, 96)
TINY_SPEECH = {"model_type": "wav2vec2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
               "intermediate_size": 96, "conv_dim": [32] * 7, "num_conv_pos_embedding_groups": 4}  # fmt: skip
SMALL = Size(("resnet18", "vit_tiny_patch16_224"), 24, 4, 2, TINY_SPEECH, 8, 32, 32)
NAMED = ("torch", "timm", "monai", "peft", "transformers", "accelerate")


@dataclass(frozen=True)
class Figure:
    """One line of the table. ratio: to the bare loop's, above 1 where ours is faster; goal: what it should reach."""

    part: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    goal: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=None, help="JSON file")
    parser.add_argument("--parts", default="tests,pass,step,lora,speech,volumes,reading")
    parser.add_argument("--size", choices=["large", "small"], default=None, help="large where there is a GPU")
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    size = LARGE if (asked.size or ("large" if gpu else "small")) == "large" else SMALL
    device, began, figures = "cuda" if gpu else "cpu", time.perf_counter(), list[Figure]()
    os.environ["GRAFTWORK_CACHE"] = tempfile.mkdtemp(prefix="graftwork-gpu-")
    for part in asked.parts.split(","):
        try:
            for figure in PARTS[part](size, device):
                figures.append(figure)
                print(line(figure), flush=True)
        except ImportError as error:  # a machine with the wheels of one domain alone
            print(f"{part}: left out, {error}", flush=True)
    about = {
        "card": torch.cuda.get_device_name() if gpu else "none, rehearsed on the CPU",
        "versions": {
            name: installed(name) for name in ("torch", "timm", "monai", "peft", "transformers", "accelerate")
        },
        "tf32": {"matrices": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32},
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(f"{about['seconds']} s on {about['card']}")
    if asked.out:
        Path(asked.out).write_text(json.dumps(about | {"figures": [asdict(one) for one in figures]}, indent=2) + "\n")


def line(figure: Figure) -> str:
    compared = "" if figure.ratio is None else f"{figure.ratio:6.2f} x"
    goal = "" if figure.goal is None else f"(goal {figure.goal:g})"
    return f"{figure.part:<9} {figure.what:<52} {figure.value:>10.1f} {figure.unit:<12} {compared:>8} {goal}".rstrip()


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def tests(size: Size, device: str) -> Iterator[Figure]:
    """The tests marked gpu; none where there is no GPU, or no pytest."""
    if device == "cpu" or installed("pytest") is None:
        return
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"],
                          capture_output=True, text=True)  # fmt: skip
    print(done.stdout[-3000:])
    yield Figure("tests", "marked gpu, exit status", done.returncode, "", goal=0)


def frozen_pass(size: Size, device: str) -> Iterator[Figure]:
    """All stages over many pictures, and the probe on what they give."""
    recipe = core.Recipe(batch_size=size.batch, device=device, precision=half(device), workers=0)
    runtime = start_runtime(recipe)
    for name in size.networks:
        backbone = imaging.load_backbone(f"timm:{name}", weights="random")
        examples = pictures(size.images, backbone)
        work = Pass(backbone, examples, len(backbone.stages), runtime, recipe, None, 1)
        kept: list[torch.Tensor] = []

        def ours(work: Pass = work, kept: list[torch.Tensor] = kept) -> None:
            for _, _, tensors in outputs(work, [(row, 0) for row in range(len(work.examples))]):
                kept.extend(tensors)

        def bare(backbone: Any = backbone, examples: Examples = examples) -> None:
            network = runtime.place(backbone.copy().network).eval()
            compiled = torch.compile(network, options={"freezing": True}) if device == "cuda" else network
            with torch.inference_mode(), autocast(device):
                for batch in load_batches(examples, batches(len(examples), size.batch), pin=runtime.pins):
                    compiled(runtime.send(batch).values).float().cpu()

        seconds, others = timed(ours, device), timed(bare, device)
        yield Figure("pass", f"{name}, bf16", size.images / seconds, "images/s", others / seconds, 0.95)
        vectors = replace(examples, tensors=tuple(kept[: size.images]), stage=len(backbone.stages))
        began = time.perf_counter()
        core.finetune(backbone, vectors, strategy="probe", recipe=recipe)
        yield Figure("pass", f"{name}, probe on {size.images} vectors", time.perf_counter() - began, "s")


def full_step(size: Size, device: str) -> Iterator[Figure]:
    """Steps of full fine-tuning."""
    for name in size.networks:
        backbone = imaging.load_backbone(f"timm:{name}", weights="random")
        rows = pictures(size.batch * size.steps, backbone)
        ours = step_seconds(backbone, rows, "full", size, device)
        network = backbone.copy().network.train().to(device, memory_format=torch.channels_last)
        head = torch.nn.Linear(backbone.feature_dim, 2).to(device)
        others = bare_steps(lambda x, network=network, head=head: head(network(x)), [*network.parameters(),
                            *head.parameters()], rows, size, device)  # fmt: skip
        yield Figure("step", f"{name}, full, bf16, batches of {size.batch}", size.batch / ours, "images/s",
                     others / ours, 0.97)  # fmt: skip


def lora_step(size: Size, device: str) -> Iterator[Figure]:
    """Steps of LoRA of rank 8 on the attention of a ViT, against PEFT on the same network."""
    from peft import LoraConfig, get_peft_model

    name = size.networks[1]
    backbone = imaging.load_backbone(f"timm:{name}", weights="random")
    rows = pictures(size.batch * size.steps, backbone)
    ours = step_seconds(backbone, rows, "lora", size, device)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["qkv", "proj"])
    network = get_peft_model(backbone.copy().network.train(), config).to(device)  # type: ignore[arg-type]
    head = torch.nn.Linear(backbone.feature_dim, 2).to(device)
    learning = [one for one in network.parameters() if one.requires_grad]
    others = bare_steps(lambda x: head(network(x)), [*learning, *head.parameters()], rows, size, device)
    yield Figure("lora", f"{name}, rank 8, bf16", size.batch / ours, "images/s", others / ours)


def speech(size: Size, device: str) -> Iterator[Figure]:
    """Strategies on clips of 1 to 15 s, against transformers' network and order of clips by length."""
    generator = np.random.default_rng(0)
    seconds = generator.uniform(1, 15 if device == "cuda" else 2, size.clips)
    clips = [torch.from_numpy(generator.standard_normal(round(16000 * one)).astype(np.float32)) for one in seconds]
    backbone = audio.new_backbone(size.speech)
    examples = Examples(noise(size.clips, "audio"), backbone.contract, clips, seconds=tuple(map(float, seconds)))
    total = float(seconds.sum())
    recipe = core.Recipe(epochs=1, batch_size=8, device=device, precision=half(device), augment="off", workers=0)
    for strategy in ("probe", "layers", "lora", "full"):
        core.finetune(backbone, examples.subset(range(8)), strategy=strategy, recipe=recipe)
        reset(device)
        taken = timed(
            lambda strategy=strategy: core.finetune(backbone, examples, strategy=strategy, recipe=recipe), device
        )
        ratio = transformers_seconds(clips, size, device) / taken if strategy == "full" else None
        yield Figure("speech", f"{strategy}, from an empty cache", total / taken, "s of sound/s", ratio,
                     2.0 if ratio else None)  # fmt: skip
        if device == "cuda":
            yield Figure("speech", f"{strategy}, peak memory", torch.cuda.max_memory_allocated() / 2**20, "MiB")
    lengths = [[len(clips[row]) for row in batch] for batch in core_batches(examples, recipe)]
    padded = sum(max(one) * len(one) for one in lengths)
    yield Figure("speech", "padding", 100 * (1 - sum(map(sum, lengths)) / padded), "% of a batch")


def transformers_seconds(clips: Sequence[torch.Tensor], size: Size, device: str) -> float:
    """An epoch of transformers' wav2vec 2.0 for classification, clips drawn as its Trainer does by length."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
    from transformers.trainer_pt_utils import LengthGroupedSampler

    shape = {name: value for name, value in size.speech.items() if name != "model_type"}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**shape)).train().to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    order = list(LengthGroupedSampler(8, lengths=[len(one) for one in clips]))

    def epoch() -> None:
        for start in range(0, len(order), 8):
            chosen = [clips[row] for row in order[start : start + 8]]
            values = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True).to(device)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one)) for one in chosen], batch_first=True).to(
                device
            )
            with autocast(device):
                model(values, attention_mask=mask, labels=torch.zeros(len(chosen), dtype=torch.long,
                      device=device)).loss.backward()  # fmt: skip
            optimiser.step()
            optimiser.zero_grad()

    epoch()
    return timed(epoch, device)


def volumes(size: Size, device: str) -> Iterator[Figure]:
    """Steps on patches of volumes, and a whole volume in overlapping patches, against MONAI's inferer."""
    from monai.inferers import sliding_window_inference

    backbone = imaging.load_backbone(
        "monai:segresnet-3d", weights="random", mask_values="0,1", patch_size=str(size.patch)
    )
    network = backbone.copy().network.to(device)
    patches = torch.randn(2, 1, *[size.patch] * 3, device=device)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)

    def maps(values: torch.Tensor) -> torch.Tensor:
        return backbone.with_network(network).run(Features(values)).values

    def steps() -> None:
        for _ in range(size.steps):
            with autocast(device):
                maps(patches).float().square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()

    steps()
    yield Figure(
        "volumes", f"segresnet, patches of {size.patch}^3 by two", size.steps / timed(steps, device), "steps/s"
    )
    whole = torch.randn(1, 1, *[size.volume] * 3, device=device)

    def inferred() -> None:
        with torch.inference_mode(), autocast(device):
            sliding_window_inference(whole, [size.patch] * 3, 4, maps, overlap=0.5, mode="gaussian")

    inferred()
    yield Figure("volumes", f"MONAI's inferer, a volume of {size.volume}^3", timed(inferred, device), "s")


def reading(size: Size, device: str) -> Iterator[Figure]:
    """Files a second that decoding feeds."""
    from PIL import Image

    backbone = imaging.load_backbone(f"timm:{size.networks[0]}", weights="random")
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(size.images // 10 + 8):
            values = generator.integers(0, 255, (28, 28, 3)).astype(np.uint8).repeat(9, 0).repeat(9, 1)
            paths.append(f"{folder}/{number}.jpg")
            Image.fromarray(values).save(paths[-1])
        seconds = timed(lambda: [None for _ in read_many(backbone.contract, paths, "")], "cpu")
    yield Figure("reading", "JPEGs of 252 pixels, decoded and resized", len(paths) / seconds, "files/s")


def step_seconds(backbone: Any, rows: Examples, strategy: str, size: Size, device: str) -> float:
    """Seconds of one of our steps: two epochs less one, so that what happens once does not count."""
    recipe = core.Recipe(
        batch_size=size.batch, device=device, precision=half(device), augment="off", workers=0, patience=9
    )
    taken = [timed(lambda epochs=epochs: core.finetune(backbone, rows, strategy=strategy,
                   recipe=replace(recipe, epochs=epochs)), device) for epochs in (1, 1, 3)]  # fmt: skip
    return max((taken[2] - taken[1]) / (2 * size.steps), 1e-9)


def bare_steps(run: Callable[[torch.Tensor], torch.Tensor], learning: list[Any], rows: Examples, size: Size,
               device: str) -> float:  # fmt: skip
    """Seconds of one step as most would write it."""
    optimiser = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    targets = torch.as_tensor(np.asarray(rows.manifest.values)[: size.batch]).to(device)

    def epoch() -> None:
        for batch in load_batches(rows, batches(len(rows), size.batch), pin=device == "cuda"):
            values = batch.values.to(device, non_blocking=True, memory_format=torch.channels_last)
            with autocast(device):
                loss = F.cross_entropy(run(values).float(), targets[: len(values)])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()

    epoch()
    return timed(epoch, device) / size.steps


def core_batches(examples: Examples, recipe: core.Recipe) -> list[list[int]]:
    from graftwork.core.data.batches import epoch_batches

    return [batch.tolist() for batch in epoch_batches(examples, recipe, 0)]


def pictures(count: int, backbone: Any) -> Examples:
    """So many pictures, of which sixteen differ: they share their memory."""
    made = [torch.randn_like(backbone.contract.blank()) for _ in range(16)]
    return Examples(noise(count, "imaging"), backbone.contract, [made[row % 16] for row in range(count)])


def noise(count: int, kind: str) -> Manifest:
    """A manifest of rows without files, whose two labels take turns, each row a group of its own."""
    folder = Path(tempfile.mkdtemp(prefix="graftwork-gpu-"))
    paths = []
    for row in range(count):
        paths.append(str(folder / f"{row}.{kind}"))
        Path(paths[-1]).write_text(str(row))
    return Manifest("noise", tuple(paths), "single-label", "label", ("a", "b"), np.arange(count) % 2)


def batches(count: int, size: int) -> list[list[int]]:
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def half(device: str) -> Any:
    return "bf16" if device == "cuda" else "fp32"


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds until the device has done it."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


PARTS: dict[str, Callable[[Size, str], Iterator[Figure]]] = {
    "tests": tests, "pass": frozen_pass, "step": full_step, "lora": lora_step, "speech": speech, "volumes": volumes,
    "reading": reading,
}  # fmt: skip


if __name__ == "__main__":
    main()
