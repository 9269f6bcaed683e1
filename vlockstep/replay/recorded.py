"""The image of a log's guest, found again."""

from __future__ import annotations

from vlockstep.errors import ImageError, UsageError
from vlockstep.machine import bundled
from vlockstep.machine.image import Image, load
from vlockstep.replay.logfile import LogReader


def find_image(log: LogReader) -> Image:
    """A bundled guest, or the file that it was recorded from if that is still the same. Raises
    `UsageError`, which says what was tried."""
    digest = log.config.image_digest
    found = bundled.find(digest)
    if found is not None:
        return found
    if log.image is None:
        tried = "the log does not tell where that lay"
    else:
        try:
            found = load(log.image)
            if found.digest == digest:
                return found
            tried = f"{log.image} has another content by now"
        except ImageError as error:
            tried = str(error)
    raise UsageError(
        f"{log.path} was recorded with an image that is no bundled guest ({digest[:12]}), and "
        f"{tried}: name the image"
    )
