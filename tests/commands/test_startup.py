"""`check` answers at once: what takes seconds and hundreds of megabytes to import is not."""

import subprocess
import sys

HEAVY = ("torch", "torchaudio", "torchvision", "timm", "monai", "transformers", "sklearn", "matplotlib")

# Clips are compared as they sound, and are decoded for that, into tensors.
MORE = {"imaging": (), "audio": ("--near-duplicates", "ignore")}

CODE = """
import sys
sys.argv = ["graftwork", "check", "table.csv", *{more}]
from graftwork.{domain}.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", [name for name in {heavy} if name in sys.modules])
"""


def test_check_imports_no_network_library(bench):
    domain = bench.commands.domain.name
    code = CODE.format(domain=domain, more=MORE[domain], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=bench.folder, capture_output=True, text=True, check=True)
    assert "rows, single-label target 'label'" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"
