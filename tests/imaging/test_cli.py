"""Imaging as the shared commands see it."""

import inspect
import subprocess
import sys

from graftwork.imaging import load_backbone
from graftwork.imaging.cli import COMMANDS


def test_asking_for_the_options_loads_no_network_library():
    code = (
        "import sys; from graftwork.imaging.cli import COMMANDS; "
        "print(sorted({'torch', 'timm', 'monai', 'nibabel', 'pydicom'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_domains_options_are_what_the_loader_takes():
    taken = inspect.signature(load_backbone).parameters
    for parameter in COMMANDS.parameters:
        assert taken[parameter.name].kind is parameter.kind
        assert parameter.annotation.__metadata__[0].help
    backbone = COMMANDS.load_backbone("timm:test_vit", weights="random", image_size=96)
    assert backbone.contract.size == (96, 96)
