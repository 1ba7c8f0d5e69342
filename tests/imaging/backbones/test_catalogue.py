"""The table of well-known backbones, against the libraries that have them."""

import timm
import torch

from graftwork.imaging.backbones.catalogue import CATALOGUE


def test_the_catalogue_agrees_with_timm():
    for known in (row for row in CATALOGUE if row.id.startswith("timm:")):
        name = known.id.removeprefix("timm:")
        config = timm.get_pretrained_cfg(name)
        assert (config.hf_hub_id, config.license) == (known.repository, known.licence), name
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
        assert sum(parameter.numel() for parameter in network.parameters()) == known.parameters, name
