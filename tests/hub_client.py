"""What tests ask of the real `huggingface_hub`, in a process that is not offline as the tests' own.

with Worker(env) as worker:
    worker.ask(url, token, "listing", revision="main")
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REPO = {"repo_id": "lab/x", "repo_type": "dataset"}


class ClientError(Exception):
    """What the client raised."""


class Worker:
    """A process that asks for the tests, so that they need not import the client each time."""

    def __init__(self, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "hub_client"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def ask(self, url: str, token: str | None, function: str, **arguments: Any) -> Any:
        """Run one of the functions below, and return what it returns.

        Raises:
            ClientError: It raised.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([url, token, function, arguments]) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        if "error" in said:
            raise ClientError(said["error"])
        return said["result"]

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=20)


def make_repo(
    api: HfApi, *, private: bool = False, gated: str | bool = False, name: str = "lab/x"
) -> str:
    url = api.create_repo(name, repo_type="dataset", private=private)
    again = api.create_repo(name, repo_type="dataset", exist_ok=True)
    assert url == again
    if gated:
        api.update_repo_settings(name, repo_type="dataset", gated=gated)
    return str(url)


def push(api: HfApi, folder: str, revision: str | None = None, tag: str | None = None) -> str:
    made = api.upload_folder(folder_path=folder, revision=revision, delete_patterns="**", **REPO)
    if tag:
        api.create_tag(tag=tag, revision=made.oid, **REPO)
    return made.oid


def pull(api: HfApi, cache: str, revision: str | None = None) -> dict[str, str]:
    """Download a revision and return the sha256 of each file."""
    root = Path(api.snapshot_download(revision=revision, cache_dir=cache, **REPO))
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def download(api: HfApi, filename: str, cache: str, revision: str | None = None) -> str:
    return api.hf_hub_download(filename=filename, revision=revision, cache_dir=cache, **REPO)


def describe(api: HfApi, revision: str | None = None) -> dict[str, Any]:
    info = api.dataset_info("lab/x", revision=revision, files_metadata=True)
    card = None if info.card_data is None else info.card_data.to_dict()
    files = {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in info.siblings}
    short = api.dataset_info("lab/x", expand=["gated", "sha"])
    assert (short.gated, short.private) == (info.gated, None)
    return {
        "sha": info.sha,
        "private": info.private,
        "gated": info.gated,
        "card": card,
        "files": files,
    }


def listing(api: HfApi, revision: str | None = None, *, expand: bool = False) -> list[list[Any]]:
    found = api.list_repo_tree(revision=revision, recursive=True, expand=expand, **REPO)
    facts = [(entry, entry.last_commit and entry.last_commit.title) for entry in found]
    return [[type(e).__name__, e.path, getattr(e, "size", None), title] for e, title in facts]


def look_around(api: HfApi) -> dict[str, Any]:
    """Ask what is left to ask of a repo with a folder `data`, a tag and a branch."""
    refs = api.list_repo_refs(include_pull_requests=True, **REPO)
    paths = api.get_paths_info(paths=["data", "README.md", "nothing"], expand=True, **REPO)
    return {
        "who": [api.whoami()["name"], [org["name"] for org in api.whoami()["orgs"]]],
        "refs": {
            kind: {ref.name: ref.target_commit for ref in getattr(refs, kind)}
            for kind in ("branches", "tags", "pull_requests")
        },
        "paths": [[p.path, p.last_commit.title] for p in paths],
        "exists": [api.repo_exists(**REPO), api.file_exists(filename="nothing", **REPO)],
        "revisions": [api.revision_exists(revision=r, **REPO) for r in ("v1.0.0", "v9")],
    }


def name_revisions(api: HfApi) -> None:
    """Make branches and tags; each a second time, too."""
    from huggingface_hub.errors import HfHubHTTPError

    api.create_branch(branch="dev", **REPO)
    api.create_branch(branch="dev", exist_ok=True, **REPO)
    api.create_tag(tag="t/1", revision="dev", **REPO)
    for repeat in (partial(api.create_branch, branch="dev"), partial(api.create_tag, tag="t/1")):
        try:
            repeat(**REPO)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
        else:
            raise AssertionError("made twice")


def change(
    api: HfApi, add: dict[str, str] | None = None, delete: tuple[str, ...] = (), **options: Any
) -> list[str | None]:
    """Commit texts, or take files away; return the commit and the pull request."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [CommitOperationAdd(path, text.encode()) for path, text in (add or {}).items()]
    operations += [CommitOperationDelete(path) for path in delete]
    made = api.create_commit(operations=operations, commit_message="change", **REPO, **options)
    return [made.oid, made.pr_revision]


def preupload(api: HfApi, path: str) -> None:
    """Upload a file to large storage and commit nothing."""
    from huggingface_hub import CommitOperationAdd

    api.preupload_lfs_files(additions=[CommitOperationAdd(Path(path).name, path)], **REPO)


def read_range(api: HfApi, path: str, start: int, stop: int) -> list[Any]:
    """Read a range through the file system, and list its folder."""
    from huggingface_hub import HfFileSystem

    fs = HfFileSystem(endpoint=api.endpoint, token=api.token)
    with fs.open(path, cache_type="none") as file:
        file.seek(start)
        found = file.read(stop - start)
    names = fs.ls(path.rpartition("/")[0], detail=False)
    return [found.hex(), fs.info(path)["size"], sorted(names)]


def main() -> None:
    """Answer until there are no more questions."""
    from huggingface_hub import HfApi

    for line in sys.stdin:
        url, token, name, arguments = json.loads(line)
        function: Callable[..., Any] = globals()[name]
        try:
            said = {"result": function(HfApi(url, token=token or False), **arguments)}
        except Exception as error:  # noqa: BLE001 (whatever it is, the test wants to see it)
            said = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
