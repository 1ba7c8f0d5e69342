"""How the documentation is built: `make docs`. Tables of options, strategies and names are drawn from the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from graftwork.core.versions import version_of  # noqa: E402

project = "graftwork"
author = "The graftwork developers"
copyright = author
release = version = version_of("graftwork")

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated", "figures"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "code"
nitpicky = False

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}

html_theme = "pydata_sphinx_theme"
html_title = "graftwork"
html_static_path = ["_static"]
html_theme_options = {"show_prev_next": True, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False


def as_plain_text(app, what, name, obj, options, lines):
    """Docstrings are prose: a star or a bar in them is one and means no emphasis, and indents mean nothing. Examples
    stay as they are."""
    example = False
    for place, line in enumerate(map(str.strip, lines)):
        example = bool(line) and (example or line.startswith(">>>"))
        lines[place] = line if example else re.sub(r"(\w)_(?=\W|$)", r"\1\\_", re.sub(r"([*|])", r"\\\1", line))


def of_others(app, what, name, obj, skip, options):
    """What a class has from another library is documented there."""
    module = getattr(obj, "__module__", None) or ""
    return True if not module.startswith("graftwork") and callable(obj) else None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_plain_text)
    app.connect("autodoc-skip-member", of_others)
