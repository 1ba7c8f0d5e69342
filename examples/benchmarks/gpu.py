"""One call on a machine with a GPU: what frozen passes, training steps, speech, volumes and reading reach there.

    python examples/benchmarks/gpu.py --out gpu.json            # on a GPU; on a CPU, the same parts, small

Every ratio is against a bare PyTorch loop (for LoRA PEFT, for speech transformers, for volumes MONAI's loss and
inferer) in the same call, after as many warm-up steps. Weights are random and examples are noise: nothing is
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
import traceback
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
from graftwork.core.inference.segmentation import patch_network
from graftwork.core.types import Features


@dataclass(frozen=True)
class Size:
    """How large the parts are. images: of the frozen pass. batches: of the network alone. steps: timed ones, after as
    many for warming up."""

    networks: tuple[str, ...]
    images: int
    batch: int
    batches: tuple[int, ...]
    steps: int
    speech: dict[str, Any]
    clips: int
    volume: int
    patch: int


LARGE = Size(("resnet50", "vit_base_patch16_224"), 20_000, 128, (64, 128, 256, 512), 20, {"model_type": "wav2vec2"},
             400, 256, 96)  # fmt: skip
TINY_SPEECH = {"model_type": "wav2vec2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
               "intermediate_size": 96, "conv_dim": [32] * 7, "num_conv_pos_embedding_groups": 4}  # fmt: skip
SMALL = Size(("test_resnet", "test_vit"), 24, 4, (4,), 2, TINY_SPEECH, 6, 32, 32)
ROOT = Path(__file__).resolve().parents[2]
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
    parser.add_argument("--out", default=None, help="JSON file, written anew after every part")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--size", choices=["large", "small"], default=None, help="large where there is a GPU")
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    size = LARGE if (asked.size or ("large" if gpu else "small")) == "large" else SMALL
    device, began, figures = "cuda" if gpu else "cpu", time.perf_counter(), list[Figure]()
    failed: list[str] = []
    os.environ["GRAFTWORK_CACHE"] = tempfile.mkdtemp(prefix="graftwork-gpu-")
    about = {
        "card": torch.cuda.get_device_name() if gpu else "none, rehearsed on the CPU",
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: installed(name) for name in NAMED},
        "tf32": {"matrices": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32},
    }
    for part in asked.parts.split(","):
        try:
            for figure in PARTS[part](size, device):
                figures.append(figure)
                print(line(figure), flush=True)
        except ImportError as error:  # a machine with the wheels of one domain alone
            print(f"{part}: left out, {error}", flush=True)
        except Exception:  # noqa: BLE001  # minutes on a GPU are few: the other parts are measured all the same
            traceback.print_exc()
            failed.append(part)
        about["seconds"] = round(time.perf_counter() - began, 1)
        if asked.out:
            written = about | {"figures": [asdict(one) for one in figures]}
            Path(asked.out).write_text(json.dumps(written, indent=2) + "\n")
    print(f"{about['seconds']} s on {about['card']}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


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
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    several = ["-n", "4"] if installed("pytest-xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *several, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    print(done.stdout[-4000:])
    yield Figure("tests", "marked gpu, exit status", done.returncode, "", goal=0)


def frozen_pass(size: Size, device: str) -> Iterator[Figure]:
    """All stages over many images that lie in the CPU's memory, against the network alone on images that lie in the
    device's, and the probe on what they give."""
    recipe = core.Recipe(batch_size=size.batch, device=device, precision=half(device), workers=0, deterministic="off")
    runtime = start_runtime(recipe)
    for name in size.networks:
        backbone = imaging.load_backbone(f"timm:{name}", weights="random")
        examples = pictures(size.images, backbone)
        network = runtime.place(backbone.copy().network).eval()
        eager, largest, shape = 0.0, 0, backbone.contract.blank().shape
        for rows in size.batches:
            found = rows / bare_forward(network, rows, shape, device)
            eager, largest = max(eager, found), rows
            yield Figure("pass", f"{name}, bare, eager, batches of {rows}", found, "images/s")
        for mode in ("off", "on") if device == "cuda" else ("off",):
            bare = eager
            if mode == "on":
                compiled, began = torch.compile(network, options={"freezing": True}), time.perf_counter()
                bare_forward(compiled, largest // 2, shape, device)
                yield Figure("pass", f"{name}, bare, compiling", time.perf_counter() - began, "s")
                bare = largest // 2 / bare_forward(compiled, largest // 2, shape, device)
                yield Figure("pass", f"{name}, bare, compiled, batches of {largest // 2}", bare, "images/s")
            first, found, kept = steady_pass(backbone, examples, replace(recipe, compile=mode), runtime)
            yield Figure("pass", f"{name}, ours, until the first batch, compile {mode}", first, "s")
            yield Figure("pass", f"{name}, ours, then, compile {mode}", found, "images/s", found / bare, 0.95)
        vectors = replace(examples, tensors=tuple(kept), stage=len(backbone.stages))
        for place in dict.fromkeys(("cpu", device)):
            seconds = run_seconds(backbone, vectors, "probe", replace(recipe, device=place), device)
            yield Figure("pass", f"{name}, probe on {size.images} vectors, solved on {place}", seconds, "s")
        del network


def bare_forward(network: Any, rows: int, shape: Sequence[int], device: str) -> float:
    """Seconds of one batch of images on the device, the median of eight after two for warming up."""
    images = torch.randn(rows, *shape, device=device).contiguous(memory_format=torch.channels_last)

    def once() -> None:
        with torch.inference_mode(), autocast(device):
            network(images)

    taken = [timed(once, device) for _ in range(10 if device == "cuda" else 3)]
    return sorted(taken[2:])[len(taken[2:]) // 2]


def steady_pass(
    backbone: Any, examples: Examples, recipe: core.Recipe, runtime: Any
) -> tuple[float, float, list[torch.Tensor]]:
    """Seconds until the first batch is there, images a second after the third, and the vectors in order."""
    work = Pass(backbone, examples, len(backbone.stages), runtime, recipe, None, 1)
    began, marks, kept = time.perf_counter(), [], {}
    for batch, _, tensors in outputs(work, [(row, 0) for row in range(len(examples))]):
        kept |= dict(zip(batch, tensors, strict=True))
        marks.append((time.perf_counter(), len(batch)))
    skipped = min(3, len(marks) - 1)
    rows = sum(count for _, count in marks[skipped:])
    since = marks[skipped - 1][0] if skipped else began
    return marks[0][0] - began, rows / (marks[-1][0] - since), [kept[row] for row in range(len(kept))]


def full_step(size: Size, device: str) -> Iterator[Figure]:
    """Steps of full fine-tuning, as fast as the kernels are and by deterministic ones alone."""
    for name in size.networks:
        backbone = imaging.load_backbone(f"timm:{name}", weights="random")
        rows = pictures(size.batch * size.steps, backbone)
        network = backbone.copy().network.train().to(device, memory_format=torch.channels_last)
        head = torch.nn.Linear(backbone.feature_dim, 2).to(device)
        bare = bare_steps(lambda x, network=network, head=head: head(network(x)), [*network.parameters(),
                          *head.parameters()], rows, size, device)  # fmt: skip
        del network
        for mode, goal in (("off", 0.97), ("on", None)):
            ours = step_seconds(backbone, rows, "full", size, device, deterministic=mode)
            yield Figure("step", f"{name}, full, batches of {size.batch}, deterministic {mode}", size.batch / ours,
                         "images/s", bare / ours, goal)  # fmt: skip


def lora_step(size: Size, device: str) -> Iterator[Figure]:
    """Steps of LoRA of rank 8 on the attention of a ViT, against PEFT on the same network."""
    from peft import LoraConfig, get_peft_model

    name = size.networks[1]
    backbone = imaging.load_backbone(f"timm:{name}", weights="random")
    rows = pictures(size.batch * size.steps, backbone)
    ours = step_seconds(backbone, rows, "lora", size, device, deterministic="off")
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["qkv", "proj"])
    network = get_peft_model(backbone.copy().network.train(), config).to(device)  # type: ignore[arg-type]
    head = torch.nn.Linear(backbone.feature_dim, 2).to(device)
    learning = [one for one in network.parameters() if one.requires_grad]
    others = bare_steps(lambda x: head(network(x)), [*learning, *head.parameters()], rows, size, device)
    yield Figure("lora", f"{name}, rank 8", size.batch / ours, "images/s", others / ours)


def speech(size: Size, device: str) -> Iterator[Figure]:
    """Strategies on clips of 1 to 15 s, against transformers' network and order of clips by length, which is drawn anew
    for every epoch, as its Trainer does; once more with the order of the epoch before."""
    generator = np.random.default_rng(0)
    seconds = generator.uniform(1, 15 if device == "cuda" else 2, size.clips)
    clips = [torch.from_numpy(generator.standard_normal(round(16000 * one)).astype(np.float32)) for one in seconds]
    backbone = audio.new_backbone(size.speech)
    examples = Examples(noise(size.clips, "audio"), backbone.contract, clips, seconds=tuple(map(float, seconds)))
    total = float(seconds.sum())
    recipe = core.Recipe(batch_size=8, device=device, precision=half(device), augment="off", workers=0,
                         deterministic="off")  # fmt: skip
    fresh, same = transformers_seconds(clips, size, device)
    yield Figure("speech", "transformers, an epoch in a new order", total / fresh, "s of sound/s")
    yield Figure("speech", "transformers, an epoch in the order before", total / same, "s of sound/s")
    for strategy in ("full", "lora", "layers", "probe"):
        os.environ["GRAFTWORK_CACHE"] = tempfile.mkdtemp(prefix="graftwork-gpu-")
        reset(device)
        one = replace(recipe, epochs=1)
        whole = run_seconds(backbone, examples, strategy, one, device)
        yield Figure("speech", f"{strategy}, a run of one epoch from an empty cache", total / whole, "s of sound/s")
        if device == "cuda":
            yield Figure("speech", f"{strategy}, peak memory", torch.cuda.max_memory_allocated() / 2**20, "MiB")
        if strategy in ("layers", "probe"):  # which learn from a vector a clip: an epoch takes no time
            continue
        known = run_seconds(backbone, examples, strategy, one, device)
        epoch = max((run_seconds(backbone, examples, strategy, replace(recipe, epochs=3), device) - known) / 2, 1e-9)
        yield Figure("speech", f"{strategy}, an epoch in a new order", total / epoch, "s of sound/s", fresh / epoch,
                     2.0 if strategy == "full" else None)  # fmt: skip
        yield Figure("speech", f"{strategy}, the same, to transformers in the order before", total / epoch,
                     "s of sound/s", same / epoch)  # fmt: skip
    lengths = [[len(clips[row]) for row in batch] for batch in core_batches(examples, recipe)]
    padded = sum(max(one) * len(one) for one in lengths)
    yield Figure("speech", "padding", 100 * (1 - sum(map(sum, lengths)) / padded), "% of a batch")


def transformers_seconds(clips: Sequence[torch.Tensor], size: Size, device: str) -> tuple[float, float]:
    """Seconds of an epoch of transformers' wav2vec 2.0: clips drawn by length anew, and in the same order again."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
    from transformers.trainer_pt_utils import LengthGroupedSampler

    shape = {name: value for name, value in size.speech.items() if name != "model_type"}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**shape)).train().to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def epoch(order: list[int]) -> None:
        for start in range(0, len(order), 8):
            chosen = [clips[row] for row in order[start : start + 8]]
            values = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True).to(device)
            ones = [torch.ones(len(one)) for one in chosen]
            mask = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True).to(device)
            with autocast(device):
                model(values, attention_mask=mask, labels=torch.zeros(len(chosen), dtype=torch.long,
                      device=device)).loss.backward()  # fmt: skip
            optimiser.step()
            optimiser.zero_grad()

    lengths = [len(one) for one in clips]
    epoch(list(LengthGroupedSampler(8, lengths=lengths)))
    order = list(LengthGroupedSampler(8, lengths=lengths))
    return timed(lambda: epoch(order), device), timed(lambda: epoch(order), device)


def volumes(size: Size, device: str) -> Iterator[Figure]:
    """Training on patches of volumes, against the same network and MONAI's loss on patches that are cut already, and a
    whole volume in overlapping patches, against MONAI's inferer with everything on the device."""
    import nibabel
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss

    options = {"weights": "random", "mask_values": "0,1", "patch_size": str(size.patch)}
    backbone = imaging.load_backbone("monai:segresnet-3d", **options)
    recipe = core.Recipe(batch_size=2, device=device, precision=half(device), augment="off", workers=0,
                         deterministic="off")  # fmt: skip
    generator, folder = np.random.default_rng(0), Path(tempfile.mkdtemp(prefix="graftwork-gpu-"))
    for row in range(2 * size.steps):
        values = generator.standard_normal([size.patch + 8] * 3).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{row}.nii")
        nibabel.save(nibabel.Nifti1Image((values > 1).astype(np.uint8), np.eye(4)), folder / f"{row}-mask.nii")
    rows = [f"{row}.nii,{row}-mask.nii" for row in range(2 * size.steps)]
    (folder / "scans.csv").write_text("\n".join(["path,mask", *rows]))
    examples = core.read_examples(imaging.read_manifest(folder / "scans.csv", target="mask", task="mask"),
                                  backbone.contract)  # fmt: skip
    taken = [run_seconds(backbone, examples, "full", replace(recipe, epochs=epochs), device) for epochs in (1, 1, 3)]
    run = core.finetune(backbone, examples, strategy="full", recipe=replace(recipe, epochs=1))
    ours = max((taken[2] - taken[1]) / (2 * size.steps), 1e-9)

    network = backbone.copy().network.train().to(device, memory_format=torch.channels_last_3d)
    head = torch.nn.Conv3d(backbone.feature_dim, 2, 1).to(device)
    learning = [*network.parameters(), *head.parameters()]
    optimiser, loss = torch.optim.AdamW(learning, fused=True), DiceCELoss(softmax=True, to_onehot_y=True)
    patches = torch.randn(2, 1, *[size.patch] * 3, device=device).contiguous(memory_format=torch.channels_last_3d)
    masks = (patches > 1).float()

    def maps(values: torch.Tensor) -> torch.Tensor:
        return head(backbone.with_network(network).run(Features(values)).values)

    def steps() -> None:
        for _ in range(size.steps):
            with autocast(device):
                found = loss(maps(patches).float(), masks)
            found.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()

    steps()
    bare = timed(steps, device) / size.steps
    yield Figure("volumes", f"segresnet, patches of {size.patch}^3 by two, cut and learnt", 1 / ours, "steps/s",
                 bare / ours)  # fmt: skip
    whole = torch.randn(1, 1, *[size.volume] * 3)

    def inferred() -> None:
        with torch.inference_mode(), autocast(device):
            found = sliding_window_inference(whole.to(device), [size.patch] * 3, 4, maps, overlap=0.5, mode="gaussian")
            found.argmax(1).cpu()

    network.eval()
    inferred()
    nibabel.save(nibabel.Nifti1Image(whole[0, 0].numpy(), np.eye(4)), folder / "whole.nii")
    runtime = start_runtime(recipe)
    runtime.place(run.adapter.graft).train(False)
    scan, segmenter = imaging.read_scan(str(folder / "whole.nii")), run.adapter.backbone.segmenter
    network_of = patch_network(run.adapter.graft, runtime, 16)
    segmenter.predict(scan, network_of, runtime.device)
    seconds = timed(lambda: segmenter.predict(scan, network_of, runtime.device), device)
    yield Figure("volumes", f"mask of a volume of {size.volume}^3", seconds, "s", timed(inferred, device) / seconds)


def reading(size: Size, device: str) -> Iterator[Figure]:
    """Files a second that decoding feeds, by threads and by processes; on a GPU, what its own decoder would feed."""
    from PIL import Image

    backbone = imaging.load_backbone(f"timm:{size.networks[0]}", weights="random")
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(size.images // 10 + 8):
            paths.append(f"{folder}/{number}.jpg")
            values = generator.integers(0, 255, (36, 36, 3)).astype(np.uint8)
            Image.fromarray(values).resize((500, 400), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
        what = "JPEGs of 500 x 400 pixels"
        seconds = timed(lambda: [None for _ in read_many(backbone.contract, paths, "")], "cpu")
        yield Figure("reading", f"{what}, read before training", len(paths) / seconds, "files/s")
        workers = max(1, (os.cpu_count() or 1) - 1)
        rows = Examples(replace(noise(len(paths), "imaging"), examples=tuple(paths)), backbone.contract, None)
        count = min(32, len(paths) // 4)
        loaded = load_batches(rows, batches(len(paths), count), workers=workers, pin=device == "cuda")
        marks = [time.perf_counter() for _ in loaded]
        found = count * (len(marks) - 1) / max(marks[-1] - marks[0], 1e-9)
        yield Figure("reading", f"{what}, by --workers {workers}", found, "files/s")
        if device == "cuda":
            from torchvision.io import ImageReadMode, decode_jpeg, read_file

            files = [read_file(path) for path in paths[:256]]
            decoded = [timed(lambda: decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda"), device)
                       for _ in range(3)]  # fmt: skip
            yield Figure("reading", f"{what}, decoded on the GPU (nvJPEG)", len(files) / min(decoded), "files/s")


def step_seconds(backbone: Any, rows: Examples, strategy: str, size: Size, device: str, *, deterministic: Any) -> float:
    """Seconds of one of our steps: three epochs less one, so that what happens once does not count."""
    recipe = core.Recipe(batch_size=size.batch, device=device, precision=half(device), augment="off", workers=0,
                         patience=9, deterministic=deterministic)  # fmt: skip
    taken = [run_seconds(backbone, rows, strategy, replace(recipe, epochs=epochs), device) for epochs in (1, 1, 3)]
    return max((taken[2] - taken[1]) / (2 * size.steps), 1e-9)


def run_seconds(backbone: Any, rows: Examples, strategy: str, recipe: core.Recipe, device: str) -> float:
    """Seconds of a whole run."""
    return timed(lambda: core.finetune(backbone, rows, strategy=strategy, recipe=recipe), device)


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
    "tests": tests, "speech": speech, "step": full_step, "lora": lora_step, "volumes": volumes, "reading": reading,
    "pass": frozen_pass,
}  # fmt: skip


if __name__ == "__main__":
    main()
