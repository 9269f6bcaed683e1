"""What our commands do beyond Typer's: words for the guest stand behind `--` and nowhere else, no
word is empty, and help that does not go to a terminal has its groups without frames."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

from vlockstep.cli import tender

GUEST, PAIR, FILES, TIMING = "Guest", "Pair", "Files", "Timing"
PORTS, UPLINKS, ENTRIES, REPLAY = "Ports", "Uplinks", "Entries", "Replay"
FAULT, TESTS, GDB, OTHER = "Fault", "For tests", "Gdb", "Other"
"""Groups of options in help. A command that has any has the last one, too, with --help."""
_GUEST_WORDS = "arguments"
"""The parameter of a command that passes words on to its guest."""
_CLOSE = 0.8
"""How much alike two names of options are if one may be meant by the other."""
_MAX_NAME = 30
"""Columns; after a longer name the help begins on the next line."""


class _Helpful:
    """Help with frames and colours in a terminal, as Typer has it; elsewhere plain."""

    rich_markup_mode: Any

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = markup(sys.stdout)
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        rows = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = f"{param.param_type_name.capitalize()}s"
                rows.append((getattr(param, "rich_help_panel", None) or default, record))
        _write_groups(formatter, rows, ("Arguments", "Options"))

    def format_epilog(self: Any, _ctx: Any, formatter: Any) -> None:
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")


class Command(_Helpful, TyperCommand):
    _mark: tuple[str, ...] = ("--",)
    """What stands between its own words and the guest's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for param in self.params:
            if hasattr(param.type, "readable"):  # who cannot read a file says so in our words
                param.type.readable = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # completes a command line that is not finished
            return super().parse_args(ctx, args)
        words, guest = self._split(ctx, args)
        words = [part for word in words for part in tender.translated(word)]
        strays = list(_strays(ctx, words))
        passes_on = any(param.name == _GUEST_WORDS for param in self.params)
        if passes_on and strays:
            kept = [word for at, word in enumerate(words) if at not in strays]
            moved = [words[at] for at in strays]
            line = shlex.join([*ctx.command_path.split(), *kept, *self._mark, *moved, *guest])
            behind = "".join(self._mark) or "the image"
            hint = f"If it is the guest's, write it behind {behind}: {line}"
            ctx.fail(f"{_complaint(ctx, moved[0])} {hint}")
        mark = ["--"] if "--" in args else []
        rest = super().parse_args(ctx, words if passes_on else [*words, *mark, *guest])
        if passes_on:
            ctx.params[_GUEST_WORDS] = guest
        for param in self.params:
            if hasattr(param.type, "readable") and ctx.params[param.name] == "-":
                hint = param.get_error_hint(ctx)
                ctx.fail(f"{hint} names a file, and - is none: write ./- if you mean that name.")
        return rest

    def _split(self, ctx: Any, args: list[str]) -> tuple[list[str], list[str]]:
        """The words of the command, and the guest's."""
        end = args.index("--") if "--" in args else len(args)
        return args[:end], args[end + 1 :]

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option and any(getattr(p, "rich_help_panel", None) for p in self.params):
            option.rich_help_panel = OTHER
        return option


class TenderCommand(Command):
    """What stands behind the image is the guest's, as it is with Solo5's own tender."""

    _mark = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        param: Any
        for param in self.params:
            if param.name == _GUEST_WORDS:
                param.metavar, param.help = "[ARGS]", "The guest's own command line."

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", "[--]", "IMAGE", "[ARGS]"]

    def _split(self, ctx: Any, args: list[str]) -> tuple[list[str], list[str]]:
        words, guest = tender.split(args, _options(ctx))
        return [tender.in_whole_pages(word) for word in words], guest


class Group(_Helpful, TyperGroup):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command: Any = self.commands[name]
            text = command.get_short_help_str(sys.maxsize)
            rows.append((command.rich_help_panel or "Commands", (name, text)))
        _write_groups(formatter, rows)


class DefaultGroup(Group):
    """A group whose first command is meant where none of them is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = args[:1] in (["-h"], ["--help"]) or (not args and self.no_args_is_help)
        if not asks_for_help and (not args or args[0] not in self.commands):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def markup(stream: Any) -> Any:
    """What Typer calls `rich_markup_mode`, for what is written there."""
    return "rich" if stream.isatty() else None


def _write_groups(
    formatter: Any, rows: Iterable[tuple[str, tuple[str, str]]], first: Iterable[str] = ()
) -> None:
    """A section for each group, each with the same columns."""
    groups: dict[str, list[tuple[str, str]]] = {name: [] for name in first}
    width = 0
    for group, (name, text) in rows:
        groups.setdefault(group, []).append((name, text))
        width = max(width, len(name))
    for group, records in groups.items():
        if records:
            with formatter.section(group):
                formatter.write_dl(
                    [(name.ljust(min(width, _MAX_NAME)), text) for name, text in records]
                )


def _options(ctx: Any) -> dict[str, bool]:
    """Of the command, by their names: whether they take a value."""
    return {
        name: not param.is_flag
        for param in ctx.command.get_params(ctx)
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    }


def _strays(ctx: Any, words: list[str]) -> Iterator[int]:
    """The indices of words that are no option of the command, nor an option's value, nor an
    argument. An empty word is refused: as a path it would be the current directory."""
    options = _options(ctx)
    arguments = [p for p in ctx.command.get_params(ctx) if p.param_type_name == "argument"]
    room = sum(param.nargs == 1 for param in arguments)
    rest = iter(enumerate(words))
    for at, word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            name, equals, value = word[:2], word[2:], word[2:]
        if not word.startswith("-") or word == "-":
            if not word:
                ctx.fail("An argument is empty: leave it out, or name what you mean.")
            if room == 0:
                yield at
            room = max(0, room - 1)
        elif name not in options:
            yield at
        elif options[name] and (value if equals else next(rest, (0, "-"))[1]) == "":
            ctx.fail(f"The value of {name} is empty: leave it out, or name what you mean.")


def _complaint(ctx: Any, word: str) -> str:
    if not word.startswith("-"):
        return f"There is no place for the word {word!r} here."
    name = word.partition("=")[0]
    close = difflib.get_close_matches(name, _options(ctx), cutoff=_CLOSE)
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"No such option: {name}.{guess}"
