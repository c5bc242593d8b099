"""Every call to the Hub, through the public API of huggingface_hub, and its errors in words.

Open this to change what is asked of the Hub, or the message for one of its answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from geogen_hf._version import __version__
from geogen_hf.errors import GeoGenError, explain, one_line
from geogen_hf.hub.access import Access, Gate
from geogen_hf.hub.commit_plan import LocalFile, RemoteFile

_TRANSPORT: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError)
"""Errors of the HTTP library that huggingface_hub uses (requests before its 1.0, then httpx)."""
_RESUMES = "run the same push again: files that arrived whole are not sent again"
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or pass --token"
_STATUS = {
    401: ("the token is invalid or expired", _LOG_IN),
    403: ("no write access", "use a token with write access to this name, or another name"),
    404: (
        "no such repository, or the token has no access to it",
        "check the name; a fine-grained token must name the repository",
    ),
    409: ("conflict with what the repository holds", "look at the repository, then push again"),
    412: ("the branch moved during this push", f"check what else was pushed; then {_RESUMES}"),
    429: ("too many requests", f"wait some minutes, then {_RESUMES}"),
}
_STORAGE_WORDS = ("storage limit", "quota", "upgrade your plan", "exceed")


class HubError(GeoGenError, OSError):
    """The Hub refuses a request, or the repository is not as expected."""

    __str__ = Exception.__str__


class HubUnavailableError(HubError):
    """The Hub was not asked or did not answer: no token, no network, or HF_HUB_OFFLINE is set."""


@contextmanager
def hub_errors(doing: str, where: object) -> Iterator[None]:
    """Turn the errors of huggingface_hub and of the connection into `HubError`.

    Example:
        >>> with hub_errors("looking at it", "lab/geogen"):
        ...     raise LocalTokenNotFoundError("Token is required")
        Traceback (most recent call last):
        geogen_hf.hub.repo.HubUnavailableError: no token
          where: lab/geogen
          expected: a token with write access
          remedy: log in with `hf auth login`, set HF_TOKEN, or pass --token
    """
    try:
        yield
    except GeoGenError:
        raise
    except LocalTokenNotFoundError as error:
        expected = "a token with write access"
        message = explain("no token", where=where, expected=expected, remedy=_LOG_IN)
        raise HubUnavailableError(message) from error
    except OfflineModeIsEnabled as error:
        what = f"{doing}: HF_HUB_OFFLINE is set"
        message = explain(what, where=where, remedy="unset HF_HUB_OFFLINE")
        raise HubUnavailableError(message) from error
    except HFValidationError as error:
        what, expected = "not the name of a repository", "a name such as lab/geogen"
        message = explain(what, where=where, expected=expected, found=one_line(error))
        raise HubError(message) from error
    except _TRANSPORT as error:
        raise _explained(doing, where, error) from error
    except (RuntimeError, ValueError) as error:  # the client wraps what an upload met
        raise _explained(doing, where, error.__cause__ or error) from error


def _explained(doing: str, where: object, error: BaseException) -> HubError:
    """Say what the Hub answered, or that it did not."""
    response = getattr(error, "response", None)
    status = 0 if response is None else int(response.status_code)
    said = " ".join(str(getattr(error, "server_message", None) or error).split())
    found = f"{status}: {said}" if status else f"{type(error).__name__}: {said}"
    about_storage = any(word in said.lower() for word in _STORAGE_WORDS)
    if status in (402, 413, 507) or (about_storage and status in (0, 403)):
        what, remedy = "the storage of this account is used up", f"free some, then {_RESUMES}"
    elif isinstance(error, RevisionNotFoundError):
        what, remedy = "no such revision", "create the branch first"
    elif status:
        what, remedy = _STATUS.get(
            status, ("the server fails" if status >= 500 else "refused", _RESUMES)
        )
    elif isinstance(error, OSError) and error.filename is not None:
        what, where, remedy = "cannot read a file", error.filename, _RESUMES
    else:
        what = explain(f"{doing} failed", where=where, found=found, remedy=_RESUMES)
        return HubUnavailableError(what)
    return HubError(explain(f"{doing}: {what}", where=where, found=found, remedy=remedy))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide the bars of huggingface_hub: this package reports progress itself."""
    set_by_user = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    if set_by_user or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@dataclass(frozen=True)
class RepoState:
    """A branch of a repository at one moment.

    Attributes:
        head: The commit that the branch points to.
        access: Who can read it.
        files: Its tree, by path.
    """

    head: str
    access: Access
    files: dict[str, RemoteFile]

    @property
    def empty(self) -> bool:
        """Whether it holds only what the Hub puts into a new repository."""
        return self.files.keys() <= {".gitattributes"}


@dataclass
class HubRepo:
    """A dataset repository, as one user sees it.

    Attributes:
        repo_id: Owner and name.
    """

    repo_id: str
    _api: HfApi
    _uploads: list[CommitOperationAdd] = field(default_factory=list)

    @classmethod
    def login(cls, repo_id: str, token: str | None) -> HubRepo:
        """Check the token, and complete the name.

        Args:
            repo_id: Owner and name; or the name alone, for a repository of the token's owner.
            token: None for the one that is stored or in `HF_TOKEN`.

        Raises:
            HubUnavailableError: There is no token, or the Hub does not answer.
            HubError: The token is not accepted, or has no write access.
        """
        api = HfApi(token=token, library_name="geogen-hf", library_version=__version__)
        with hub_errors("logging in", repo_id):
            user: dict[str, Any] = api.whoami()
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            what, expected = "the token may only read", "a token with write access"
            found = f"a token of {user['name']} with the role read"
            remedy = "create a token with write access and pass that"
            where = repo_id
            raise HubError(
                explain(what, where=where, expected=expected, found=found, remedy=remedy)
            )
        return cls(repo_id if "/" in repo_id else f"{user['name']}/{repo_id}", api)

    @property
    def url(self) -> str:
        """The repository's page."""
        return page_of(self.repo_id)

    def state(self, revision: str) -> RepoState | None:
        """Read a branch; None where there is no such repository.

        Raises:
            HubError: The branch does not exist, or the Hub refuses.
        """
        with hub_errors("looking at the repository", f"{self.repo_id}, {revision}"):
            try:
                info = self._api.dataset_info(self.repo_id, revision=revision, files_metadata=True)
            except GatedRepoError:  # a subclass of the next one, but the repository exists
                raise
            except RepositoryNotFoundError:
                return None
        gates: dict[str, Gate] = {"auto": "auto", "manual": "manual"}
        files = {
            file.rfilename: RemoteFile(
                file.rfilename,
                file.size or 0,
                file.blob_id or "",
                None if file.lfs is None else file.lfs.sha256,
            )
            for file in info.siblings or ()
        }
        access = Access(bool(info.private), gates.get(str(info.gated), "off"))
        return RepoState(str(info.sha), access, files)

    def create(self) -> None:
        """Create the repository, private.

        Raises:
            HubError: The name is taken, or this user may not create it.
        """
        with hub_errors("creating the repository", self.repo_id):
            try:
                self._api.create_repo(self.repo_id, private=True, repo_type="dataset")
            except HfHubHTTPError as error:
                if error.response is None or error.response.status_code != 409:
                    raise
                what = "the name is taken by a repository that this token cannot see"
                remedy = "choose another name, or use a token with write access to this one"
                raise HubError(explain(what, where=self.repo_id, remedy=remedy)) from error

    def set_access(self, found: Access, wanted: Access) -> None:
        """Change the visibility and the gate, where they differ."""
        changes: dict[str, Any] = {}
        if found.gated != wanted.gated:
            changes["gated"] = False if wanted.gated == "off" else wanted.gated
        if found.private != wanted.private:
            changes["private"] = wanted.private
        if changes:
            with hub_errors(f"making it {wanted}", self.repo_id):
                self._api.update_repo_settings(self.repo_id, repo_type="dataset", **changes)

    def read(self, path: str, revision: str) -> bytes:
        """Read a small file."""
        with (
            hub_errors("reading", f"{self.repo_id}: {path}"),
            _no_progress_bars(),
            tempfile.TemporaryDirectory(prefix="geogen-push-") as cache,
        ):
            found = self._api.hf_hub_download(
                self.repo_id, path, repo_type="dataset", revision=revision, cache_dir=cache
            )
            return Path(found).read_bytes()

    def tagged_commit(self, tag: str) -> str | None:
        """Return the commit that a tag names; None where there is no such tag."""
        with hub_errors("looking at tags", f"{self.repo_id}, {tag}"):
            try:
                return str(self._api.dataset_info(self.repo_id, revision=tag).sha)
            except RevisionNotFoundError:
                return None

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit."""
        with hub_errors(f"tagging {tag}", self.repo_id):
            self._api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type="dataset")

    def upload(self, files: Sequence[LocalFile], revision: str, create_pr: bool) -> None:
        """Upload files at the same time, for a later commit; stored contents are not sent again.

        Raises:
            HubError: The Hub refuses, or a file changed on disk since it was checked.
        """
        additions = [CommitOperationAdd(file.path, file.source) for file in files]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        with hub_errors("uploading", f"{self.repo_id}: {files[0].path}{more}"), _no_progress_bars():
            self._api.preupload_lfs_files(
                self.repo_id,
                additions,
                repo_type="dataset",
                revision=revision,
                create_pr=create_pr,
                num_threads=len(additions),
                gitignore_content="",  # every file is published, whatever the repository ignores
            )
        for file, addition in zip(files, additions, strict=True):
            if addition.upload_info.sha256.hex() != file.sha256:
                what = "the file changed while it was pushed; nothing was published"
                remedy = "push again when nothing writes to the folder"
                raise HubError(explain(what, where=file.path, remedy=remedy))
        self._uploads += additions

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
            The commit, and its page.

        Raises:
            HubError: The branch is no longer at `parent`, or the Hub refuses.
        """
        deletions = [CommitOperationDelete(file.path, is_folder=False) for file in delete]
        with hub_errors("committing", f"{self.repo_id}, {revision}"), _no_progress_bars():
            done = self._api.create_commit(
                self.repo_id,
                [*self._uploads, *deletions],
                commit_message=message,
                repo_type="dataset",
                revision=revision,
                parent_commit=parent,
                create_pr=create_pr,
            )
        return str(done.oid), str(done.pr_url if create_pr else done.commit_url)


def page_of(repo_id: str) -> str:
    """Return the address of a dataset repository's page."""
    return f"{constants.ENDPOINT}/datasets/{repo_id}"
