"""What programs do with a recording: the examples that are told to people, as they stand."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from recordings import write_recording
from support import sample

import vlockstep
from vlockstep import UsageError, open_recording
from vlockstep.debug.commands import Commands
from vlockstep.debug.places import parse_place

README = Path(vlockstep.__file__).parent / "debug" / "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("programs")
    write_recording(found / "clock.vlog", "clock", "--reads=20", "--puts=2")
    return found


def test_the_example_of_the_function_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert open_recording.__doc__
    _, _, rest = open_recording.__doc__.partition("recorded?\n")
    exec(textwrap.dedent(rest.partition("Raises")[0]), {})
    assert re.fullmatch(r"exits:\d+\+\d+\.\d+ 0x10[0-9a-f]{4}\n", capsys.readouterr().out)


def test_the_example_of_the_documentation_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (example,) = re.findall(r"```py\n(.*?)```", README.read_text(), re.S)
    exec(example, {})
    assert "rip" in capsys.readouterr().out


def test_places_are_sought_as_the_commands_teach(folder: Path) -> None:
    with open_recording(folder / "clock.vlog") as timeline:
        for text in ("entry:2", "exits:3", "time:0", "console:1", "end", "begin"):
            mark = timeline.seek(text)
            parse_place(text)(timeline)
            assert timeline.mark == mark
        for text in ("entry:999999", "nowhere", ""):
            with pytest.raises(UsageError):
                timeline.seek(text)
            assert timeline.mark == mark


def test_who_wrote_to_a_variable_is_asked_by_its_name(folder: Path) -> None:
    with open_recording(folder / "clock.vlog") as timeline:
        commands, variable = Commands(timeline), timeline.image.find("line_used")
        marks = []
        for asked in ("line_used", f"{variable.address:#x} {variable.size}"):
            timeline.to_end()
            commands.carry_out(f"who-wrote {asked}")
            marks.append(timeline.mark)
            timeline.step()
            assert timeline.mark > marks[-1]
        assert marks[0] == marks[1]
        with pytest.raises(UsageError, match="did you mean line_used"):
            commands.carry_out("who-wrote lineused")
        with pytest.raises(UsageError, match="not 24576"):
            commands.carry_out("who-wrote stacks")


def test_names_are_found_if_there_is_one_of_them() -> None:
    clock = sample("clock")
    put_number, line = clock.find("put_number"), clock.find("line")
    assert put_number.function and clock.symbol(put_number.address + 1) == put_number[:2]
    assert not line.function and line.size == 1024
    with pytest.raises(UsageError, match="more than one 'buckets': at 0x"):
        sample("kv").find("buckets")
    with pytest.raises(UsageError, match="no function or variable 'nobody'"):
        clock.find("nobody")
