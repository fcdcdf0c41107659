"""A set of units on disk: written, read again, and given to others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from lensloc.display.container import SUFFIX, unpacked
from lensloc.display.places import path_of
from lensloc.display.plain_json import loads
from lensloc.display.savable import Savable, write_result
from lensloc.errors import LensLocError
from lensloc.units import ragged
from lensloc.units.mask_files import kind_of, read_mask, values_beside, write_mask
from lensloc.units.provenance import Provenance
from lensloc.units.rules import SelectionRule
from lensloc.units.unit_rows import table_of

if TYPE_CHECKING:
    from lensloc.units.brainscore import BrainScoreFiles
    from lensloc.units.mask import UnitMask


class OnDisk(Savable):
    """How a :class:`lensloc.UnitMask` is kept."""

    def save(self: Any, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the set to ``path``, whole or not at all.

        ``.safetensors``, and ``.lensloc`` as for all results, keep the provenance, the ranking and
        the rule of selection. ``.npy`` is the format of the published localizer, an array ``[layer,
        unit]`` of 0 and 1, and keeps nothing else.

        Args:
            path: the file.
            overwrite: replace a file that is there. The same set, made in the same way at another
                time, is no other file, so that a notebook can be run again.

        Raises:
            LensLocError: for another suffix, a place that cannot be written, or one that is taken.
        """
        path = path_of(path)
        if kind_of(path) == SUFFIX:
            return write_result(self, path, overwrite=overwrite)
        tensors: dict[str, Tensor] = {}
        metadata = {
            "site": self.site,
            "provenance": self.provenance.to_json(),
        }
        if self.rule is not None:
            metadata["rule"] = json.dumps(self.rule.to_record(tensors))
        if self.widths is not None:
            metadata["widths"] = ragged.to_text(self.widths)
        known = {"score": self.score, "magnitude": self.magnitude}
        tensors |= {name: found for name, found in known.items() if found is not None}
        if self.widths is not None and kind_of(path) == ".npy":
            raise LensLocError(
                f"The layers of the mask {self.line()} differ in width, which an .npy does not "
                "say; write it as .safetensors."
            )
        kept = not overwrite and kind_of(path) == ".safetensors" and self._is_kept_in(path)
        return write_mask(path, self.mask, tensors, metadata, overwrite=overwrite or kept)

    def to_brainscore(
        self: Any,
        folder: str | Path,
        model_id: str | None = None,
        *,
        benchmark: str = "Pereira2018.243sentences-linear",
        overwrite: bool = False,
    ) -> "BrainScoreFiles":
        """Write the set where brain-score's localizer finds it instead of making its own.

        Its ``localize_fedorenko2010`` looks for ``{model id with / as _}_language_mask.npy`` in the
        folder that the environment variable ``BRAINIO`` names, and takes it as it is. brain-score
        needs transformers < 5 and numpy < 2, so it has an environment of its own.

        Args:
            folder: where the file goes.
            model_id: the model's name on the hub, by which brain-score loads it; the name that the
                set knows if None.
            benchmark: which of brain-score's benchmarks the lines run.
            overwrite: replace a file that is there.

        Returns:
            The file, and the lines to run where brain-score is; shown, it shows them.

        Raises:
            LensLocError: a site other than ``resid_post``; no model's name; another file that is
                there already.
        """
        from lensloc.units.brainscore import write_brainscore  # it knows this class

        return write_brainscore(
            self, path_of(folder), model_id, benchmark=benchmark, overwrite=overwrite
        )

    def _is_kept_in(self: Any, path: Path) -> bool:
        """Say whether a file holds this set, made in the same way, though at another time."""
        try:
            kept = type(self).load(path)
        except (LensLocError, OSError):
            return False
        values = [(getattr(self, name), getattr(kept, name)) for name in ("score", "magnitude")]
        return bool(
            kept == self
            and kept.provenance.replace(date="") == self.provenance.replace(date="")
            and all((a is None) == (b is None) for a, b in values)
            and all(a is None or b is None or ragged.same(a, b) for a, b in values)
        )

    @classmethod
    def load(cls: Any, path: str | Path, *, site: str = "resid_post") -> "UnitMask":
        """Read a set from ``.safetensors``, ``.npy`` or ``.lensloc``; nothing is ever unpickled.

        Args:
            path: the file.
            site: the site that an ``.npy`` belongs to, which the format does not say;
                the published localizer's are block outputs, ``resid_post``. A ``.safetensors``
                says it; another site than its own is refused.

        Raises:
            LensLocError: if the file is missing, truncated, pickled, not a mask, or of another
                site.
        """
        path = path_of(path)
        found: UnitMask
        if kind_of(path) == SUFFIX:
            found = unpacked(path, "UnitMask")
            _require_own(path, found.site, site)
            return found
        mask, tensors, metadata = read_mask(path)
        if "provenance" not in metadata:
            made = Provenance(site=site, selection=f"imported from {path.name}")
            found = cls(site, mask, made)
            return found
        try:
            made = Provenance.from_json(metadata["provenance"])
            record = loads(metadata["rule"]) if "rule" in metadata else None
            rule = None if record is None else SelectionRule.from_record(record, tensors)
            widths = ragged.from_text(metadata.get("widths"))
            made.text_set  # noqa: B018  # damaged hashes are refused here
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise LensLocError(f"{path} has unreadable provenance ({error}).") from error
        known = values_beside(tensors, mask, path)
        own = metadata.get("site", made.site)
        _require_own(path, own, site)
        found = cls(own, mask, made, rule=rule, widths=widths, **known)
        return found

    def to_dataframe(self: Any) -> pd.DataFrame:
        """Return one row per unit: address, site, layer, unit; score and magnitude where known."""
        known = {"score": self.score, "magnitude": self.magnitude}
        values = {name: found for name, found in known.items() if found is not None}
        return table_of(self.site, values, self.mask)


def _require_own(path: Path, own: str, site: str) -> None:
    if site not in (own, "resid_post"):
        raise LensLocError(f"{path} holds units at {own}, and not at {site}; leave the site out.")
