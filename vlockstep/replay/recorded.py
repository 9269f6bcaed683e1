"""The image of a guest that was recorded, or of which there is a snapshot, found again."""

from __future__ import annotations

from pathlib import Path

from vlockstep.errors import ImageError, UsageError
from vlockstep.machine import bundled
from vlockstep.machine.image import Image, load


def find_image(digest: str, lay: Path | None, source: str) -> Image:
    """A bundled guest, or the file that `lay` there if that is still the same. `source` is what is
    of that image. Raises `UsageError`, which says what was tried."""
    found = bundled.find(digest)
    if found is not None:
        return found
    if lay is None:
        tried = "it does not tell where that lay"
    else:
        try:
            found = load(lay)
            if found.digest == digest:
                return found
            tried = f"{lay} has another content by now"
        except ImageError as error:
            tried = str(error)
    raise UsageError(
        f"{source} is of an image that is no bundled guest ({digest[:12]}), and {tried}: "
        "name the image"
    )
