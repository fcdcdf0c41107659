"""A contrast as a table, one row per stimulus."""

from typing import TYPE_CHECKING, Any

from lensloc.display.savable import Savable
from lensloc.units.stimuli import Stimulus

if TYPE_CHECKING:
    import pandas as pd


class AsTable(Savable):
    """How a :class:`lensloc.Contrast` is kept, and leaves."""

    def to_dataframe(self: Any) -> "pd.DataFrame":
        """Return one row per stimulus of every condition.

        Columns: ``condition``; ``role`` (``target``, ``control`` or empty); ``text``, of other
        stimuli what they are known by; ``name`` of these; ``item``, where there are some.
        """
        import pandas as pd  # takes long to load, and contrasts are read without it

        roles = dict.fromkeys(self.target, "target") | dict.fromkeys(self.control, "control")
        rows = [
            {
                "condition": name,
                "role": roles.get(name, ""),
                "text": str(text),
                **({"name": text.name} if isinstance(text, Stimulus) else {}),
                **({} if self.items is None else {"item": self.items[name][number]}),
            }
            for name, texts in self.conditions.items()
            for number, text in enumerate(texts)
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table
