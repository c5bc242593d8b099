"""Refusals as the Hub words them: a status, X-Error-Code and a message."""

from __future__ import annotations

from hub_server.wire import Answer, json_answer


class HubError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        body: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.body = headers or {}, body or {}

    def answer(self) -> Answer:
        """Word it for the wire."""
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return json_answer({"error": self.message, **self.body}, self.status, headers)


def repo_not_found(*, signed_in: bool) -> HubError:
    """A repo that is not there, or that is nobody's business: the two look the same."""
    if signed_in:
        return HubError(404, "Repository not found", "RepoNotFound")
    return HubError(401, "Invalid username or password.", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(commit: str) -> HubError:
    # The client remembers that this commit lacks the file.
    return HubError(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit})
