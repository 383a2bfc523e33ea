"""docs/format.md says what the code does: its vectors, constants, contexts and schemas are held against the code."""

import base64
import hashlib
import importlib
import json
import re
from pathlib import Path

import pytest
from blake3 import blake3

from pinfold.ipld import CID, dagcbor
from pinfold.ipld.cid import RAW
from pinfold.seal import slots
from pinfold.seal.box import open_block, padme
from pinfold.seal.chunker import Gear
from pinfold.seal.keyring import Agent, Keyring, Repository, first_keyring
from pinfold.seal.keys import Generation, OwnerKey, derive, repository_id, verify_signature
from pinfold.seal.refs import Ref, Tree
from pinfold.seal.secret import Secret
from pinfold.snapshot import KINDS, README, Header, Manifest
from pinfold.sources.directory import index
from pinfold.sources.directory.entry import Chunks, Entry, Page, Part, Slice

ROOT = Path(__file__).resolve().parent.parent
DOC = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
S = Secret(bytes(range(32)))
SEED = Secret(bytes(range(32, 64)))
IDENTITY = Secret(b"AGE-SECRET-KEY-1UUL24QQSS3EKPDL38TQ3ZRSERTPWQW2NWEDJAVH5MXX8DRN3PNTS723HAX")
PASSPHRASE = Secret(b"correct horse")
CHEAP = slots.Stretch(iterations=1, memory=64, lanes=1)
PLAIN = b"pinfold"
USES_OF_S = ("chunk-key", "nonce", "gear", "bundle", "page", "source-id", "secret-id")
USES_OF_SEED = ("signing", "hide")
USE_OF_OWNER = "repository"
WHEN = "2026-11-21T00:00:00.000000Z"


def owner_key() -> OwnerKey:
    """The owner of the vectors."""
    public = OwnerKey("", [Generation(IDENTITY, S)], SEED).signer.public
    return OwnerKey(repository_id(public), [Generation(IDENTITY, S)], SEED)


def keyring_of(owner: OwnerKey) -> Keyring:
    """The keyring of the vectors."""
    slot = slots.passphrase_slot(PASSPHRASE, "p", owner.secrets(), owner.repository, bytes, CHEAP)
    return first_keyring(owner, [slot], [Agent("owner", owner.agent("owner").signer.public)], padding=True)


def header_of(owner: OwnerKey) -> Header:
    """The header of the vectors."""
    agent = owner.agent("owner")
    where = str(CID.of(RAW, b""))
    return Header(
        repository=owner.repository,
        source=agent.source_id("home"),
        agent=agent.signer.public.hex(),
        kind="full",
        base=None,
        previous=None,
        sequence=0,
        started=WHEN,
        finished=WHEN,
        generation=0,
        manifest=where,
        blocks_root=where,
        blocks_count=1,
        blocks_bytes=40,
        new_blocks=1,
        new_bytes=40,
        interval=None,
    )


def page_of(ref: Ref) -> Page:
    """A page with a root, a file in a bundle, a sparse file and a link."""
    root = Entry(b".", 0o40755, 0, 0, 0, 1, 2, 3)
    small = Entry(b"a", 0o100644, 0, 0, 7, 1, 2, 4, content=Slice(ref, 0))
    sparse = Entry(b"b", 0o100600, 0, 0, 4096, 1, 2, 5, content=Chunks((ref,)), extents=((100, 7),))
    link = Entry(b"\xff", 0o120777, 0, 0, 0, 1, 2, 6, target=b"a")
    return Page([Part(None, [root]), Part(b"", [small, sparse, link])], {0: "root"}, {0: "root"})


def computed() -> dict[str, object]:
    """Every vector, from the code; the keys are those of the document."""
    owner = owner_key()
    agent = owner.agent("owner")
    keyring = keyring_of(owner)
    header = header_of(owner)
    sealer = agent.sealer()
    tag, key = sealer.name(PLAIN)
    ref, block = sealer.seal(PLAIN, key, check=True)
    return {
        "sub-keys of S": {use: derive(S, use).reveal().hex() for use in USES_OF_S},
        "sub-keys of the seed": {use: derive(SEED, use).reveal().hex() for use in USES_OF_SEED},
        "owner": owner.signer.public.hex(),
        "repository": owner.repository,
        "public_key": owner.public_key,
        "secret id": agent.secret_id(),
        "source id of home": agent.source_id("home"),
        "fingerprint": slots.fingerprint_of(owner.public_key, owner.repository),
        "permutation": Gear(derive(S, "gear"))._table[:16].hex(),
        "plaintext": PLAIN.hex(),
        "tag": tag.hex(),
        "key": key.hex(),
        "block": block.hex(),
        "digest": ref.digest.hex(),
        "cid": str(ref.cid),
        "ref": ref.packed.hex(),
        "padme": {str(size): padme(size) for size in (1, 9, 100, 1000, 65537, 1000001)},
        "secrets": owner.secrets().reveal().hex(),
        "slot key": CHEAP.key(PASSPHRASE, bytes(16)).hex(),
        "repository.json": keyring.repository.encode().decode(),
        "keyring.json": keyring.encode().decode(),
        "snapshot.json": header.encode().decode(),
        "snapshot.sig": agent.signer.sign(b"pinfold/1 snapshot\n" + header.encode()).hex(),
        "snapshot id": str(CID.of(RAW, header.encode())),
        "pin name": header.pin_name,
        "index page": index.encode(page_of(ref)).hex(),
    }


def fenced(kind: str) -> str:
    """The one code block of this kind in the document."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    return str(found)


def schema(name: str) -> set[str]:
    """The keys that the document gives a map, those of maps inside it left out."""
    texts = re.findall(r"^```cddl\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    (body,) = (
        found for text in texts for found in re.findall(rf"^{name} = \{{(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    )
    plain = re.sub(r";.*|\{[^{}]*\}", "", body)
    return set(re.findall(r"(\w+):", plain))


def constants() -> list[tuple[str, int]]:
    """The table of bounds: where each stands in the code, and its value."""
    return [
        (where, int(value)) for where, value in re.findall(r"^\| `(pinfold\.[\w.]+)` \| (\d+) \|", DOC, re.MULTILINE)
    ]


def test_vectors() -> None:
    """The vectors are what the code computes."""
    written = json.loads(fenced("json vectors"))
    for name, value in computed().items():
        assert written.pop(name) == value, name
    assert {} == written


def test_vector_of_slot() -> None:
    """The slot of the vectors opens with the passphrase, to the secrets of the vectors."""
    written = json.loads(fenced("json vectors"))
    keyring = Keyring.decode(written["repository.json"].encode(), written["keyring.json"].encode())
    opened = slots.unlock(slots.Passphrase(PASSPHRASE), keyring.slots, written["repository"])
    assert written["secrets"] == opened.reveal().hex()
    assert written["public_key"] == keyring.open(slots.Passphrase(PASSPHRASE)).public_key


def test_vector_of_compressed_block() -> None:
    """The compressed block opens to what the document says."""
    written = json.loads(fenced("json opened"))
    ref, block = Ref(bytes.fromhex(written["ref"])), bytes.fromhex(written["block"])
    assert hashlib.sha256(block).digest() == ref.digest
    assert b"ab" * 500 == open_block(ref, block, 0)


def test_vector_of_page() -> None:
    """The page of the vectors reads as the page it was made of."""
    written = json.loads(fenced("json vectors"))
    assert page_of(Ref(bytes.fromhex(written["ref"]))) == index.decode(bytes.fromhex(written["index page"]))


def test_sealing_by_the_document() -> None:
    """Section 5 followed by hand gives the key and the nonce of the vectors."""
    written = json.loads(fenced("json vectors"))
    keys = {use: bytes.fromhex(key) for use, key in written["sub-keys of S"].items()}
    both = blake3(PLAIN, key=keys["chunk-key"]).digest(length=64)
    assert (written["tag"], written["key"]) == (both[:32].hex(), both[32:].hex())
    payload = b"\0" + len(PLAIN).to_bytes(4, "little") + PLAIN
    nonce = blake3(payload, key=keys["nonce"]).digest()[:12]
    assert written["block"].startswith(nonce.hex())
    assert len(payload) == padme(len(payload))


def test_signed_messages() -> None:
    """The messages as the document tells them are what is signed."""
    written = json.loads(fenced("json vectors"))
    ring = json.loads(written["keyring.json"])
    signature = bytes.fromhex(ring.pop("signature"))
    body = json.dumps(ring, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    message = "\n".join(("pinfold/1 keyring", written["repository.json"], body)).encode()
    verify_signature(bytes.fromhex(written["owner"]), signature, message, "keyring")
    header = json.loads(written["snapshot.json"])
    message = "\n".join(("pinfold/1 snapshot", written["snapshot.json"])).encode()
    verify_signature(bytes.fromhex(header["agent"]), bytes.fromhex(written["snapshot.sig"]), message, "snapshot")
    assert {True} == {
        text in DOC for text in ("`pinfold/1 keyring` ‖ LF", '"pinfold/1 snapshot" ‖ LF', "`pinfold/1 slot `")
    }


@pytest.mark.parametrize(("where", "value"), constants())
def test_constants(where: str, value: int) -> None:
    """A bound of the document is the code's."""
    module, _, name = where.rpartition(".")
    assert value == getattr(importlib.import_module(module), name)


def test_every_context() -> None:
    """The table of contexts is complete: every key the code derives is in it, and no other."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "pinfold").rglob("*.py"))
    used = set(re.findall(r'derive\([^()]*, "([^"]+)"\)', code)) | set(
        re.findall(r'context="pinfold 1 ([\w-]+)"', code)
    )
    assert {*USES_OF_S, *USES_OF_SEED, USE_OF_OWNER, "recipient"} == used
    assert used == set(re.findall(r"^\| `pinfold 1 ([\w-]+)` \|", DOC, re.MULTILINE))


def test_schemas() -> None:
    """The schemas have the keys that the code writes."""
    owner = owner_key()
    keyring = json.loads(keyring_of(owner).encode())
    age = slots.age_slot(owner.public_key, "", owner.secrets(), owner.repository, lambda data: owner.hide(data, bytes))
    ref = Ref.of(bytes(32), bytes(32), 1, 41)
    page = dagcbor.decode(index.encode(page_of(ref)), "page")
    assert isinstance(page, dict)
    manifest = Manifest("", "", "", {}, {}, [], Tree(ref, 0), {}, [], [], "", [])
    secrets = dagcbor.decode(owner.secrets().reveal(), "secrets")
    assert isinstance(secrets, dict)
    expected = {
        "repository": json.loads(Repository("", b"").encode()),
        "keyring": keyring,
        "agent": keyring["agents"][0],
        "age-slot": age.document(),
        "passphrase-slot": keyring["slots"][0],
        "agent-key": json.loads(owner.agent("x").encode()),
        "header": json.loads(header_of(owner).encode()),
        "manifest": dagcbor.decode(manifest.encode(), "manifest"),
        "secrets": secrets,
        "generation": secrets["generations"][0],
        "page": page,
        "part": index._PART_KEYS,
    }
    assert {name: set(keys) for name, keys in expected.items()} == {name: schema(name) for name in expected}


def test_kinds_and_files() -> None:
    """Kinds of snapshot and the names in its folder are those of the code."""
    assert " / ".join(f'"{kind}"' for kind in KINDS) in DOC
    named = set(re.findall(r"^  ([\w.]+/?) {2,}\S", DOC.split("\nROOT/", 1)[1].split("```", 1)[0], re.MULTILINE))
    assert {
        "README.txt",
        "repository.json",
        "keyring.json",
        "snapshot.json",
        "snapshot.sig",
        "manifest.age",
        "blocks/",
    } == named
    assert {True} == {name.encode().rstrip(b"/") in README for name in named - {"README.txt"}}


def test_base64_of_slots() -> None:
    """What is sealed in a slot is nonce, ciphertext and tag."""
    slot = keyring_of(owner_key()).slots[0].document()
    assert len(owner_key().secrets()) + 12 + 16 == len(base64.b64decode(str(slot["sealed"])))


def test_chapters_that_code_cites() -> None:
    """Where the code names a chapter of a document, there is such a chapter."""
    cited = set()
    for path in [*(ROOT / "src").rglob("*.py"), ROOT / "pyproject.toml"]:
        cited |= set(re.findall(r'(docs/\w+\.md), "([^"]+)"', path.read_text(encoding="utf-8")))
    assert cited
    for name, chapter in sorted(cited):
        assert chapter in re.findall(
            r"^## (?:\d+\. )?([^:\n]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE
        )


def test_links_between_documents() -> None:
    """Links of the documents to files lead somewhere."""
    for path in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([\w./-]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
