"""`dereflect integrations`: each file goes where its editor looks, and nothing of the user's is touched."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dereflect.cli import app
from dereflect.editors import install, places
from dereflect.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings, and a command that installs."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(install, "own_command", lambda: Path("/opt/dereflect/bin/dereflect"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["integrations", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def refusal(*words: object) -> str:
    with pytest.raises(InputError) as caught:
        run(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_list_names_every_integration():
    assert [line.split(":")[0] for line in run().splitlines()] == ["gimp", "darktable", "open-with"]


@pytest.mark.parametrize("name", install.INTEGRATIONS)
def test_every_file_of_an_integration_is_there(name):
    for source, _ in install.INTEGRATIONS[name].files():
        assert (install.source_folder() / source).is_file()


def test_the_wheel_takes_the_files_along():
    import tomllib

    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"] == {"integrations": "dereflect/editors/files"}
    assert "integrations" in targets["sdist"]["include"]


def test_gimp_3_gets_the_plug_in_with_the_path_of_the_command(home):
    (home / ".config/GIMP/2.10").mkdir(parents=True)
    (home / ".config/GIMP/3.0").mkdir()
    (home / ".var/app/org.gimp.GIMP/config/GIMP/3.2").mkdir(parents=True)
    run("install", "gimp")
    for settings in (".config/GIMP/3.0", ".var/app/org.gimp.GIMP/config/GIMP/3.2"):
        folder = home / settings / "plug-ins/dereflect"
        assert (folder / "dereflect.py").stat().st_mode & 0o111, "GIMP runs only what may be run"
        assert (folder / "command.txt").read_text() == "/opt/dereflect/bin/dereflect\n"
        assert (folder / "command.py").is_file()
    assert not (home / ".config/GIMP/2.10/plug-ins").exists()


def test_gimp_2_alone_is_one_clear_line(home):
    (home / ".config/GIMP/2.10").mkdir(parents=True)
    assert refusal("install", "gimp") == (
        "gimp: only GIMP 2.10 was used here, and the plug-in needs GIMP 3; "
        "start GIMP 3 once, or name its plug-in folder with to"
    )
    named = home / ".config/GIMP/2.10/plug-ins"
    assert "is a folder of GIMP 2.10" in refusal("install", "gimp", "--to", named)
    assert not named.exists()


def test_without_gimp_it_says_where_it_looked(home):
    assert refusal("install", "gimp").startswith(f"gimp: no settings of GIMP 3 in {home}/.config/GIMP; start")


def test_what_is_there_already_stays_unless_told_otherwise(home):
    own = home / "plug-ins/dereflect/command.py"
    own.parent.mkdir(parents=True)
    own.write_text("my own")
    assert "exists already" in refusal("install", "gimp", "--to", home / "plug-ins")
    assert [path.name for path in own.parent.iterdir()] == ["command.py"]
    assert own.read_text() == "my own"
    run("install", "gimp", "--to", home / "plug-ins", "--overwrite")
    assert own.read_text() != "my own"
    run("install", "gimp", "--to", home / "plug-ins")  # the same again is no conflict


def test_darktable_gets_the_script_and_a_line_in_luarc(home):
    settings = home / ".config/darktable"
    assert "start darktable once" in refusal("install", "darktable")
    settings.mkdir(parents=True)
    (settings / "luarc").write_text('require "mine"')
    assert f"wrote {settings}/lua/dereflect.lua" in run("install", "darktable")
    assert (settings / "luarc").read_text() == 'require "mine"\nrequire "dereflect"\n'
    assert "/opt/dereflect/bin/dereflect" in (settings / "lua/dereflect.lua").read_text()
    run("install", "darktable")
    assert (settings / "luarc").read_text().count("dereflect") == 1


def test_the_linux_desktop_gets_an_entry_and_its_script(home):
    run("install", "open-with")
    folder = home / ".local/share/applications"
    entry = (folder / "dereflect.desktop").read_text()
    assert f'Exec="{folder}/dereflect-open.sh" %F' in entry
    assert "/opt/dereflect/bin/dereflect" in (folder / "dereflect-open.sh").read_text()


def test_windows_gets_an_entry_of_send_to(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    run("install", "open-with")
    path = home / "AppData/Roaming/Microsoft/Windows/SendTo/Separate reflection.cmd"
    assert b'"/opt/dereflect/bin/dereflect" separate' in path.read_bytes()
    assert b"\r\n" in path.read_bytes()


def test_places_of_other_systems(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    (home / "Library/Application Support/GIMP/3.0").mkdir(parents=True)
    assert places.gimp() == [home / "Library/Application Support/GIMP/3.0/plug-ins"]
    assert "Automator" in refusal("install", "open-with")
    monkeypatch.setattr(sys, "platform", "win32")
    (home / "AppData/Roaming/GIMP/3.0").mkdir(parents=True)
    (home / "AppData/Local/darktable").mkdir(parents=True)
    assert places.gimp() == [home / "AppData/Roaming/GIMP/3.0/plug-ins"]
    assert places.darktable() == [home / "AppData/Local/darktable"]


def test_an_unknown_name_lists_the_known():
    assert refusal("install", "photoshop") == (
        "photoshop: no such integration; there are gimp, darktable, open-with"
    )


def test_luarc_stays_a_link_with_its_mode_and_its_line_ends(home):
    settings, own = home / ".config/darktable", home / "dotfiles/luarc"
    for folder in (settings, own.parent):
        folder.mkdir(parents=True)
    own.write_bytes(b'require "mine"\r\n-- caf\xe9\r\n')
    own.chmod(0o600)
    (settings / "luarc").symlink_to(own)
    run("install", "darktable")
    assert (settings / "luarc").is_symlink()
    assert own.read_bytes() == b'require "mine"\r\n-- caf\xe9\r\nrequire "dereflect"\n'
    assert own.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("name", ["open-with/linux/dereflect-open.sh", "open-with/macos/dereflect-open.sh"])
def test_a_command_in_a_folder_with_an_apostrophe_is_found_by_the_scripts(home, monkeypatch, name):
    command = Path('/home/o\'brien/$x `y` "z"/dereflect')
    monkeypatch.setattr(install, "own_command", lambda: command)
    one = install.Integration("", list, lambda: ((name, "open.sh"),))
    install.install(one, home)
    [line] = [line for line in (home / "open.sh").read_text().splitlines() if line.startswith("command=")]
    said = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$command"'], capture_output=True, text=True, check=True
    )
    assert said.stdout == str(command)


def test_odd_folders_are_quoted_in_the_desktop_entry_and_in_a_command_file(home, monkeypatch):
    folder = home / '100% $a `b` "c" d\\e'
    run("install", "open-with", "--to", folder)
    entry = (folder / "dereflect.desktop").read_text()
    # As the specification has it: https://specifications.freedesktop.org/desktop-entry-spec, "The Exec key".
    named = r'100%% \\$a \\`b\\` \\"c\\" d\\\\e'
    assert f'Exec="{home}/{named}/dereflect-open.sh" %F' in entry
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(install, "own_command", lambda: Path("C:/100%/dereflect.exe"))
    run("install", "open-with", "--to", home / "sendto")
    assert '"C:/100%%/dereflect.exe" separate' in (home / "sendto/Separate reflection.cmd").read_text()
