"""How contrasts are made of other stimuli than texts: pictures, sounds, arrays."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lensloc.contrasts import reading
from lensloc.errors import refuse_idle

if TYPE_CHECKING:
    from lensloc.contrasts.contrast import Contrast

Name = str | int | float | np.generic
Names = Name | Sequence[Name]
"""One condition or several, by name; the number 1 is the name ``"1"``."""


class FromMedia:
    """The ways to make a :class:`lensloc.Contrast` that need no text."""

    @classmethod
    def from_images(
        cls: Any,
        conditions: Any,
        *,
        target: Names,
        control: Names,
        items: Mapping[str, tuple[str, ...]] | None = None,
        name: str = "custom",
    ) -> "Contrast":
        """Make a contrast from pictures, for a wrapped module (:func:`lensloc.wrap`).

        Pictures are opened when they are needed, and known by what they show: the same picture in
        another file is the same stimulus. They are turned upright as their file says, and become
        grey values or colours from 0 to 255; of several pictures in a file, the first counts.
        Files in a folder that are no pictures by their names (.pdf, .txt) are passed over.
        Needs Pillow (``pip install lensloc[vision]``).

        Args:
            conditions: condition name -> a folder (searched with the folders in it), a file, or a
                list or column (of a data set) of files, arrays (``[height, width]`` or ``[height,
                width, 3]``, 0 to 255 or 0 to 1) or Pillow's images; or a folder that holds a folder
                for every condition, as torchvision's ImageFolder has them.
            target: one condition or several.
            control: one condition or several.
            items: condition -> item of each picture, where pictures belong together (two of one
                person, say).
            name: what the contrast is called in results.

        Raises:
            LensLocError: for an empty folder, a picture that cannot be read or is none (named), or
                what :meth:`from_texts` refuses.

        Example:
            >>> import lensloc as ll
            >>> import numpy as np
            >>> bright, dark = np.full((2, 8, 8), 255), np.zeros((3, 8, 8))
            >>> found = {"bright": bright, "dark": dark}
            >>> ll.Contrast.from_images(found, target="bright", control="dark", name="light")
            Contrast(light: bright > dark; bright 2, dark 3)
        """
        from lensloc.contrasts.pictures import pictures  # loads Pillow

        found, source = pictures(conditions)
        made: Contrast = cls(
            name, found, reading.names(target), reading.names(control), source=source, items=items
        )
        return made

    @classmethod
    def from_arrays(
        cls: Any,
        conditions: Any,
        *,
        target: Names,
        control: Names,
        sounds: bool = False,
        rate: int | None = None,
        items: Mapping[str, tuple[str, ...]] | None = None,
        name: str = "custom",
    ) -> "Contrast":
        """Make a contrast from arrays or tensors, or from sounds, for a wrapped module.

        Args:
            conditions: condition name -> list of arrays or tensors, or one whose first axis is the
                stimuli.
            target: one condition or several.
            control: one condition or several.
            sounds: whether they are sounds, ``[sample]`` or ``[channel, sample]``.
            rate: of sounds, samples per second, which a feature extractor of transformers is told.
            items: condition -> item of each array, where arrays belong together.
            name: what the contrast is called in results.

        Raises:
            LensLocError: for an array that holds no numbers (named), a rate of arrays that are no
                sounds, or what :meth:`from_texts` refuses.
        """
        from lensloc.contrasts.pictures import arrays

        if not sounds:
            refuse_idle("only sounds have one; say sounds=True", rate=rate is not None)
        found = arrays(conditions, sounds=sounds, rate=rate)
        what = "sounds" if sounds else "arrays"
        made: Contrast = cls(
            name,
            found,
            reading.names(target),
            reading.names(control),
            source=f"{what} given in Python",
            items=items,
        )
        return made
