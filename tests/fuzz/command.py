"""Long, coverage-guided runs of the targets, by atheris."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import gettempdir

from fuzz import targets

_MISSING = "atheris is missing; install it with: pip install -e '.[fuzz]'"
_FLAGS = [
    "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-timeout=20", "-max_len=65536",
    "-print_final_stats=1",
]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 2 if atheris is missing. What atheris runs ends the process itself."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        import atheris  # type: ignore[import-untyped]
    except ImportError:
        print(_MISSING, file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["vlockstep", "elftools"]):
        target = targets.load(options.target)
    corpus = options.corpus or [Path(gettempdir(), "vlockstep-fuzz", options.target)]
    corpus[0].mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus[0] / f"seed-{number}").write_bytes(seed)
    flags = [f"-max_total_time={options.seconds}", f"-artifact_prefix={corpus[0]}-", *_FLAGS]
    atheris.Setup([sys.argv[0], *flags, *map(str, corpus)], target.check)
    atheris.Fuzz()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz one target until something is found, and keep it beside the corpus.",
        epilog="\n".join(
            [
                "targets:",
                *(f"  {name:<10} {what}" for name, what in targets.TARGETS.items()),
                "\nExample: python -m tests.fuzz log --seconds 600",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", choices=targets.TARGETS, help="see below")
    parser.add_argument("--seconds", type=int, default=0, help="0, the default: until Ctrl-C")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="*",
        default=[],
        type=Path,
        help="directories; seeds and what is new go to the first, by default one for temporary "
        "files",
    )
    return parser
