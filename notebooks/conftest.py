"""How ``pytest --nbmake notebooks`` runs them: offline, no browser, and a warning is a failure."""

import os
from typing import Any

import nbmake.pytest_items
from nbmake.nb_result import NotebookError, NotebookResult
from nbmake.nb_run import NotebookRun
from refresh import ENVIRONMENT, warnings_of

# Two modules called conftest cannot both be searched for doctests.
collect_ignore = ["refresh.py", "conftest.py"]

# Kernels inherit this. Figures are shown as data, since pictures need a browser.
os.environ |= {**ENVIRONMENT, "PLOTLY_RENDERER": "json"}


class StrictRun(NotebookRun):
    """A run that also fails if a reader would see a warning."""

    def execute(self) -> NotebookResult:
        result: Any = super().execute()
        shown = warnings_of(result.nb)
        if result.error is None and shown:
            text = "\n".join(shown)
            error = NotebookError(summary="The notebook shows a warning.", trace=text,
                                  failing_cell_index=0)  # fmt: skip
            return NotebookResult(nb=result.nb, error=error)
        return result


nbmake.pytest_items.NotebookRun = StrictRun
