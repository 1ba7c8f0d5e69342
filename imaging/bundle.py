"""The address by which MONAI bundles name what they run: `graftwork.imaging.bundle`, in every configs/inference.json.

Bundles that were exported once lie on other machines and are not written anew, so these names stay here whatever
becomes of the modules behind them; bundles exported today name them too.
"""

from graftwork.imaging.export.monai_bundle import ReadScand, WriteMasks, WritePredictions, load_network

__all__ = ["ReadScand", "WriteMasks", "WritePredictions", "load_network"]
