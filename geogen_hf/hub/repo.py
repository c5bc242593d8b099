"""The repository on the Hub, through huggingface_hub: every call that leaves this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
)
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from geogen_hf._version import __version__
from geogen_hf.errors import explain
from geogen_hf.hub.cards import Access, Gate
from geogen_hf.hub.faults import HubError, hub_errors_explained, status_of
from geogen_hf.hub.plan import LocalFile, RemoteFile


@contextmanager
def quiet() -> Iterator[None]:
    """Keep huggingface_hub's own bars away: the caller is told how far it is."""
    if are_progress_bars_disabled() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


KIND = "dataset"


@dataclass(frozen=True)
class RepoState:
    """A repository as it is.

    Attributes:
        head: Commit that the branch points to.
        access: Who may see it.
        files: Its tree, by path.
    """

    head: str
    access: Access
    files: dict[str, RemoteFile]

    @property
    def empty(self) -> bool:
        """Whether it holds nothing but what the Hub puts into a new one."""
        return all(path == ".gitattributes" for path in self.files)


@dataclass
class HubRepo:
    """A dataset repository, and one user's access to it.

    Attributes:
        repo_id: Owner and name.
    """

    repo_id: str
    _api: HfApi
    _uploads: dict[str, CommitOperationAdd] = field(default_factory=dict)

    @classmethod
    def of_user(cls, repo_id: str, token: str | None, endpoint: str | None) -> HubRepo:
        """Log in.

        Args:
            repo_id: Owner and name, or the name alone for one of the user's own.
            token: None for the one that is stored or in `HF_TOKEN`.
            endpoint: None for the Hub that `HF_ENDPOINT` names.

        Raises:
            HubError: The token is missing, not accepted, or may only read.
        """
        api = HfApi(endpoint, token=token, library_name="geogen-hf", library_version=__version__)
        with hub_errors_explained("logging in", repo_id):
            user: dict[str, Any] = api.whoami()
        role = user.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise HubError(
                explain(
                    "the token may only read",
                    where=repo_id,
                    expected="a token with write access",
                    found=f"a token of {user['name']} with the role read",
                    remedy="make a token that may write, and pass that",
                )
            )
        return cls(repo_id if "/" in repo_id else f"{user['name']}/{repo_id}", api)

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"{self._api.endpoint}/datasets/{self.repo_id}"

    def look(self, revision: str) -> RepoState | None:
        """Look at a branch; None where there is no such repository.

        Raises:
            HubError: The branch does not exist, or the Hub does not answer.
        """
        with hub_errors_explained("looking at the repository", f"{self.repo_id}, {revision}"):
            try:
                info = self._api.dataset_info(self.repo_id, revision=revision)
            except GatedRepoError:  # a subclass of the next one, but there
                raise
            except RepositoryNotFoundError:
                return None
            head = str(info.sha)
            # By commit: the tree of this very moment, whoever pushes meanwhile.
            tree = self._api.list_repo_tree(
                self.repo_id, recursive=True, revision=head, repo_type=KIND
            )
            files = {
                entry.path: _remote_file(entry) for entry in tree if isinstance(entry, RepoFile)
            }
        gate: Gate = {"auto": "auto", "manual": "manual"}.get(str(info.gated), "off")  # type: ignore[assignment]
        return RepoState(head, Access(bool(info.private), gate), files)

    def create(self) -> None:
        """Create it, private.

        Raises:
            HubError: The name is taken, or not this user's to give.
        """
        try:
            with hub_errors_explained("creating the repository", self.repo_id):
                self._api.create_repo(self.repo_id, private=True, repo_type=KIND)
        except HubError as error:
            if status_of(error) != 409:
                raise
            what = "the name is taken: by a repository that this token does not see, or just now"
            remedy = "push again; if it stays so, choose another name or a token that may write it"
            raise HubError(explain(what, where=self.repo_id, remedy=remedy)) from error

    def set_access(self, found: Access, wanted: Access) -> None:
        """Change who may see it, where that differs."""
        changes: dict[str, Any] = {}
        if found.gated != wanted.gated:
            changes["gated"] = False if wanted.gated == "off" else wanted.gated
        if found.private != wanted.private:
            changes["private"] = wanted.private
        if changes:
            with hub_errors_explained(f"making it {wanted}", self.repo_id):
                self._api.update_repo_settings(self.repo_id, repo_type=KIND, **changes)

    def read(self, path: str, revision: str) -> bytes:
        """Read a small file."""
        with (
            hub_errors_explained("reading", f"{self.repo_id}: {path}"),
            quiet(),
            tempfile.TemporaryDirectory(prefix="geogen-push-") as cache,
        ):
            found = self._api.hf_hub_download(
                self.repo_id, path, repo_type=KIND, revision=revision, cache_dir=cache
            )
            return Path(found).read_bytes()

    def tagged_commit(self, tag: str) -> str | None:
        """Give the commit that a tag names; None where there is no such tag."""
        with hub_errors_explained("looking at tags", f"{self.repo_id}, {tag}"):
            refs = self._api.list_repo_refs(self.repo_id, repo_type=KIND)
            if all(ref.name != tag for ref in refs.tags):
                return None
            # Asked for, since a ref may name a tag object instead of a commit.
            return str(self._api.dataset_info(self.repo_id, revision=tag).sha)

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit."""
        with hub_errors_explained(f"tagging {tag}", self.repo_id):
            self._api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type=KIND)

    def upload(self, files: Sequence[LocalFile], revision: str, create_pr: bool) -> None:
        """Upload the content of files at a time, for a commit to come; what is there is not sent.

        Raises:
            HubError: It cannot be uploaded, or a file changed on disk since it was checked.
        """
        additions = {file: CommitOperationAdd(file.path, file.source) for file in files}
        with hub_errors_explained("uploading", f"{self.repo_id}: {_named(files)}"), quiet():
            self._api.preupload_lfs_files(
                self.repo_id,
                additions.values(),
                repo_type=KIND,
                revision=revision,
                create_pr=create_pr,
                num_threads=len(additions),
                gitignore_content="",  # the folder is published whole, whatever the repo ignores
            )
        for file, addition in additions.items():
            if addition.upload_info.sha256.hex() != file.sha256:
                what = "the file changed while it was pushed; nothing was published"
                remedy = "push again when the folder is at rest"
                raise HubError(explain(what, where=file.source, remedy=remedy))
            self._uploads[file.path] = addition

    def commit(
        self,
        delete: Collection[RemoteFile],
        *,
        message: str,
        revision: str,
        parent: str,
        create_pr: bool,
    ) -> tuple[str, str]:
        """Publish everything that was uploaded, in one commit on top of `parent`.

        Returns:
            The commit, and where to look at it.

        Raises:
            HubError: The branch is not at `parent` any more, or the Hub refuses.
        """
        deletions = [CommitOperationDelete(file.path, is_folder=False) for file in delete]
        with hub_errors_explained("committing", f"{self.repo_id}, {revision}"), quiet():
            done = self._api.create_commit(
                self.repo_id,
                [*self._uploads.values(), *deletions],
                commit_message=message,
                repo_type=KIND,
                revision=revision,
                parent_commit=parent,
                create_pr=create_pr,
            )
        self._uploads.clear()
        return str(done.oid), str(done.pr_url if create_pr else done.commit_url)


def _named(files: Sequence[LocalFile]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0].path}{more}"


def _remote_file(entry: RepoFile) -> RemoteFile:
    sha256 = None if entry.lfs is None else entry.lfs.sha256
    return RemoteFile(entry.path, entry.size, entry.blob_id, sha256)
