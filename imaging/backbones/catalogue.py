"""The well-known backbones, as a table that can be read without loading a library. Tests compare it with timm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A backbone by its id.

    parameters: without a classifier, at the default size. licence: of the published weights. repository, files: on
    the Hugging Face hub, the first file that exists counts; None where no weights are published.
    """

    id: str
    parameters: int
    licence: str
    repository: str | None
    files: tuple[str, ...]
    note: str


def _timm(name: str, parameters: int, weights: str, size: int, licence: str = "apache-2.0") -> Known:
    files = ("model.safetensors", "pytorch_model.bin")
    return Known(f"timm:{name}", parameters, licence, f"timm/{name}.{weights}", files, f"2D, {size} px, {weights}")


def _monai(name: str, parameters: int) -> Known:
    return Known(f"monai:{name}", parameters, "", None, (), f"{name[-2:].upper()}, 1 channel, no published weights")


def _medicalnet(depth: int, parameters: int) -> Known:
    files = (f"resnet_{depth}_23dataset.pth", f"resnet_{depth}.pth")
    repository = f"TencentMedicalNet/MedicalNet-Resnet{depth}"
    return Known(f"medicalnet:resnet{depth}", parameters, "mit", repository, files, "3D, 1 channel, 23 CT and MR sets")


CATALOGUE = (
    Known("tiny:cnn2d", 1_576_884, "apache-2.0", None, (), "2D, 128 px, in the package; generated pictures"),
    _timm("mobilenetv2_100", 2_223_872, "ra_in1k", 224),
    _timm("mobilenetv3_large_100", 4_202_032, "ra_in1k", 224),
    _timm("resnet18", 11_176_512, "a1_in1k", 224),
    _timm("resnet34", 21_284_672, "a1_in1k", 224),
    _timm("resnet50", 23_508_032, "a1_in1k", 224),
    _timm("seresnext50_32x4d", 25_510_896, "racm_in1k", 224),
    _timm("densenet121", 6_953_856, "ra_in1k", 224),
    _timm("densenet169", 12_484_480, "tv_in1k", 224),
    _timm("efficientnet_b0", 4_007_548, "ra_in1k", 224),
    _timm("efficientnet_b3", 10_696_232, "ra2_in1k", 288),
    _timm("tf_efficientnetv2_s", 20_177_488, "in21k_ft_in1k", 300),
    _timm("convnext_atto", 3_374_520, "d2_in1k", 224),
    _timm("convnext_tiny", 27_820_128, "in12k_ft_in1k", 224),
    _timm("convnext_base", 87_566_464, "fb_in22k_ft_in1k", 224),
    _timm("vit_tiny_patch16_224", 5_524_416, "augreg_in21k_ft_in1k", 224),
    _timm("vit_small_patch16_224", 21_665_664, "augreg_in21k_ft_in1k", 224),
    _timm("vit_base_patch16_224", 85_798_656, "augreg2_in21k_ft_in1k", 224),
    _timm("vit_small_patch14_dinov2", 22_056_192, "lvd142m", 518),
    _timm("vit_base_patch14_dinov2", 86_579_712, "lvd142m", 518),
    _timm("vit_base_patch16_clip_224", 85_799_424, "laion2b_ft_in12k_in1k", 224),
    _timm("deit_tiny_patch16_224", 5_524_416, "fb_in1k", 224),
    _timm("deit3_small_patch16_224", 21_674_496, "fb_in1k", 224),
    _timm("swin_tiny_patch4_window7_224", 27_519_354, "ms_in1k", 224, "mit"),
    _timm("swin_base_patch4_window7_224", 86_743_224, "ms_in22k_ft_in1k", 224, "mit"),
    _medicalnet(10, 14_355_520),
    _medicalnet(18, 32_986_176),
    _medicalnet(34, 63_295_808),
    _medicalnet(50, 46_155_072),
    _monai("resnet10-2d", 4_900_416),
    _monai("resnet10-3d", 14_356_416),
    _monai("resnet18-2d", 11_171_136),
    _monai("resnet18-3d", 33_160_896),
    _monai("resnet34-2d", 21_279_296),
    _monai("resnet34-3d", 63_470_528),
    _monai("resnet50-2d", 23_505_600),
    _monai("resnet50-3d", 46_158_912),
    _monai("densenet121-2d", 6_947_584),
    _monai("densenet121-3d", 11_242_624),
    _monai("densenet169-2d", 12_478_208),
    _monai("densenet169-3d", 18_542_720),
    _monai("efficientnet-b0-2d", 4_006_972),
    _monai("efficientnet-b0-3d", 4_688_380),
    _monai("efficientnet-b1-2d", 6_512_608),
    _monai("efficientnet-b1-3d", 7_446_496),
    _monai("efficientnet-b2-2d", 7_700_418),
    _monai("efficientnet-b2-3d", 8_714_946),
    _monai("efficientnet-b3-2d", 10_695_512),
    _monai("efficientnet-b3-3d", 12_058_472),
    _monai("efficientnet-b4-2d", 17_547_752),
    _monai("efficientnet-b4-3d", 19_612_760),
    _monai("swinvit-2d", 6_306_810),
    _monai("swinvit-3d", 8_062_002),
    _monai("unet-2d", 1_978_400),
    _monai("unet-3d", 5_749_344),
    _monai("segresnet-2d", 394_968),
    _monai("segresnet-3d", 1_176_168),
    _monai("segresnetds-2d", 29_064_992),
    _monai("segresnetds-3d", 87_163_232),
    _monai("segresencoder-2d", 25_929_632),
    _monai("segresencoder-3d", 77_760_992),
    _monai("swinunetr-2d", 25_137_882),
    _monai("swinunetr-3d", 62_186_610),
    _monai("vit-2d", 85_394_688),
    _monai("vit-3d", 88_359_168),
)
