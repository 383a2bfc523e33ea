"""Settings: where they come from, which one wins, and that every mistake is told with its place."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinfold.config import Access, Policy, SecretSource, Settings, SourceSettings, duration, load, seconds, size
from pinfold.errors import ConfigError

FULL = """
repository = "vault"
repository_id = "00112233aabbccdd"
identity = ["~/id.txt", "other.txt"]
agent_key = "agent.key"
cache = "/var/cache/p"
host = "alpha"
passphrase_file = "secret"
mirrors = ["kubo+http://127.0.0.1:5001", "second"]
min_copies = 2
checkpoint = "10min"
check_all = true

[keep]
last = 3
daily = 7
within = "P7D"
tags = ["keep"]

[sources.home]
path = "~"
exclude = ["*.tmp", "!x.tmp"]
exclude_file = "left-out"
exclude_caches = true
exclude_if_present = [".nobackup"]
exclude_larger_than = "1.5G"
one_file_system = true
ignore_inode = true
ignore_ctime = true
xattrs = false
tags = ["a", "b"]
interval = "PT6H"
skip_unchanged = true

[sources.etc]
path = "/etc"
"""
HOME = {"HOME": "/home/me"}


def write(folder: Path, content: str, name: str = "pinfold.toml") -> Path:
    """Write a file of settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def mistakes(cwd: Path, flags: Mapping[str, object] | None = None, **environ: str) -> tuple[str, ...]:
    """What `load` complains of, without the folder's own name."""
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, HOME | environ, cwd)
    assert 2 == caught.value.exit_code
    return tuple(line.replace(f"{cwd}/", "") for line in caught.value.mistakes)


def test_nothing_set(tmp_path: Path) -> None:
    """Without a file, variable or flag, caches and settings lie below the home, and nothing else is known."""
    expected = Settings(cache=Path("/home/me/.cache/pinfold"), config_dir=Path("/home/me/.config/pinfold"))
    assert expected == load({}, HOME, tmp_path)


def test_a_full_file(tmp_path: Path) -> None:
    """Every key of the file arrives; relative paths start from the file's folder, ~ from the home."""
    file = write(tmp_path / "a", FULL)
    home = SourceSettings(
        "home",
        Path("/home/me"),
        exclude=("*.tmp", "!x.tmp"),
        exclude_file=(file.parent / "left-out",),
        exclude_caches=True,
        exclude_if_present=(".nobackup",),
        exclude_larger_than=3 << 29,
        one_file_system=True,
        ignore_inode=True,
        ignore_ctime=True,
        xattrs=False,
        tags=("a", "b"),
        interval=6 * 3600,
        skip_unchanged=True,
    )
    expected = Settings(
        cache=Path("/var/cache/p"),
        config_dir=Path("/home/me/.config/pinfold"),
        config_file=file,
        repository=str(file.parent / "vault"),
        repository_id="00112233aabbccdd",
        identity=(Path("/home/me/id.txt"), file.parent / "other.txt"),
        agent_key=file.parent / "agent.key",
        passphrase=SecretSource("file", (str(file.parent / "secret"),), ""),
        host="alpha",
        mirrors=("kubo+http://127.0.0.1:5001", str(file.parent / "second")),
        min_copies=2,
        checkpoint=600,
        check_all=True,
        keep=Policy(last=3, daily=7, within=duration("P7D"), tags=("keep",)),
        sources={"home": home, "etc": SourceSettings("etc", Path("/etc"))},
    )
    assert expected == load({"config": "a/pinfold.toml"}, HOME, tmp_path)


def test_later_layers_win(tmp_path: Path) -> None:
    """The file yields to .env, .env to the environment, and that to flags; each key for itself."""
    write(tmp_path, 'host = "file"\ncheckpoint = 1\nmin_copies = 1\n[keep]\nlast = 1\ndaily = 9\n')
    write(tmp_path, "PINFOLD_CHECKPOINT=2\nPINFOLD_HOST=dotenv\nPINFOLD_KEEP_LAST=2\n", ".env")
    environ = HOME | {"PINFOLD_HOST": "environ", "PINFOLD_KEEP_LAST": "3", "PINFOLD_REPOSITORY": "r"}
    found = load({"keep_last": 4, "keep_daily": None, "repository": "kubo+http://x"}, environ, tmp_path)
    assert ("environ", 2, "kubo+http://x", Policy(last=4, daily=9)) == (
        found.host,
        found.checkpoint,
        found.repository,
        found.keep,
    )


@pytest.mark.parametrize(
    ("flags", "variable", "dotenv", "expected"),
    [
        ("flag.toml", "environ.toml", "dotenv.toml", "flag"),
        (None, "environ.toml", "dotenv.toml", "environ"),
        (None, None, "dotenv.toml", "dotenv"),
        (None, None, None, "here"),
    ],
)
def test_which_file(tmp_path: Path, flags: str | None, variable: str | None, dotenv: str | None, expected: str) -> None:
    """The file is the one a flag names, or PINFOLD_CONFIG, in the environment before .env, or ./pinfold.toml."""
    for name in ("flag", "environ", "dotenv"):
        write(tmp_path, f'host = "{name}"', f"{name}.toml")
    write(tmp_path, 'host = "here"')
    write(tmp_path, f"PINFOLD_CONFIG={dotenv or ''}", ".env")
    environ = HOME | ({"PINFOLD_CONFIG": variable} if variable else {})
    assert expected == load({"config": flags}, environ, tmp_path).host


def test_the_file_of_the_user(tmp_path: Path) -> None:
    """Without a file here, the one in the folder for settings counts; XDG variables move it, if absolute."""
    write(tmp_path / "c" / "pinfold", 'host = "moved"')
    write(tmp_path / "h" / ".config" / "pinfold", 'host = "home"')
    moved = {"HOME": f"{tmp_path}/h", "XDG_CONFIG_HOME": f"{tmp_path}/c", "XDG_CACHE_HOME": "/x"}
    relative = moved | {"XDG_CONFIG_HOME": "c", "XDG_CACHE_HOME": "x"}
    found = [load({}, environ, tmp_path) for environ in (moved, relative)]
    assert [
        ("moved", Path("/x/pinfold"), tmp_path / "c" / "pinfold"),
        ("home", tmp_path / "h" / ".cache" / "pinfold", tmp_path / "h" / ".config" / "pinfold"),
    ] == [(one.host, one.cache, one.config_dir) for one in found]


def test_lists_in_the_environment(tmp_path: Path) -> None:
    """Identities are parted by colons, mirrors by spaces, tags by commas; an empty variable is none."""
    environ = {"IDENTITY": "a:/b", "MIRRORS": "kubo+http://h:1  m", "KEEP_TAGS": "x, y", "HOST": "", "CHECK_ALL": "yes"}
    found = load({}, HOME | {f"PINFOLD_{key}": value for key, value in environ.items()}, tmp_path)
    assert (
        (tmp_path / "a", Path("/b")),
        ("kubo+http://h:1", str(tmp_path / "m")),
        ("x", "y"),
        None,
        True,
    ) == (found.identity, found.mirrors, found.keep.tags, found.host, found.check_all)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Mistakes of every layer are told together, each with its file or variable, key and reason."""
    write(
        tmp_path,
        """
repositry = "x"
min_copies = 3
checkpoint = "1mo"
passphrase = "hunter2"
[keep]
dayly = 1
last = -1
[sources.home]
exclud = []
exclude_larger_than = "big"
[sources."a/b"]
path = "/x"
type = "mysql"
""",
    )
    write(tmp_path, 'export PINFOLD_HOST="open\nPINFOLD_CHECK_ALL=maybe\nPINFOLD_CACHE\nOTHER="\n', ".env")
    name_rule = "a source's name must be one printable word that begins with no '-', '.' or '~' and holds no '/'"
    expected = {
        ".env, line 1: PINFOLD_HOST: its quotes do not close",
        ".env, line 2: PINFOLD_CHECK_ALL: 'maybe' is neither true nor false",
        ".env, line 3: PINFOLD_CACHE: it has no =",
        'pinfold.toml: repositry: there is no such setting; did you mean "repository"?',
        "pinfold.toml: min_copies: 3 copies need 2 mirrors, there are 0",
        "pinfold.toml: checkpoint: '1mo' has no fixed length; write it in days",
        "pinfold.toml: passphrase: has no place here; use passphrase_file or passphrase_command",
        'pinfold.toml: keep.dayly: there is no such setting; did you mean "daily"?',
        "pinfold.toml: keep.last: -1 is out of bounds; it must be at least 0",
        'pinfold.toml: sources.home.exclud: there is no such setting; did you mean "exclude"?',
        'pinfold.toml: sources.home.exclude_larger_than: \'big\' is no size; write it as 1048576, "10M" or "1.5G"',
        "pinfold.toml: sources.home.path: is missing: what is to be saved?",
        f"pinfold.toml: sources.a/b: {name_rule}",
        "pinfold.toml: sources.a/b.type: 'mysql' is no type of source; there is: directory",
        'PINFOLD_REPOSITRY: there is no such setting; did you mean "PINFOLD_REPOSITORY"?',
        "--colour: there is no such setting",
        '--keep-within: \'7m\' is no duration; write it as "P7D", "PT6H", "7d", "36h", "2mo" or "30min"',
    }
    told = mistakes(tmp_path, {"colour": 1, "keep_within": "7m"}, PINFOLD_REPOSITRY="x")
    assert (expected, len(expected)) == (set(told), len(told))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a = ", "pinfold.toml: is no TOML: "),
        ("\udcff", "pinfold.toml: is not UTF-8"),
        ("a" * (1 << 20) + "=1", "pinfold.toml: is no TOML: it is longer than"),
        ("a = " + "[" * 5000 + "]" * 5000, "pinfold.toml: is no TOML: "),
        ("keep = 3", "pinfold.toml: keep: is no table"),
        ("sources = 3", "pinfold.toml: sources: is no table"),
        ("[sources]\nhome = 3", "pinfold.toml: sources.home: is no table"),
        ('[sources."-x"]\npath = "/"', "pinfold.toml: sources.-x: a source's name must"),
        ('repository = ""', "pinfold.toml: repository: it is no folder or address"),
        ('cache = "~you/x"', "pinfold.toml: cache: '~you/x': another user's home must be written in full"),
        ('repository_id = "12"', "pinfold.toml: repository_id: '12' is no repository id"),
        ('passphrase_command = "pass \'x"', "pinfold.toml: passphrase_command: it is no command; mind its quotes"),
        ("passphrase_command = []", "pinfold.toml: passphrase_command: it is empty"),
    ],
)
def test_a_bad_file(tmp_path: Path, content: str, expected: str) -> None:
    """A file that is no settings is one clear line that names it."""
    (tmp_path / "pinfold.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    (told,) = mistakes(tmp_path, {"config": "pinfold.toml"})
    assert told.startswith(expected)


def test_a_chosen_file_must_be_there(tmp_path: Path) -> None:
    """A file that was asked for and is not there is a mistake; one that merely may be there is none."""
    assert ("none.toml: cannot be read: No such file or directory",) == mistakes(tmp_path, {"config": "none.toml"})


def test_files_of_other_users_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lies here but is another user's is refused, unless it was chosen."""
    file = write(tmp_path, 'host = "x"')
    os.chown(file, 12345, -1) if os.getuid() == 0 else monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert ("pinfold.toml: belongs to another user; if you trust it, say --config FILE, or make it yours",) == mistakes(
        tmp_path
    )
    assert "x" == load({"config": file}, HOME, tmp_path).host


@pytest.mark.parametrize("mode", [0o620, 0o602])
@pytest.mark.parametrize(("name", "content"), [("pinfold.toml", 'host = "x"'), (".env", "PINFOLD_HOST=x")])
def test_files_that_others_may_write_to(tmp_path: Path, name: str, content: str, mode: int) -> None:
    """A file that lies here and that its group or everybody may write to is refused, until they may not."""
    file = write(tmp_path, content, name)
    file.chmod(mode)
    reason = "others may write to it; take that from them with chmod go-w, then look at what it says"
    assert (f"{name}: {reason}",) == mistakes(tmp_path)
    file.chmod(0o644)
    assert "x" == load({}, HOME, tmp_path).host


def test_other_programs_dotenv(tmp_path: Path) -> None:
    """A `.env` that says nothing of pinfold is no concern of ours, whoever may write to it."""
    write(tmp_path, "DATABASE=x\n", ".env").chmod(0o666)
    assert None is load({}, HOME, tmp_path).host


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe or a folder of a name we look for is passed by, without waiting for a writer."""
    os.mkfifo(tmp_path / "pinfold.toml")
    (tmp_path / ".env").mkdir()
    assert None is load({}, HOME, tmp_path).config_file


NO_PROGRAM = (
    "a file that merely lies in the working folder names no program to run; say it in the environment,"
    " in the user's own pinfold.toml, or name the file with --config"
)


def test_no_programs_from_the_working_folder(tmp_path: Path) -> None:
    """./pinfold.toml, ./.env and a file that ./.env names may not say what is to be run."""
    write(tmp_path / "a", "passphrase_command = 'touch stolen'")
    write(tmp_path / "b", "PINFOLD_PASSPHRASE_COMMAND='touch stolen'", ".env")
    write(tmp_path / "c", "passphrase_command = ['touch', 'stolen']", "other.toml")
    write(tmp_path / "c", "PINFOLD_CONFIG=other.toml", ".env")
    assert [
        (f"pinfold.toml: passphrase_command: {NO_PROGRAM}",),
        (f".env, line 1: PINFOLD_PASSPHRASE_COMMAND: {NO_PROGRAM}",),
        (f"other.toml: passphrase_command: {NO_PROGRAM}",),
    ] == [mistakes(tmp_path / one) for one in "abc"]


def test_programs_that_the_user_named(tmp_path: Path) -> None:
    """A program is taken from the environment, from a file the user named, and from the folder for settings."""
    file = write(tmp_path / "a" / "pinfold", "passphrase_command = 'cat x'")
    (tmp_path / "empty").mkdir()
    xdg = HOME | {"XDG_CONFIG_HOME": str(tmp_path / "a")}
    ways: list[tuple[dict[str, object], dict[str, str], Path]] = [
        ({}, HOME | {"PINFOLD_PASSPHRASE_COMMAND": "cat x"}, tmp_path / "empty"),
        ({"config": file}, HOME, tmp_path / "empty"),
        ({"config": "pinfold.toml"}, HOME, file.parent),
        ({}, HOME | {"PINFOLD_CONFIG": str(file)}, tmp_path / "empty"),
        ({}, xdg, tmp_path / "empty"),
        ({}, xdg, file.parent),
    ]
    expected = SecretSource("command", ("cat", "x"), "")
    assert [expected] * len(ways) == [load(*way).passphrase for way in ways]


def test_near_misses_only(tmp_path: Path) -> None:
    """Variables that Kubernetes makes up for a service of our name are let pass; slips are told."""
    names = {"PINFOLD_SERVICE_HOST": "1.2.3.4", "PINFOLD_PORT": "tcp://1.2.3.4:80", "PINFOLD_PORT_80_TCP_ADDR": "x"}
    load({}, HOME | names, tmp_path)
    assert ('PINFOLD_KEEP_DAYLY: there is no such setting; did you mean "PINFOLD_KEEP_DAILY"?',) == mistakes(
        tmp_path, PINFOLD_KEEP_DAYLY="7"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PINFOLD_HOST=plain # comment", "plain"),
        ("PINFOLD_HOST = a#b \r", "a#b"),
        ("export PINFOLD_HOST='a \\n $x' # c", "a \\n $x"),
        ('PINFOLD_HOST="a \\"b\\" \\\\ \\$x"', 'a "b" \\ $x'),
        ("PINFOLD_HOST=# nothing", None),
        ("# PINFOLD_HOST=x", None),
        ("HOST=x\nunrelated 'junk", None),
    ],
)
def test_dotenv_lines(tmp_path: Path, line: str, expected: str | None) -> None:
    """Quotes, comments and `export` mean what they mean to others who read .env; other lines are not looked at."""
    write(tmp_path, line, ".env")
    assert expected == load({}, HOME, tmp_path).host


def test_the_passphrase(tmp_path: Path) -> None:
    """The passphrase may be given by value, in a file or by a command, which is no shell's; the last layer wins."""
    write(tmp_path, "passphrase_command = \"pass show 'my key; rm'\"")
    chosen = {"config": "pinfold.toml"}
    command = load(chosen, HOME, tmp_path).passphrase
    file = load(chosen, HOME | {"PINFOLD_PASSPHRASE_FILE": "f"}, tmp_path).passphrase
    value = load(chosen, HOME | {"PINFOLD_PASSPHRASE": " a b "}, tmp_path).passphrase
    assert command is not None
    assert file is not None
    assert value is not None
    assert [("command", ("pass", "show", "my key; rm")), ("file", tmp_path / "f"), ("value", " a b ")] == [
        (command.kind, command.argv),
        (file.kind, file.path),
        (value.kind, value.text),
    ]


def test_two_passphrases(tmp_path: Path) -> None:
    """Two ways to the passphrase in one layer are a mistake, and neither is repeated."""
    assert (
        "PINFOLD_PASSPHRASE and PINFOLD_PASSPHRASE_COMMAND: say in one way where the passphrase is, not in 2",
    ) == mistakes(tmp_path, None, **dict.fromkeys(("PINFOLD_PASSPHRASE", "PINFOLD_PASSPHRASE_COMMAND"), "hunter2"))


@pytest.mark.parametrize("show", [repr, str, pickle.dumps])
def test_secrets_are_not_shown(tmp_path: Path, show: Callable[[object], object]) -> None:
    """Neither the passphrase nor an address, which may hold a password, is in what settings print."""
    environ = HOME | {"PINFOLD_PASSPHRASE": "hunter2", "PINFOLD_REPOSITORY": "kubo+http://u:hunter2@h"}
    environ["PINFOLD_MIRRORS"] = environ["PINFOLD_REPOSITORY"]
    settings = load({}, environ, tmp_path)
    try:
        shown = show(settings)
    except TypeError as error:
        shown = str(error)
    assert "hunter2" not in str(shown)
    assert "SecretSource(value, from PINFOLD_PASSPHRASE)" == repr(settings.passphrase)


def test_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME the user's entry in the system's list says where it is; without that, XDG variables must."""
    assert load({}, {}, tmp_path).cache.is_absolute()
    monkeypatch.setattr("os.getuid", lambda: 3_999_999)
    with pytest.raises(ConfigError, match="HOME: is not set"):
        load({}, {}, tmp_path)
    found = load({}, {"XDG_CACHE_HOME": "/c", "XDG_CONFIG_HOME": "/d"}, tmp_path)
    assert (Path("/c/pinfold"), Path("/d/pinfold")) == (found.cache, found.config_dir)


def test_the_room_is_light() -> None:
    """Reading settings loads nothing of other rooms but errors."""
    code = "import sys, pinfold.config; print(sorted(name for name in sys.modules if name.startswith('pinfold')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_path()).stdout
    below = [
        "",
        ".config",
        ".config.dotenv",
        ".config.layers",
        ".config.load",
        ".config.secrets",
        ".config.settings",
        ".config.sources",
    ]
    assert [f"pinfold{one}" for one in [*below, ".config.values", ".errors"]] == eval(out)  # noqa: S307  # a list of names


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize(
    ("written", "months", "length"),
    [
        ("P7D", 0, 7 * 86400),
        ("PT6H", 0, 21600),
        ("P1Y2M3W4DT5H6M7S", 14, 25 * 86400 + 5 * 3600 + 6 * 60 + 7),
        ("1y2mo3w4d5h6min7s", 14, 25 * 86400 + 5 * 3600 + 6 * 60 + 7),
        (" 36h ", 0, 36 * 3600),
    ],
)
def test_durations(written: str, months: int, length: int) -> None:
    """Durations may be written in ISO 8601 or plainly, and print as they were written."""
    found = duration(written)
    assert (months, length, written.strip()) == (found.months, found.seconds, str(found))


@pytest.mark.parametrize(
    "written",
    ["", "P", "PT", "P1", "7", "7m", "d7", "-7d", "1.5d", "7d1y", "P1DT", "9" * 60 + "d", "1001y", 7, None, "\u0667d"],
)
def test_what_is_no_duration(written: object) -> None:
    """Anything else is refused, "7m" too: months to some, minutes to others."""
    with pytest.raises(ValueError, match=r"no duration|thousand years"):
        duration(written)


@pytest.mark.parametrize(
    ("written", "before"),
    [
        ("1mo", "2024-02-29"),
        ("13mo", "2023-02-28"),
        ("1d", "2024-03-30"),
        ("9999mo", "1190-12-31"),
        ("999y", "1025-03-31"),
    ],
)
def test_before(written: str, before: str) -> None:
    """A month before the 31st is the last day of a shorter month."""
    expected = datetime.fromisoformat(before).replace(tzinfo=UTC)
    assert expected == duration(written).before(datetime(2024, 3, 31, tzinfo=UTC))


@pytest.mark.parametrize("written", ["3y", "P600D"])
def test_before_the_calendar(written: str) -> None:
    """What would lie before the year 1 is the beginning of the calendar."""
    assert datetime.min.replace(tzinfo=UTC) == duration(written).before(datetime(2, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (5, 5),
        ("5", 5),
        ("10M", 10 << 20),
        ("10MiB", 10 << 20),
        ("10 MB", 10_000_000),
        ("1.5g", 3 << 29),
        ("7B", 7),
        ("0k", 0),
    ],
)
def test_sizes(written: object, expected: int) -> None:
    """A bare letter and "MiB" count in 1024s, "MB" in 1000s."""
    assert expected == size(written)


@pytest.mark.parametrize("written", ["", "M", "-1", "1,5M", "1e3", "10X", "9" * 15 + "P", -1, 1.5, True, None, [1]])
def test_what_is_no_size(written: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"no size|out of bounds"):
        size(written)


@pytest.mark.parametrize(("written", "expected"), [(5, 5), ("90", 90), ("1h30min", 5400), ("P1D", 86400)])
def test_seconds(written: object, expected: int) -> None:
    """An interval is a number of seconds or a duration of fixed length."""
    assert expected == seconds(written)


@pytest.mark.parametrize("written", [0, "0", "0d", "P1M", True, "soon"])
def test_what_is_no_interval(written: object) -> None:
    """Nothing at all, and months, are no interval."""
    with pytest.raises(ValueError, match=r"out of bounds|no fixed length|no duration"):
        seconds(written)


def test_what_opens_far_stores(tmp_path: Path) -> None:
    """A token at the top is the repository's, one in [stores] goes to the store it is named for, and none shows."""
    written = """
repository = "kubo+https://node:5001"
ca_file = "ca.pem"
mirrors = ["cluster+https://one:9094", "vault"]
[stores."cluster+https://one:9094"]
token_file = "cluster.token"
ca_file = "/etc/ca.pem"
[stores."kubo+https://node:5001"]
token_file = "weaker"
"""
    write(tmp_path, written)
    found = load({}, HOME | {"PINFOLD_TOKEN": "hunter2"}, tmp_path)
    assert {
        "kubo+https://node:5001": Access(SecretSource("value", ("hunter2",), ""), tmp_path / "ca.pem"),
        "cluster+https://one:9094": Access(
            SecretSource("file", (str(tmp_path / "cluster.token"),), ""), Path("/etc/ca.pem")
        ),
    } == found.access
    assert "hunter2" not in repr(found)


def test_mistakes_in_what_opens_far_stores(tmp_path: Path) -> None:
    """Tokens by value, unknown keys, two ways at once, and a program named by a file that merely lies here are told."""
    written = """
token = "x"
max_copies = 1
min_copies = 2
mirrors = ["m"]
[stores."kubo+https://node:5001"]
token = "x"
tokn_file = "y"
[stores.second]
token_file = "a"
token_command = "b"
[stores.third]
token_command = "b"
"""
    write(tmp_path, written)
    with pytest.raises(ConfigError) as told:
        load({}, HOME, tmp_path)
    assert _MISTAKES == tuple(
        line.removeprefix(f"{tmp_path / 'pinfold.toml'}: ")[: len(wanted)]
        for line, wanted in zip(told.value.mistakes, _MISTAKES, strict=True)
    )


_MISTAKES = (
    "token: has no place here; use token_file or token_command",
    "max_copies: 1 are fewer than min_copies, which is 2",
    "stores.kubo+https://node:5001.token: has no place here; use token_file or token_command",
    'stores.kubo+https://node:5001.tokn_file: there is no such setting; did you mean "token_file"?',
    "stores.second.token_file and",
    "stores.third.token_command: a file that merely lies in the working folder names no program to run",
)
