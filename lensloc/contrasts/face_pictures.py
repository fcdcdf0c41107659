"""Pictures of faces that come with a package: 100 faces, 100 other patches, faces scrambled."""

import dataclasses

import numpy as np
from jaxtyping import Float

from lensloc.contrasts.contrast import Contrast
from lensloc.errors import needed

_N = 100
_SEED = 0


def faces() -> Contrast:
    """Faces against other patches of photographs: a face localizer (Kanwisher et al. 1997).

    100 faces of Labeled Faces in the Wild and 100 patches without one, grey, 25 x 25 pixels, as
    scikit-image ships them (``skimage.data.lfw_subset``); for models of pictures. Target: faces;
    control: patches. Faces differ from these patches in brightness and in spatial frequency too,
    which is told where units are localized. Beside them stand the same faces with scrambled phases
    (``scrambled``), which have their brightness and their power at each spatial frequency:
    ``faces().with_roles(target="faces", control="scrambled")``. Needs
    ``pip install lensloc[vision]``.

    Raises:
        LensLocError: if scikit-image or Pillow is not installed.
    """
    data = needed("skimage.data", "The contrast of faces", "lensloc[vision]")
    pictures = data.lfw_subset().astype(np.float64)
    shown, others = pictures[:_N], pictures[_N:]
    conditions = {"faces": shown, "patches": others, "scrambled": scrambled(shown)}
    found = Contrast.from_images(conditions, target="faces", control="patches", name="faces")
    return dataclasses.replace(found, source="the faces and patches of scikit-image")


def scrambled(
    pictures: Float[np.ndarray, "picture height width"], seed: int = _SEED
) -> Float[np.ndarray, "picture height width"]:
    """Return pictures with the phases of noise and their own power at each spatial frequency.

    Values that leave 0 to 1 by that are cut off.

    Args:
        pictures: grey values, 0 to 1.
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).random(pictures.shape)
    # Phases of real pictures, so that what comes back is real. The mean keeps its sign.
    turn = np.exp(1j * np.angle(np.fft.fft2(noise)))
    turn[:, 0, 0] = 1
    found = np.fft.ifft2(np.abs(np.fft.fft2(pictures)) * turn).real
    result: Float[np.ndarray, "picture height width"] = found.clip(0, 1)
    return result
