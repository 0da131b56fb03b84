"""Sphinx settings: MyST Markdown and the Read the Docs theme, as in Stable-Baselines3."""

import re

import sb3_infomax

project = "sb3_infomax"
author = "The sb3_infomax contributors"
copyright = f"2026, {author}"
release = version = sb3_infomax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "sphinx_rtd_theme"
html_title = f"sb3_infomax {release}"
copybutton_exclude = ".linenos, .gp, .go"


def escape_stars_of_shapes(app, what, name, obj, options, lines):
    """``(batch, *obs_shape)`` in a docstring is a shape; reST would begin an emphasis at the star."""
    lines[:] = [re.sub(r"(?<=[(, ])\*(?=\w+[,)])", r"\\*", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars_of_shapes)
