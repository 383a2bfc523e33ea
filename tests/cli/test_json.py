"""--json: one object on stdout, whose keys stay what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli

ENTRY = "gid link mode mtime mtime_ns path size target type uid"
SOURCE = (
    "bytes copies error files folders id new_blocks new_bytes notes others outcome path places problem_count problems"
    " read_bytes root seconds short_of_copies source"
)
SNAPSHOT = (
    "agent agent_key base block_bytes blocks bytes files finished generation host id interval kind new_blocks new_bytes"
    " path previous problem_count root sequence source source_id started tags"
)
VERIFIED = (
    "at_rest blocks bytes damage damage_count files notes opened read repository short_of_copies snapshots with_key"
)
RESTORED = (
    "bytes damaged damaged_count dry_run files folders kept others owners_not_set problem_count problems removed"
    " snapshot target"
)
KEYRING = "failed generation keyring repository rerooted sequence"
KEYS: dict[str, tuple[str, dict[str, str]]] = {
    "init": ("agent_key beside keyring padding repository slots store", {}),
    "backup TREE": (
        "dry_run sources",
        {"sources": SOURCE},
    ),
    "snapshots": ("damaged repository snapshots", {"snapshots": SNAPSHOT}),
    "status": (
        "repository safe snapshots",
        {"snapshots": "copies finished id kind places root short source source_id wanted"},
    ),
    "replicate --to COPY --create": (
        "dry_run main notes repository stores unreachable",
        {"stores": "beyond blocks bytes pins stopped store"},
    ),
    "ls latest": ("entries path snapshot", {"entries": ENTRY}),
    "find passwd": ("damaged matches pattern", {"matches": f"{ENTRY} snapshot source"}),
    "diff latest latest": ("after before changes counts", {}),
    "stats": ("block_bytes blocks bytes files repository snapshots store", {}),
    "restore latest BACK": (RESTORED, {}),
    "verify --read --at-rest": (
        VERIFIED,
        {},
    ),
    "forget --keep-last 1": (
        "damaged dry_run gc removed repository sources",
        {"sources": "keep remove source source_id"},
    ),
    "gc": ("dry_run freed_blocks freed_bytes live_blocks live_bytes waiting_bytes", {}),
    "export latest CAR": ("blocks bytes file snapshot", {}),
    "key show": (
        "agents generation owner padding public_key repository sequence slots",
        {"agents": "key name until", "slots": "fingerprint kdf kind label"},
    ),
    "key add RECIPIENT": (KEYRING, {}),
    "key new-agent web1": (f"agent agent_key {KEYRING}", {}),
    "key remove web1": (KEYRING, {}),
    "key rotate": (f"agents {KEYRING} left", {}),
    "key passphrase --new-passphrase-file NEW": (KEYRING, {}),
    "completion bash": ("script shell", {}),
}


@pytest.fixture
def words_for(tree: Path, tmp_path: Path, identity: tuple[str, Path]) -> dict[str, str]:
    """What stands for the words in capitals."""
    (tmp_path / "new").write_text("new words\n")
    return {
        "TREE": str(tree),
        "BACK": str(tmp_path / "back"),
        "CAR": str(tmp_path / "x.car"),
        "COPY": str(tmp_path / "copy"),
        "RECIPIENT": identity[0],
        "NEW": str(tmp_path / "new"),
    }


def keys(document: Any) -> str:  # noqa: ANN401  # JSON
    """Its keys, sorted."""
    return " ".join(sorted(document))


def test_every_command_has_its_keys(repo: Cli, words_for: dict[str, str], tmp_path: Path) -> None:
    """The keys of each command's document, and of the lists in it, are those that are promised."""
    wanted = {}
    found = {}
    for line, (top, below) in KEYS.items():
        words = [words_for.get(word, word) for word in line.split()]
        if words == ["init"]:
            words += ["--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000"]
            call = repo.with_words("-r", tmp_path / "second", "--passphrase-file", tmp_path / "passphrase")
        else:
            call = repo
        document = call(*words, "--json").document
        wanted[line] = (
            " ".join(sorted(top.split())),
            {name: " ".join(sorted(inner.split())) for name, inner in below.items()},
        )
        found[line] = (keys(document), {name: keys(document[name][0]) for name in below})
    assert wanted == found
    imported = repo.with_words("-r", tmp_path / "third")("import", words_for["CAR"], "--create", "--json").document
    assert ("files new_bytes snapshots", "finished id repository root source_id") == (
        keys(imported),
        keys(imported["snapshots"][0]),
    )


def test_errors_are_json_too(repo: Cli, tmp_path: Path) -> None:
    """With --json an error is an object on stderr, whatever went wrong, and stdout stays empty."""
    ran = repo("ls", "no-such-snapshot", "--json", code=2)
    assert ("", 2, ["code", "message"]) == (ran.out, ran.error["code"], sorted(ran.error))
    assert 2 == repo("ls", "--json", code=2).error["code"]
    assert 2 == repo("lss", "--json", code=2).error["code"]
    (tmp_path / "wrong").write_text("wrong")
    wrong = repo.with_words("-r", tmp_path / "repo", "--passphrase-file", tmp_path / "wrong")
    assert 5 == wrong("ls", "latest", "--json", code=5).error["code"]


def test_long_lists_are_valid_json(repo: Cli, tree: Path) -> None:
    """Lists are written as they come, empty or not, and odd names come through whole."""
    (tree / "etc" / "b\udcff").touch()
    repo("backup", tree)
    assert [] == repo("find", "nothing", "--json").document["matches"]
    listed = repo("ls", "latest", "etc", "--json").document["entries"]
    assert [b"b\xff", b"empty", b"od\x1bd\n", b"passwd", b"ssh"] == [
        one["path"].removeprefix("etc/").encode("utf-8", "surrogateescape") for one in listed
    ]
