"""Sphinx's settings of nbdist's site; `python docs/build.py` builds it."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "_extensions")]

project = "nbdist"
author = "the authors of nbdist"
copyright = "the authors of nbdist, BSD 3-Clause licence"
release = version = version_of("nbdist")

extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "made_pages",
]
exclude_patterns = ["_made"]
smartquotes = False  # two dashes are an option's
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

default_role = "code"  # what docstrings have between single backticks
nitpicky = True
# of other packages nothing is looked up, which would need the network; of nbdist, what its public names are made of
nitpick_ignore_regex = [("py:.*", r"(?!nbdist\.).*|nbdist\.(store|formats|run\.stored_frames)\..*")]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "nbdist"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["nbdist.css"]
html_sidebars = {"first_series": [], "gallery": []}  # pages without others beside them
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "nbdist"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
linkcheck_timeout = 20
