"""Sphinx's settings of nbdist's site; `python docs/build.py` builds it."""

import sys
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "_extensions")]
MATHJAX = Path(str(find_spec("sphinx-mathjax-offline").origin))
"""Brings MathJax; of it one file is taken, which sets formulas as pictures, so that no font and nothing from the network is needed."""

project = "nbdist"
author = "the authors of nbdist"
copyright = "the authors of nbdist, BSD 3-Clause licence"
release = version = version_of("nbdist")

extensions = [
    "myst_parser",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
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
html_static_path = ["_static", f"{MATHJAX.parent}/static/mathjax/tex-svg-full.js"]
html_css_files = ["nbdist.css"]
html_sidebars = {"first_series": [], "gallery": []}  # pages without others beside them
mathjax_path = "tex-svg-full.js"
mathjax3_config = {
    "tex": {
        "macros": {"AA": r"\text{Å}"},
        "packages": {"[-]": ["noundefined"]},
    },  # what is not known is an error, which a test finds
    "options": {"enableMenu": False},
}
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
