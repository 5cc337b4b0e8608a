"""Formulas as MathML, which browsers set themselves: no script and nothing from the network when a page is read."""

from __future__ import annotations

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_UNKNOWN = re.compile(r"\\[a-zA-Z]+|<mi>&</mi>")
_SAID_OTHERWISE = {r"\AA": r"\text{Å}", "{aligned}": "{align*}"}
"""What the converter does not know, and the same in words that it does."""


def _mathml(node: nodes.Element, display: str) -> str:
    """A formula in MathML; one that cannot be read whole is a warning, with its place."""
    latex = node.astext()
    try:
        markup = convert(_known(latex), display=display)
    except Exception as error:
        logging.getLogger(__name__).warning("formula '%s': %s", latex, error or type(error).__name__, location=node)
        return ""
    if unknown := _UNKNOWN.search(markup):
        logging.getLogger(__name__).warning("formula '%s': %s is not known", latex, unknown[0], location=node)
    return markup


def _known(latex: str) -> str:
    for words, others in _SAID_OTHERWISE.items():
        latex = latex.replace(words, others)
    return latex


def _visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    translator.body.append(translator.starttag(node, "div", CLASS="formula"))
    translator.body.append(f"{number}{_mathml(node, 'block')}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
