"""The modules of nbdist import one another without a circle, imports inside functions included."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph("nbdist")
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(TopologicalSorter(below).static_order())  # raises CycleError, which names the circle
    assert order.index("nbdist.errors") < order.index("nbdist.run.generate")
