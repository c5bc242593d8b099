"""Every call to the Hub, through the public API of huggingface_hub, and its errors in words.

Open this to change what is asked of the Hub, or the message for one of its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, errors
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.hf_file_system import HfFileSystem

from geogen_hf._version import __version__
from geogen_hf.errors import GeoGenError, one_line
from geogen_hf.hub.contents import LocalFile

Gate = Literal["auto", "manual", "off"]
GATES: tuple[Gate, ...] = ("auto", "manual", "off")

_OF_THE_CLIENT: tuple[type[Exception], ...] = (
    *errors.HfHubHTTPError.__bases__,  # of its HTTP library: requests, and httpx since its 1.0
    OSError,
    RuntimeError,
    ValueError,
)
"""What huggingface_hub raises."""
_RESUMES = "run the same push again: files that arrived whole are not sent again"
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or pass --token, with write access"
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
_STORAGE_WORDS = ("storage limit", "quota", "upgrade your plan", "exceeded your")


class HubError(GeoGenError, OSError):
    """The Hub refuses a request, or the repository is not as expected."""

    __str__ = Exception.__str__


class HubUnavailableError(HubError):
    """The Hub was not asked or did not answer: no token, no network, or HF_HUB_OFFLINE is set."""


@contextmanager
def hub_errors(doing: str, where: object) -> Iterator[None]:
    """Turn the errors of huggingface_hub and of the connection into `HubError`."""
    try:
        yield
    except GeoGenError:
        raise
    except _OF_THE_CLIENT as error:
        raise _explained(doing, where, error) from error


def _explained(doing: str, where: object, error: BaseException) -> HubError:
    """Say what the Hub answered, or why it did not."""
    if isinstance(error, errors.LocalTokenNotFoundError):
        return HubUnavailableError("no token", where=where, remedy=_LOG_IN)
    if isinstance(error, errors.OfflineModeIsEnabled):
        what, remedy = f"{doing}: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"
        return HubUnavailableError(what, where=where, remedy=remedy)
    if isinstance(error, errors.HFValidationError):
        what, expected = "not the name of a repository", "a name such as lab/geogen"
        return HubError(what, where=where, expected=expected, found=one_line(error))
    if isinstance(error, RuntimeError | ValueError):
        error = error.__cause__ or error  # the client wraps what an upload met
    response = getattr(error, "response", None)
    status = 0 if response is None else int(response.status_code)
    said = " ".join(str(getattr(error, "server_message", None) or error).split())
    found = f"{status}: {said}" if status else f"{type(error).__name__}: {said}"
    about_storage = any(word in said.lower() for word in _STORAGE_WORDS)
    if status in (402, 413, 507) or (about_storage and status in (0, 403)):
        what, remedy = "the storage of this account is used up", f"free some, then {_RESUMES}"
    elif isinstance(error, errors.RevisionNotFoundError):
        what, remedy = "no such revision", "create the branch first"
    elif status:
        other = ("the server fails" if status >= 500 else "refused", _RESUMES)
        what, remedy = _STATUS.get(status, other)
    elif isinstance(error, OSError) and error.filename is not None:
        what, where, remedy = "cannot read a file", error.filename, _RESUMES
    else:
        return HubUnavailableError(f"{doing} failed", where=where, found=found, remedy=_RESUMES)
    return HubError(f"{doing}: {what}", where=where, found=found, remedy=remedy)


@dataclass(frozen=True)
class Access:
    """Who can read a repository: only its owners, or others who have to accept terms or not."""

    private: bool
    gated: Gate  # "auto" admits who accepts the terms, "manual" whom an owner approves

    def __str__(self) -> str:
        gate = "not gated" if self.gated == "off" else f"gated ({self.gated})"
        return f"{'private' if self.private else 'public'}, {gate}"

    @property
    def readers(self) -> str:
        """Who can read the files, in words."""
        if self.private:
            return "only the owner, or the members of the owning organization"
        return {
            "auto": "anyone with a Hub account who accepts the terms; nobody has to approve",
            "manual": "anyone with a Hub account who accepts the terms and whom an owner approves",
            "off": "anyone, without accepting any terms",
        }[self.gated]


@dataclass
class HubRepo:
    """A dataset repository and the branch to publish on; its methods raise `HubError`."""

    repo_id: str  # `look` puts the token's owner before a name without one
    revision: str
    create_pr: bool
    token: str | None = field(repr=False)
    head: str = ""  # commit of the branch when it was looked at; empty without a repository
    access: Access | None = None  # then, as are the files
    files: dict[str, RepoSibling] = field(default_factory=dict)
    _uploads: list[CommitOperationAdd] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._api = HfApi(token=self.token, library_name="geogen-hf", library_version=__version__)

    @property
    def page(self) -> str:
        """The address of the repository's page."""
        return f"{constants.ENDPOINT}/datasets/{self.repo_id}"

    def look(self) -> None:
        """Check the token, and read the branch."""
        with hub_errors("logging in", self.repo_id):
            owner = self._api.whoami()["name"]
        self.repo_id = self.repo_id if "/" in self.repo_id else f"{owner}/{self.repo_id}"
        with hub_errors("looking at the repository", f"{self.repo_id}, {self.revision}"):
            try:
                info = self._api.dataset_info(
                    self.repo_id, revision=self.revision, files_metadata=True
                )
            except errors.GatedRepoError:  # a subclass of the next one, but the repository exists
                raise
            except errors.RepositoryNotFoundError:
                if self.revision == "main":
                    return
                what = "a new repository has no branch but main"
                remedy = "push to main first, then create the branch"
                found = self.revision
                raise HubError(what, where=self.repo_id, found=found, remedy=remedy) from None
        gate: Gate = info.gated if info.gated in ("auto", "manual") else "off"
        self.access = Access(bool(info.private), gate)
        self.head, self.files = str(info.sha), {f.rfilename: f for f in info.siblings or ()}

    def create(self) -> None:
        """Create the repository, private, unless it exists."""
        if self.head:
            return
        with hub_errors("creating the repository", self.repo_id):
            try:
                self._api.create_repo(self.repo_id, private=True, repo_type="dataset")
            except errors.HfHubHTTPError as error:
                if error.response is None or error.response.status_code != 409:
                    raise
        self.look()
        if not self.head:
            what = "the name is taken by a repository that this token cannot see"
            remedy = "choose another name, or use a token with write access to this one"
            raise HubError(what, where=self.repo_id, remedy=remedy)

    def set_access(self, wanted: Access) -> None:
        """Change the visibility and the gate, where they differ."""
        found, changes = self.access or wanted, dict[str, Any]()
        if found.gated != wanted.gated:
            changes["gated"] = False if wanted.gated == "off" else wanted.gated
        if found.private != wanted.private:
            changes["private"] = wanted.private
        if changes:
            with hub_errors(f"making it {wanted}", self.repo_id):
                self._api.update_repo_settings(self.repo_id, repo_type="dataset", **changes)
        self.access = wanted

    def read(self, path: str) -> bytes:
        """Read a small file."""
        with hub_errors("reading", f"{self.repo_id}: {path}"):
            files = HfFileSystem(token=self._api.token, skip_instance_cache=True)
            return bytes(files.cat_file(f"datasets/{self.repo_id}@{self.head}/{path}"))

    def tagged_commit(self, tag: str) -> str | None:
        """Return the commit that a tag names; None where there is no such tag."""
        with hub_errors("looking at tags", f"{self.repo_id}, {tag}"):
            try:
                return str(self._api.dataset_info(self.repo_id, revision=tag).sha)
            except errors.RevisionNotFoundError:
                return None

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit."""
        with hub_errors(f"tagging {tag}", self.repo_id):
            self._api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type="dataset")

    def upload(self, files: Sequence[LocalFile]) -> None:
        """Upload files at once for a later commit; refuse one that changed since it was checked."""
        additions = [CommitOperationAdd(file.path, file.source) for file in files]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        with hub_errors("uploading", f"{self.repo_id}: {files[0].path}{more}"):
            self._api.preupload_lfs_files(
                self.repo_id,
                additions,
                repo_type="dataset",
                revision=self.revision,
                create_pr=self.create_pr,
                num_threads=len(additions),
                gitignore_content="",  # every file is published, whatever the repository ignores
            )
        for file, addition in zip(files, additions, strict=True):
            if addition.upload_info.sha256.hex() != file.sha256:
                what = "the file changed while it was pushed; nothing was published"
                remedy = "push again when nothing writes to the folder"
                raise HubError(what, where=file.path, remedy=remedy)
        self._uploads += additions

    def commit(self, delete: Iterable[RepoSibling], message: str) -> tuple[str, str]:
        """Publish all uploads in one commit on top of `head`; return its id and its page."""
        deletions = [CommitOperationDelete(file.rfilename, is_folder=False) for file in delete]
        with hub_errors("committing", f"{self.repo_id}, {self.revision}"):
            done = self._api.create_commit(
                self.repo_id,
                [*self._uploads, *deletions],
                commit_message=message,
                repo_type="dataset",
                revision=self.revision,
                parent_commit=self.head,
                create_pr=self.create_pr,
            )
        return str(done.oid), str(done.pr_url if self.create_pr else self.page)
