"""A guest that was recorded, or of which there is a snapshot: its image found again, and whether a
replay can be trusted here."""

from __future__ import annotations

import warnings
from pathlib import Path

from vlockstep.errors import ImageError, UsageError, VlockstepWarning
from vlockstep.machine import bundled
from vlockstep.machine.basis import basis, disagreement
from vlockstep.machine.engines import AUTO, choose, processor
from vlockstep.machine.image import Image, load
from vlockstep.replay.logfile import LogReader

_UNTOLD = (
    "this log, of version {}, does not tell on what it was recorded, and some instructions (FPREM, "
    "LOOPE, those with a VEX prefix, and what sets RF) had other results with earlier versions; if "
    "it does, replay it with the vlockstep that recorded it"
)


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
        "name the image",
        key=("recorded_image",),
    )


def warn_if_unlike(log: LogReader, engine: str = AUTO) -> None:
    """A `VlockstepWarning` if the guest was recorded where results may be others than here, on this
    engine of `engines.CHOICES`, or the log does not tell where."""
    unlike = _UNTOLD.format(log.version)
    if log.basis:
        here = basis(processor(choose(engine, log.config)))
        unlike = disagreement(log.basis, here, "the recorder", "this host")
    if unlike:
        warnings.warn(f"{log.path} may diverge here: {unlike}", VlockstepWarning, stacklevel=2)
