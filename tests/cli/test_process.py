"""The command line as a process of its own: start-up, terminals, pipes, interrupts."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pinfold

if TYPE_CHECKING:
    from cli.conftest import Cli

PROGRAM = [sys.executable, "-m", "pinfold"]
# Whatever of these a command does not need, it does not import: together they take a quarter of a second.
HEAVY = {"rich", "cryptography", "pyrage", "pathspec", "sqlite3", "blake3", "libipld", "fastcdc", "tomllib"}


@pytest.fixture
def environment() -> dict[str, str]:
    """What the process sees: this package, wherever it lies."""
    return dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent), TERM="xterm")


def in_terminal(words: list[str], answers: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run on a terminal, answering each prompt; returns the exit code and what was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [*PROGRAM, *words], environment)  # noqa: S606  # this very program
    shown = b""
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux: the child is gone
            break
        shown += data
        if not data:
            break
        if answers and shown.endswith(b": "):
            os.write(terminal, answers.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode(errors="replace")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["completion", "bash"], ["key", "--help"]])
def test_start_up_imports_nothing_heavy(words: list[str], environment: dict[str, str]) -> None:
    """Help, the version and completion start without the engine."""
    script = (
        "import sys, io, contextlib\nfrom pinfold.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): code = main({words})\n"
        "print(code, *sorted({name.split('.')[0] for name in sys.modules} | set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    code, *modules = ran.stdout.split()
    assert ("0", set()) == (code, (HEAVY | {"pinfold.wiring", "pinfold.store"}) & set(modules))


def test_a_command_without_a_terminal_imports_no_progress(repo: Cli, tree: Path, environment: dict[str, str]) -> None:
    """A backup in a log draws nothing, so it does not load what draws."""
    words = ["backup", str(tree), *repo.words]
    script = f"import sys\nfrom pinfold.cli import main\nmain({words})\nprint('rich' in sys.modules, file=sys.stderr)\n"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "False\n" == ran.stderr


def test_python_m_pinfold_is_the_program(tmp_path: Path, environment: dict[str, str]) -> None:
    """`python -m pinfold` is the same command line."""
    words = [*PROGRAM, "snapshots", "-r", str(tmp_path / "none")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (2, "") == (ran.returncode, ran.stdout)
    assert f"pinfold: {tmp_path}/none is no folder" in ran.stderr


def test_prompts_on_a_terminal(tree: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal init asks twice, others once; progress is drawn; the passphrase is not shown."""
    where = str(tmp_path / "repo")
    cheap = ["--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000"]
    assert 0 == in_terminal(["init", where, *cheap], ["hidden words", "hidden words"], environment)[0]
    code, shown = in_terminal(["backup", str(tree), "-r", where], ["hidden words"], environment)
    assert 0 == code
    assert "Passphrase of repository" in shown
    assert "━" in shown
    assert "hidden" not in shown
    code, shown = in_terminal(["ls", "latest", "-r", where], ["wrong"], environment)
    assert 5 == code
    assert "\x1b[31mpinfold: the passphrase opens no slot" in shown
    shown = in_terminal(["ls", "latest", "-r", where], ["wrong"], environment | {"NO_COLOR": "1"})[1]
    assert "\x1b[31m" not in shown
    code, shown = in_terminal(["init", where + "2", *cheap], ["one", "other"], environment)
    assert (2, True) == (code, "the two passphrases differ" in shown)


def test_no_prompt_without_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    """Without a terminal nobody is asked: the error says how else a passphrase is given."""
    words = [*PROGRAM, "init", str(tmp_path / "repo")]
    ran = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL, timeout=60
    )
    assert 2 == ran.returncode
    assert "--passphrase-file" in ran.stderr
    assert not (tmp_path / "repo").exists()


def test_a_reader_that_goes_away_is_no_error(repo: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    """`pinfold ls | head` ends quietly, with 0."""
    (tmp_path / "many").mkdir()
    for number in range(5000):
        (tmp_path / "many" / f"a file with quite a long name, number {number}").touch()
    repo("backup", tmp_path / "many")
    with subprocess.Popen(
        [*PROGRAM, "ls", "-l", "latest", *repo.words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert b"" == running.stderr.read()
    assert 0 == running.returncode


def test_an_interrupt_is_130(repo: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    """Ctrl-C ends a run with 130 and one line, and the repository is as good as before."""
    fifo = tmp_path / "list"
    os.mkfifo(fifo)
    words = [*PROGRAM, "backup", str(tmp_path), "--files-from", str(fifo), *repo.words]
    with (
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as running,
        fifo.open("wb"),  # opened when the other end is: it reads the list now, and waits for more
    ):
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        told = running.stderr.read()
    assert (130, 1) == (running.returncode, told.count("\n"))
    assert "interrupted" in told
    repo("verify")
