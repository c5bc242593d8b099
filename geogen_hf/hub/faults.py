"""What goes wrong on the Hub, told as the package tells errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)

from geogen_hf.errors import GeoGenError, explain, one_line

CONTINUES = "the same push again continues: what has arrived whole is not sent again"
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or pass a token"
_TRANSPORT: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError)
"""Errors on the way there: of the HTTP library that huggingface_hub uses (requests before its 1.0),
and of the system."""
_FULL = (402, 413, 507)
_QUOTA_WORDS = ("storage limit", "quota", "upgrade your plan", "exceed")


class HubError(GeoGenError, OSError):
    """The Hub refuses, cannot be reached, or holds something else than expected."""

    __str__ = Exception.__str__


@contextmanager
def hub_errors_explained(doing: str, where: object) -> Iterator[None]:
    """Turn what huggingface_hub raises into `HubError`.

    Args:
        doing: What was tried, such as `"uploading"`.
        where: The repository, or what of it.

    Raises:
        HubError: Instead of any error of the Hub, of the connection or of the client.

    Example:
        >>> with hub_errors_explained("looking at it", "lab/geogen"):
        ...     raise LocalTokenNotFoundError("Token is required")
        Traceback (most recent call last):
        geogen_hf.hub.faults.HubError: no token
          where: lab/geogen
          expected: a token with write access
          remedy: log in with `hf auth login`, set HF_TOKEN, or pass a token
    """
    try:
        yield
    except GeoGenError:
        raise
    except LocalTokenNotFoundError as error:
        expected = "a token with write access"
        message = explain("no token", where=where, expected=expected, remedy=_LOG_IN)
        raise HubError(message) from error
    except HFValidationError as error:
        expected = "a name such as lab/geogen"
        found = one_line(error)
        message = explain("not a name of a repository", where=where, expected=expected, found=found)
        raise HubError(message) from error
    except OfflineModeIsEnabled as error:
        message = explain(
            f"{doing}: the Hub is out of bounds", where=where, remedy="unset HF_HUB_OFFLINE"
        )
        raise HubError(message) from error
    except _TRANSPORT as error:
        raise HubError(_told(doing, where, error)) from error
    except (RuntimeError, ValueError) as error:  # how the client wraps what an upload met
        if _is_about_quota(str(error)) and error.__cause__ is None:
            raise HubError(_quota(doing, where, one_line(error))) from error
        raise HubError(_told(doing, where, error.__cause__ or error)) from error


def status_of(error: BaseException | None) -> int | None:
    """Give the HTTP status behind an error of this package; None where there was no answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def _told(doing: str, where: object, error: BaseException) -> str:
    """Explain an answer that says no, or that none came."""
    if getattr(error, "response", None) is not None:
        return _answer(doing, where, error)
    if isinstance(error, OSError) and error.filename is not None:
        return explain(f"{doing}: cannot read", where=error.filename, found=error, remedy=CONTINUES)
    found = " ".join(f"{type(error).__name__}: {error}".split())
    return explain(f"{doing} failed", where=where, found=found, remedy=CONTINUES)


def _answer(doing: str, where: object, error: BaseException) -> str:
    status = status_of(error) or 0
    said = getattr(error, "server_message", None) or error
    found = f"{status}: {' '.join(str(said).split())}"
    if status in _FULL or (status == 403 and _is_about_quota(found)):
        return _quota(doing, where, found)
    if isinstance(error, RevisionNotFoundError):
        return explain(
            f"{doing}: no such revision", where=where, found=found, remedy="create the branch first"
        )
    table = {
        401: ("the token is not accepted: invalid or expired", _LOG_IN),
        403: (
            "no write access",
            "use a token with write access to this name, or another name",
        ),
        404: (
            "no such repository, or not for this token",
            "check the name; a fine-grained token must name the repository",
        ),
        409: ("in conflict with what is there", "look at the repository, then push again"),
        412: (
            "the branch moved while this push was under way",
            f"see what was pushed meanwhile; {CONTINUES}",
        ),
        429: ("too many requests", f"wait some minutes; {CONTINUES}"),
    }
    default = ("the server fails" if status >= 500 else "refused", CONTINUES)
    what, remedy = table.get(status, default)
    return explain(f"{doing}: {what}", where=where, found=found, remedy=remedy)


def _quota(doing: str, where: object, found: str) -> str:
    return explain(
        f"{doing}: the storage of this account is used up",
        where=where,
        found=found,
        remedy=f"free some storage or ask for more; {CONTINUES}",
    )


def _is_about_quota(text: str) -> bool:
    return any(word in text.lower() for word in _QUOTA_WORDS)
