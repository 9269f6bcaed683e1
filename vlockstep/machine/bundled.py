"""The sample guests that come with vlockstep, and how an image is named on a command line."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from vlockstep.errors import ImageError
from vlockstep.machine.image import Image, load, parse
from vlockstep.machine.samples import SAMPLES

_SUFFIX = ".hvt"


def names() -> list[str]:
    """The bundled guests, in alphabetical order."""
    return sorted(_files())


def description(name: str) -> str:
    """What the bundled guest does, in one line."""
    return SAMPLES[name].description


def open_image(reference: str) -> Image:
    """The bundled guest of that name, or the image at the path `reference`.

    A bundled guest comes first, whatever lies in the working directory: a file of the same name
    there is `./NAME`.
    """
    path = image_file(reference)
    if path is None:
        return open_bundled(reference)
    if "/" not in reference and not path.exists():
        raise ImageError(
            f"no image {reference!r}: it is neither a file nor a bundled guest "
            f"({', '.join(names())})"
        )
    return load(path)


def image_file(reference: str) -> Path | None:
    """The file that `reference` means; None if it is a bundled guest."""
    return None if reference in names() else Path(reference)


def open_bundled(name: str) -> Image:
    """The bundled guest `name`, which must be one of `names`."""
    return _parse(_files()[name])


def find(digest: str) -> Image | None:
    """The bundled guest whose image has this SHA-256, in hex."""
    for file in _files().values():
        if hashlib.sha256(file.read_bytes()).hexdigest() == digest:
            return _parse(file)
    return None


def _files() -> dict[str, Traversable]:
    folder = resources.files("vlockstep").joinpath("images")
    if not folder.is_dir():
        return {}
    return {
        file.name.removesuffix(_SUFFIX): file
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIX)
    }


def _parse(file: Traversable) -> Image:
    return parse(file.name, file.read_bytes())
