"""`geogen push` against a Hub on loopback, with the real client."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from conftest import digests
from hub_server import Fault, HubServer
from huggingface_hub import CommitOperationAdd, HfApi
from pushing import REPO, commits, exported, forget_session, push, there
from zips import edited, read_zip, zip_of

from geogen_hf.errors import GeoGenError, PartsError, ReleaseError, UsageError
from geogen_hf.export.card import card_template
from geogen_hf.export.verify import verify_export
from geogen_hf.hub.contents import check_card
from geogen_hf.hub.push import Pushed
from geogen_hf.hub.repo import HubError
from geogen_hf.source.fetch import read_lock
from geogen_hf.source.parts import ALL_PARTS

# The client's own way to upload a file, which its HTTP library wants otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

WRITING = ("preupload", "lfs-batch", "lfs-upload", "commit", "repo-create", "repo-settings")


@pytest.fixture(scope="module")
def folder(unmarked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(unmarked, tmp_path_factory.mktemp("push") / "geogen")


@pytest.fixture(scope="module")
def other_folder(unmarked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same identities in other files: another config, other images, fewer parts."""
    options = {"configs": ("views", "cameras"), "image_format": "jpeg"}
    return exported(unmarked, tmp_path_factory.mktemp("push") / "other", **options)


def add_files(hub: HubServer, files: dict[str, bytes], repo: str = REPO) -> None:
    """Commit as somebody who works on the repository by other means."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api = HfApi(hub.url, token=hub.tokens.owner)
    api.create_commit(repo, operations, commit_message="by hand", repo_type="dataset")


def writes(hub: HubServer) -> dict[str, int]:
    return {route: hub.counters.calls[route] for route in WRITING if hub.counters.calls[route]}


# --- What is published ---


def test_a_new_repository_is_closed_before_the_first_byte_and_gets_one_commit(
    server: HubServer, folder: Path
) -> None:
    seen: list[tuple[bool, Any]] = []

    def look() -> None:
        repo = server.repos[REPO]
        seen.append((repo.private, repo.gated))

    server.faults = [Fault("preupload", times=None, on_call=look)]
    pushed = push(server, folder, tag="v1.0.0")
    assert set(seen) == {(True, "auto")}
    assert there(server) == there(server, revision="v1.0.0") == digests(folder)
    assert commits(server) == 1
    assert pushed.access_before is None
    assert pushed.committed
    assert pushed.tagged
    assert pushed.url == f"{server.url}/datasets/{REPO}"
    assert (pushed.access.private, pushed.access.gated) == (True, "auto")
    assert server.counters.received["lfs-upload"] <= sum(
        path.stat().st_size for path in folder.rglob("*")
    )


def test_an_unchanged_folder_sends_nothing(server: HubServer, folder: Path) -> None:
    push(server, folder, tag="v1.0.0")
    server.counters.reset()
    again = push(server, folder, tag="v1.0.0")
    assert not again.committed
    assert not again.tagged
    assert server.counters.received.total() == 0
    assert commits(server) == 1


def test_public_comes_last(server: HubServer, folder: Path) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(server.repos[REPO].private)

    server.faults = [Fault("commit", on_call=look), Fault("tag-create", on_call=look)]
    push(server, folder, tag="v1", private=False, gated="manual")
    assert seen == [True, True]
    repo = server.repos[REPO]
    assert (repo.private, repo.gated) == (False, "manual")
    server.counters.reset()  # and nobody who does not name them changes them again
    assert str(push(server, folder, tag="v2").access) == "public, gated (manual)"
    assert "repo-settings" not in writes(server)


def test_a_gate_comes_first(server: HubServer, folder: Path, other_folder: Path) -> None:
    push(server, folder, private=False, gated="off", accept_license=True)
    repo = server.repos[REPO]
    assert (repo.private, repo.gated) == (False, False)
    with pytest.raises(UsageError, match="accept-license"):
        push(server, folder)  # it stays public and ungated: that has to be said again
    seen: list[Any] = []
    server.faults = [Fault("preupload", times=None, on_call=lambda: seen.append(repo.gated))]
    push(server, other_folder, gated="auto")
    assert set(seen) == {"auto"}
    assert not repo.private


def test_one_that_was_left_between_making_and_closing_is_closed(
    server: HubServer, folder: Path
) -> None:
    server.faults = [Fault("repo-settings", status=503)]
    with pytest.raises(HubError, match="run the same push again"):
        push(server, folder)
    assert there(server) == {}
    push(server, folder)
    assert server.repos[REPO].gated == "auto"
    assert there(server) == digests(folder)


def test_stale_files_go_in_the_same_commit_and_strangers_stay(
    server: HubServer, folder: Path, other_folder: Path
) -> None:
    push(server, folder)
    strangers = {"notes.txt": b"ours", "data/extra.csv": b"a,b\n", "figures/a.png": b"\x89PNG"}
    add_files(server, strangers)
    pushed = push(server, other_folder)
    assert commits(server) == 3
    assert there(server) == digests(other_folder) | {
        path: hashlib.sha256(content).hexdigest() for path, content in strangers.items()
    }
    gone = {file.rfilename for file in pushed.plan.delete}
    assert gone == digests(folder).keys() - digests(other_folder).keys()
    assert gone
    assert set(pushed.plan.strangers) == set(strangers)


def test_a_script_of_the_repositorys_name(server: HubServer, folder: Path) -> None:
    push(server, folder)
    add_files(server, {"geogen.py": b"raise SystemExit\n", "other.py": b""})
    warned = push(server, folder)
    assert warned.plan.script == "geogen.py"
    assert not warned.committed
    removed = push(server, folder, remove_script=True)
    assert removed.plan.script is None
    assert "geogen.py" not in there(server)
    assert "other.py" in there(server)


def test_a_dry_run_changes_nothing(server: HubServer, folder: Path, other_folder: Path) -> None:
    pushed = push(server, folder, dry_run=True, tag="v1", private=False)
    assert pushed.access_before is None
    assert pushed.dry_run
    assert {file.path for file in pushed.plan.add} == set(digests(folder))
    assert not server.repos
    push(server, folder)
    server.counters.reset()
    pushed = push(server, other_folder, dry_run=True, gated="manual")
    assert pushed.plan.delete
    assert not writes(server)
    assert server.repos[REPO].gated == "auto"
    pushed = push(server, folder, dry_run=True, private=False)
    accesses = str(pushed.access_before), str(pushed.access)
    assert accesses == ("private, gated (auto)", "public, gated (auto)")
    assert server.repos[REPO].private


def test_a_dry_run_without_a_token_or_a_network_plans_from_the_folder(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    pushed = push(server, folder, token=None, dry_run=True)
    assert {file.path for file in pushed.plan.add} == set(digests(folder))
    assert (pushed.not_compared, str(pushed.access)) == ("no token", "private, gated (auto)")
    with pytest.raises(HubError, match="hf auth login"):
        push(server, folder, token=None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    forget_session()
    pushed = push(server, folder, dry_run=True, gated="manual", private=False)
    assert pushed.not_compared == "logging in: HF_HUB_OFFLINE is set"
    assert "whom an owner approves" in pushed.access.readers
    with pytest.raises(UsageError, match="accept-license"):
        push(server, folder, dry_run=True, gated="off")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        push(server, folder)
    assert not server.counters.calls


# --- Sample heads ---


def test_sample_heads_carry_a_card_and_a_gate_of_their_own(
    server: HubServer, by_subject: Path, unmarked: Path, folder: Path, tmp_path: Path
) -> None:
    sample = exported(by_subject, tmp_path / "sample")
    card = (sample / "README.md").read_text()
    assert "license: mit" in card
    assert "not one image, camera or name" in card
    for word in ("publisher", "r-uda", "Research Use", "extra_gated", "<!--", "OWNER/NAME is"):
        assert word not in card
    assert "license_name: r-uda-1.0" in (folder / "README.md").read_text()
    pushed = push(server, sample, "lab/sample")
    assert pushed.sample
    assert str(pushed.access) == "private, not gated"
    assert push(server, by_subject, "lab/sample-parts", raw=True).sample
    raw = server.path(there(server, "lab/sample-parts")["README.md"]).read_text()
    assert "license: mit" in raw
    assert "Microsoft published" not in raw
    # The publisher's data needs its gate, also where sample heads were without one.
    with pytest.raises(UsageError, match="accept-license"):
        push(server, folder, "lab/sample")
    # One part that is not marked, and the licence binds the whole.
    mixed = Path(shutil.copytree(by_subject, tmp_path / "mixed"))
    shutil.copy(unmarked / "images_batch_1.zip", mixed)
    assert "r-uda-1.0" in (exported(mixed, tmp_path / "of-mixed") / "README.md").read_text()


def test_a_sample_card_may_not_claim_the_publishers_licence() -> None:
    with pytest.raises(ReleaseError, match="sample heads"):
        check_card(card_template(), "README.md", sample=True)
    with pytest.raises(ReleaseError, match="r-uda"):
        check_card(card_template(sample=True), "README.md")


def test_a_branch_and_a_pull_request(server: HubServer, folder: Path, other_folder: Path) -> None:
    push(server, folder)
    branches = server.repos[REPO].branches
    branches["next"] = branches["main"]
    push(server, other_folder, revision="next")
    assert there(server) == digests(folder)
    assert there(server, revision="next") == digests(other_folder)
    pushed = push(server, other_folder, create_pr=True)
    assert there(server) == digests(folder)
    assert there(server, revision="refs/pr/1") == digests(other_folder)
    assert pushed.url.endswith("/discussions/1")


def test_a_name_alone_is_the_users_own(server: HubServer, folder: Path) -> None:
    assert push(server, folder, "mine", dry_run=True).repo_id == "owner/mine"


def with_views_swapped(parts: Path, folder: Path, subject_id: str) -> Path:
    """The same parts, but views 1 and 2 of one subject in each other's place."""
    shutil.copytree(parts, folder)
    swaps = {
        f"{subject_id}/1.png": f"{subject_id}/2.png",
        f"{subject_id}/2.png": f"{subject_id}/1.png",
    }
    for path in folder.glob("images_*.zip"):
        members = read_zip(path)
        zip_of(path, {name: members[swaps.get(name, name)] for name in members}, ZIP_STORED)
    return folder


def test_after_a_change_to_one_subject_only_its_shard_is_sent(
    server: HubServer, unmarked: Path, folder: Path, tmp_path: Path
) -> None:
    push(server, folder)
    changed = tmp_path / "changed"
    table = pq.read_table(folder / "data/sequences/train-00001-of-00003.parquet")
    subject_id = str(table["subject_id"][1])  # of a shard in the middle
    after = exported(with_views_swapped(unmarked, changed, subject_id), tmp_path / "after")
    server.counters.reset()
    pushed = push(server, after)
    shards = [file for file in pushed.plan.add if file.path.startswith("data/")]
    assert [file.path for file in shards] == ["data/sequences/train-00001-of-00003.parquet"]
    assert server.counters.received["lfs-upload"] == shards[0].size
    assert there(server) == digests(after)


# --- Interruptions that are answers ---


def test_after_a_lost_answer_to_the_commit_the_rerun_only_tags(
    server: HubServer, folder: Path
) -> None:
    server.faults = [Fault("commit", lose_answer=True)]
    with pytest.raises(HubError, match="run the same push again"):
        push(server, folder, tag="v1.0.0")
    server.counters.reset()
    again = push(server, folder, tag="v1.0.0")
    assert commits(server) == 1
    assert again.tagged
    assert there(server, revision="v1.0.0") == digests(folder)
    assert not {"preupload", "lfs-upload", "commit"} & set(writes(server))


def test_after_a_failed_commit_no_blob_is_sent_again(server: HubServer, folder: Path) -> None:
    server.faults = [Fault("commit", status=503)]
    with pytest.raises(HubError, match="committing: the server fails") as failed:
        push(server, folder)
    assert "503" in str(failed.value)
    assert there(server) == {}
    server.counters.reset()
    push(server, folder)
    assert there(server) == digests(folder)
    assert server.counters.calls["lfs-upload"] == 0


def test_a_failing_upload_is_tried_again_by_the_client(server: HubServer, folder: Path) -> None:
    server.faults = [Fault("lfs-upload", call=2, status=500)]
    push(server, folder)
    assert there(server) == digests(folder)


def test_a_refused_upload_ends_the_push_and_keeps_what_has_arrived(
    server: HubServer, folder: Path
) -> None:
    server.faults = [Fault("lfs-upload", call=4, times=None, status=403)]
    with pytest.raises(HubError, match="uploading: no write access"):
        push(server, folder)
    assert server.counters.calls["lfs-upload"] >= 4
    server.faults = []
    server.counters.reset()
    push(server, folder)
    large = [p for p in digests(folder) if p.endswith((".parquet", ".png"))]
    assert server.counters.calls["lfs-upload"] == len(large) - 3


def test_what_is_committed_meanwhile_is_not_overwritten(
    server: HubServer, folder: Path, other_folder: Path
) -> None:
    push(server, folder)
    meanwhile = Fault("lfs-upload", on_call=lambda: add_files(server, {"notes.txt": b"new"}))
    server.faults = [meanwhile]
    with pytest.raises(HubError, match="the branch moved"):
        push(server, other_folder)
    expected = digests(folder) | {"notes.txt": hashlib.sha256(b"new").hexdigest()}
    assert there(server) == expected
    server.counters.reset()
    push(server, other_folder)
    assert server.counters.calls["lfs-upload"] == 0
    assert "notes.txt" in there(server)


def test_a_tag_of_something_else_is_refused_before_anything_is_sent(
    server: HubServer, folder: Path, other_folder: Path
) -> None:
    push(server, folder, tag="v1.0.0")
    server.counters.reset()
    with pytest.raises(HubError, match=r"the tag v1\.0\.0 is taken"):
        push(server, other_folder, tag="v1.0.0")
    assert not writes(server)
    push(server, other_folder, tag="v2.0.0")
    with pytest.raises(HubError, match=r"the tag v1\.0\.0 is taken"):
        push(server, other_folder, tag="v1.0.0")
    assert there(server, revision="v1.0.0") == digests(folder)
    assert there(server, revision="v2.0.0") == digests(other_folder)


# --- Refusals ---


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("expired", "invalid or expired"),
        ("unknown", "invalid or expired"),
        ("owner_read", "no write access"),
        ("stranger", "no write access"),
        ("colleague", "no write access"),
    ],
)
def test_tokens_that_will_not_do(
    token: str, complaint: str, server: HubServer, folder: Path
) -> None:
    with pytest.raises(HubError, match=complaint) as refused:
        push(server, folder, token=getattr(server.tokens, token))
    assert "remedy" in str(refused.value)
    assert not server.repos


def test_no_write_access_to_an_existing_one(server: HubServer, folder: Path) -> None:
    push(server, folder)
    for token in (server.tokens.colleague, server.tokens.stranger):
        with pytest.raises(HubError, match="no write access"):
            push(server, folder, token=token, gated="manual")


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (Fault("repo-create", status=409), "the name is taken"),
        (Fault("whoami", status=429), "too many requests"),
        (Fault("repo-info", status=502), "the server fails"),
        (Fault("repo-info", status=400), "looking at the repository: refused"),
        (Fault("commit", status=413), "storage of this account is used up"),
        (
            Fault("lfs-batch", status=403, message="Private repository storage limit reached"),
            "storage of this account is used up",
        ),
    ],
    ids=lambda value: value.route if isinstance(value, Fault) else "",
)
def test_what_the_hub_may_answer(
    fault: Fault, complaint: str, server: HubServer, folder: Path
) -> None:
    server.faults = [fault]
    with pytest.raises(HubError, match=complaint):
        push(server, folder)
    assert REPO not in server.repos or there(server) == {}


def test_nobody_there_and_no_such_branch(server: HubServer, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(HubError, match=r"(?s)failed.*remedy"):
            push(server, folder)
        alone = push(server, folder, dry_run=True)
        assert str(alone.not_compared).startswith("logging in failed")
    with pytest.raises(HubError, match="no branch but main"):
        push(server, folder, revision="next")
    assert not server.repos
    push(server, folder)
    with pytest.raises(HubError, match="no such revision"):
        push(server, folder, revision="next")
    with pytest.raises(HubError, match="not the name of a repository"):
        push(server, folder, "lab/geogen/1")


def test_a_damaged_folder_is_refused_before_the_hub_is_asked(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    shard = next((damaged / "data" / "sequences").iterdir())
    with edited(shard) as content:
        content[len(content) // 2] ^= 1
    with pytest.raises(ReleaseError, match=shard.name):
        push(server, damaged)
    (damaged / "SHA256SUMS").unlink()
    with pytest.raises(PartsError):
        push(server, damaged)
    assert not server.counters.calls


def test_a_card_without_its_gate_is_refused(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(folder, tmp_path / "changed")
    card = (changed / "README.md").read_text().replace("extra_gated_prompt", "extra_prompt")
    (changed / "README.md").write_text(card)
    sums = (changed / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(card.encode()).hexdigest()
    lines = [f"{digest}  README.md" if s.endswith("README.md") else s for s in sums]
    (changed / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    assert not verify_export(changed, quick=True, workers=1).failures
    with pytest.raises(ReleaseError, match="extra_gated_prompt"):
        push(server, changed)
    assert not server.counters.calls


def test_a_file_that_changes_while_it_is_pushed(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = copy / "splits.csv"
    server.faults = [Fault("repo-create", on_call=lambda: manifest.write_text("changed"))]
    with pytest.raises(GeoGenError, match="changed while it was pushed"):
        push(server, copy)
    assert there(server) == {}


# --- The original parts ---


def mirror(hub: HubServer, parts: Path, repo: str = "lab/parts", **options: Any) -> Pushed:
    return push(hub, parts, repo, raw=True, **options)


def test_the_mirror_has_the_zips_a_lock_file_and_a_card(
    server: HubServer, unmarked: Path, tmp_path: Path
) -> None:
    before = digests(unmarked)
    mirror(server, unmarked)
    assert digests(unmarked) == before
    found = there(server, "lab/parts")
    zips = {part.name: before[part.name] for part in ALL_PARTS}
    assert found.keys() == zips.keys() | {"README.md", "parts.lock.json"}
    assert {name: found[name] for name in zips} == zips
    copy = tmp_path / "parts.lock.json"
    shutil.copy(server.path(found["parts.lock.json"]), copy)
    lock = read_lock(copy)
    assert {name: entry.sha256 for name, entry in lock.items()} == zips
    assert all(entry.url == f"hf://datasets/lab/parts/{name}" for name, entry in lock.items())
    assert server.repos["lab/parts"].gated == "auto"
    card = server.path(found["README.md"]).read_text()
    assert 'base_url="hf://datasets/lab/parts"' in card
    assert not mirror(server, unmarked).committed


def test_the_mirror_holds_the_zips_to_their_lock_file(
    server: HubServer, unmarked: Path, tmp_path: Path
) -> None:
    parts = shutil.copytree(unmarked, tmp_path / "copy")
    mirror(server, parts)
    lock = server.path(there(server, "lab/parts")["parts.lock.json"]).read_text()
    (parts / "parts.lock.json").write_text(lock.replace("hf://datasets/lab/parts", "https://host"))
    assert [file.path for file in mirror(server, parts).plan.add] == ["parts.lock.json"]
    value = json.loads(lock)
    value["parts"]["images_batch_2.zip"]["sha256"] = "00" * 32
    (parts / "parts.lock.json").write_text(json.dumps(value))
    with pytest.raises(ReleaseError, match=r"images_batch_2\.zip"):
        mirror(server, parts)
    (parts / "images_batch_3.zip").write_bytes(b"<html>")
    with pytest.raises(GeoGenError, match=r"images_batch_3\.zip"):
        mirror(server, parts)
    (parts / "images_batch_3.zip").unlink()
    with pytest.raises(PartsError, match=r"images_batch_3\.zip"):
        mirror(server, parts)


def test_exports_and_originals_do_not_mix(server: HubServer, folder: Path, unmarked: Path) -> None:
    push(server, folder)
    with pytest.raises(HubError, match="something else than the original archives"):
        mirror(server, unmarked, REPO)
    mirror(server, unmarked)
    with pytest.raises(HubError, match="something else than an export"):
        push(server, folder, "lab/parts")
