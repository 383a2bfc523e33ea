"""Whole ways through the command line, from init to a restore that equals what was saved."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pinfold import wiring
from pinfold.config import Settings
from pinfold.ipld import list_folder, read_file
from pinfold.ipld.cid import CID

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli


def tree_of(root: Path) -> dict[str, object]:
    """What a restore must bring back: types, modes, times and content by path."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_mtime_ns, content)
    return found


def test_passphrase_from_init_to_restore(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """With a passphrase everything from backup to garbage collection works, and restores are equal."""
    first = repo("backup", tree, "--name", "tree", "--tag", "one", "--json").document["sources"][0]
    before = tree_of(tree)
    (tree / "etc" / "passwd").write_text("root:x:0:0\nme:x:1:1\n")
    (tree / "etc" / "empty").unlink()
    (tree / "etc" / "new").write_text("new\n")
    second = repo("backup", tree, "--name", "tree", "--json").document["sources"][0]
    assert (1, 1, 1) == tuple(second["files"][key] for key in ("new", "changed", "gone"))

    listed = repo("snapshots", "--json").document["snapshots"]
    assert [(first["root"], ["one"]), (second["root"], [])] == [(one["root"], one["tags"]) for one in listed]
    assert "etc/\nlarge.bin\nlink\n" == repo("ls", "latest").out
    assert "etc/ssh/config" in repo("ls", "-lR", "latest:tree", "etc").out
    assert 2 == repo("find", "passwd").out.count("etc/passwd")
    changes = repo("diff", first["root"][-10:], second["id"]).out.splitlines()
    assert ["- etc/empty", "+ etc/new", "M etc/passwd"] == changes

    repo("restore", first["root"], tmp_path / "old")
    assert before == tree_of(tmp_path / "old")
    repo("restore", "latest", tmp_path / "new")
    assert tree_of(tree) == tree_of(tmp_path / "new")

    assert 1 == repo("forget", "--keep-last", "1", "--json").document["removed"]
    repo("gc")
    repo("verify", "--read", "--decrypt", "100", "--at-rest")
    repo("export", "latest", tmp_path / "one.car")
    other = repo.with_words("-r", tmp_path / "other", "--passphrase-file", tmp_path / "passphrase")
    assert (
        second["root"] == other("import", tmp_path / "one.car", "--create", "--json").document["snapshots"][0]["root"]
    )
    other("restore", "latest:tree", tmp_path / "from-other")
    assert tree_of(tree) == tree_of(tmp_path / "from-other")


def test_recipient_agent_saves_and_owner_restores(
    cli: Cli, tree: Path, tmp_path: Path, identity: tuple[str, Path]
) -> None:
    """With a recipient the machine's agent saves without any secret of the owner, and reads nothing."""
    recipient, file = identity
    agent = cli.with_words("-r", tmp_path / "repo")
    made = agent("init", "--recipient", recipient, "--agent", "web1", "--json").document
    assert 0o600 == stat.S_IMODE(os.stat(made["agent_key"]).st_mode)  # noqa: PTH116
    agent("backup", tree, "--name", "tree")
    again = agent("backup", tree, "--name", "tree", "--json").document["sources"][0]
    assert ("made", 0) == (again["outcome"], again["problem_count"])
    assert "--identity" in agent("ls", "latest", code=5).err
    assert [("web1", None)] * 2 == [
        (one["agent"], one["source"]) for one in agent("snapshots", "--json").document["snapshots"]
    ]
    agent("verify", "--read")
    owner = cli.with_words("-r", tmp_path / "repo", "--identity", file)
    owner("restore", "latest:tree", tmp_path / "back")
    assert tree_of(tree) == tree_of(tmp_path / "back")
    owner("verify", "--decrypt", "100")


def test_restore_from_a_folder_and_from_a_car(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A snapshot restores from plain files as a gateway gives them, and from a CAR file, without a repository."""
    made = repo("backup", tree, "--name", "tree", "--json").document["sources"][0]
    repo("export", "latest", tmp_path / "snapshot.car")
    plain = tmp_path / "plain"
    settings = Settings(cache=tmp_path, config_dir=tmp_path, repository=str(tmp_path / "repo"))
    with wiring.store(settings) as store:
        unpack(CID.parse(made["root"]), plain, store.get)
    alone = repo.with_words("--passphrase-file", tmp_path / "passphrase")
    alone("restore", plain, tmp_path / "one")
    alone("restore", tmp_path / "snapshot.car", tmp_path / "two")
    assert tree_of(tree) == tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def unpack(root: CID, target: Path, get: object) -> None:
    """Write a UnixFS folder as `ipfs get` does."""
    target.mkdir()
    for entry in list_folder(root, get):  # type: ignore[arg-type]
        path = target / entry.name.decode()
        if entry.name == b"blocks":
            unpack(entry.cid, path, get)
        else:
            path.write_bytes(b"".join(read_file(entry.cid, get)))  # type: ignore[arg-type]


def test_sources_of_the_settings(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Sources are saved by name or all at once; one that is gone does not stop the others."""
    (tmp_path / "cwd" / "pinfold.toml").write_text(
        f'[sources.etc]\npath = "{tree}/etc"\ntags = ["toml"]\nexclude = ["empty"]\n[sources.gone]\npath = "nowhere"\n'
    )
    assert "did you mean etc?" in repo("backup", "etcc", code=2).err
    one = repo("backup", "etc", "--tag", "more", "--json").document["sources"][0]
    assert ("etc", 3) == (one["source"], one["files"]["all"])
    assert ["toml", "more"] == repo("snapshots", "--json").document["snapshots"][0]["tags"]
    told = repo("backup", "--all", "--json", code=3).document["sources"]
    assert [("etc", "made"), ("gone", "failed")] == [(one["source"], one["outcome"]) for one in told]
    assert 2 == repo("backup", "gone", "--json", code=2).document["sources"][0]["error"]["code"]


def test_choices_of_a_backup(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Excludes, lists of files, dry runs and unchanged sources are minded."""
    counted = repo("backup", tree, "--dry-run", "--exclude-larger-than", "1M", "--json").document
    assert (True, 4, "counted") == (
        counted["dry_run"],
        counted["sources"][0]["files"]["all"],
        counted["sources"][0]["outcome"],
    )
    assert [] == repo("snapshots", "--json").document["snapshots"]
    (tmp_path / "list").write_bytes(f"{tree}/etc/ssh\0large.bin".encode())
    some = repo("backup", tree, "--name", "some", "--files-from", tmp_path / "list", "--json").document["sources"][0]
    assert 2 == some["files"]["all"]
    same = repo("backup", tree, "--name", "some", "--files-from", tmp_path / "list", "--skip-unchanged", "--json")
    assert ("unchanged", None) == (same.document["sources"][0]["outcome"], same.document["sources"][0]["root"])


def test_choices_of_a_restore(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Includes and excludes choose, a second restore keeps, --overwrite replaces, --delete removes."""
    repo("backup", tree, "--name", "tree")
    back = tmp_path / "back"
    repo("restore", "latest", back, "--include", "etc", "--exclude", "ssh")
    assert ["empty", "od\x1bd\n", "passwd"] == sorted(path.name for path in (back / "etc").iterdir())
    assert not (back / "large.bin").exists()
    (back / "etc" / "passwd").write_text("mine")
    (back / "extra").touch()
    kept = repo("restore", "latest", back, "--json", code=3).document
    assert [{"path": "etc/passwd", "what": "not restored: something else is there, and it is kept"}] == kept["problems"]
    done = repo("restore", "latest", back, "--overwrite", "always", "--delete", "--json").document
    assert (1, 1) == (done["files"], done["removed"])
    assert tree_of(tree) == tree_of(back)
    assert 5 == repo("restore", "latest", tmp_path / "none", "--dry-run", "--json").document["files"]
    assert not (tmp_path / "none").exists()
    repo("restore", "latest", back, "--delete", "--include", "x", code=2)
