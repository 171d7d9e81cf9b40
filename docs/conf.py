"""The site: ``sphinx-build -W -n docs docs/_build/html``."""

import pyfq

project = "pyfq"
author = "The pyfq developers"
version = release = pyfq.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pyfq {version}"
nitpicky = True

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# Types stand in the docstrings, for people; autodoc would repeat them in every signature.
autodoc_typehints = "none"
autosummary_generate = False
numpydoc_show_class_members = False
default_role = "autolink"

# Single backticks in docstrings: a link if it is a name, which NumPy's are without being documented
# here, nor are modules; an argument may have the name of one.
nitpick_ignore_regex = [("py:obj", r"numpy\..*|[a-z_.]+")]
