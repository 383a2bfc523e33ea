"""Two versions of a database dump: PostgreSQL's own, of a pgbench database before and after many updates.

A private server below the work folder, reached through 127.0.0.1 only, run as the user `postgres` where the bench
runs as root: PostgreSQL refuses root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCALE_MB: Final = 9.7  # of dump for each step of pgbench's scale
_UPDATES_PER_MB: Final = 110  # 90,000 for 800 MB: 1.1 % of the rows
_SETTINGS: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=4GB", "autovacuum=off")


def dumps(first: Path, second: Path, megabytes: int) -> None:
    """Write both versions, if they are not there, each as an uncompressed `pg_dump -Fc`.  Raises DataError."""
    told = first.with_suffix(".txt")
    if first.exists() and second.exists() and told.exists() and told.read_text(encoding="utf-8") == f"{megabytes}":
        return
    print(f"making two versions of a database dump of {megabytes} MB")
    told.unlink(missing_ok=True)
    first.parent.mkdir(parents=True, exist_ok=True)
    scale = max(1, round(megabytes / _SCALE_MB))
    with _server(_programs(), first.parent) as server:
        server.run("pgbench", "--initialize", "--quiet", f"--scale={scale}")
        server.dump(first)
        server.run(
            "pgbench", "-b", "simple-update", "--no-vacuum", "--random-seed=1", "-t", f"{megabytes * _UPDATES_PER_MB}"
        )
        server.dump(second)
    told.write_text(f"{megabytes}", encoding="utf-8")


@dataclass(frozen=True)
class _Server:
    programs: Path
    folder: Path
    port: int
    user: str | None

    def run(self, program: str, *words: str) -> None:
        said = self.folder / "said"
        with said.open("ab") as log:
            self._run(program, *words, stdout=log, stderr=log, said=said)

    def dump(self, file: Path) -> None:
        said = self.folder / "said"
        with file.open("wb") as out, said.open("ab") as log:
            self._run("pg_dump", "-Fc", "-Z0", stdout=out, stderr=log, said=said)

    def _run(self, program: str, *words: str, said: Path, **streams: object) -> None:
        path = self.programs / program
        command = [str(path if path.exists() else program), *words]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "bench",
            "PGDATABASE": "postgres",
        }
        # An inherited group of root's would be refused; so would be a folder the user cannot enter.
        done = subprocess.run(  # type: ignore[call-overload]  # the streams are passed on
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            user=self.user,
            group=self.user and pwd.getpwnam(self.user).pw_gid,
            extra_groups=[] if self.user else None,
            check=False,
            **streams,
        )
        if done.returncode:
            last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise DataError(f"{program} ended with {done.returncode}: {''.join(last)}")


@contextmanager
def _server(programs: Path, near: Path) -> Iterator[_Server]:
    user = "postgres" if os.geteuid() == 0 else None
    # "postgres" must be able to enter the folder, which it is not below somebody's home.
    is_open = all(parent.stat().st_mode & 0o001 for parent in (near.resolve(), *near.resolve().parents))
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=near if is_open or user is None else None))
    try:
        if user:
            shutil.chown(folder, user, user)
        server = _Server(programs, folder, _free_port(), user)
        data = str(folder / "data")
        server.run("initdb", "-D", data, "-U", "bench", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = " ".join(
            f"-c {one}" for one in (f"port={server.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=''")
        )
        options += "".join(f" -c {one}" for one in _SETTINGS)
        server.run("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "-o", options, "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of PostgreSQL's programs, installed if this is Debian and we are root.  Raises DataError."""
    for _ in range(2):
        on_path = shutil.which("initdb")
        if on_path:
            return Path(on_path).parent
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if debian:
            return debian[-1].parent
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            break
        print("installing postgresql-15")
        subprocess.run(
            ["apt-get", "install", "-qq", "--no-install-recommends", "postgresql-15"],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
            check=False,
        )
    raise DataError("PostgreSQL is not there: install postgresql-15, or leave the dump out: --rows tree,data")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
