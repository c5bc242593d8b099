"""Try again when a read or a download fails, and give up when there is no progress.

Which statuses are worth another request, the growing waits between requests and the reading of
`Retry-After` are those of `urllib3.Retry`. What is decided here is when to start its count anew: a
transfer that advances is never given up. `RemoteReader` is the base of both readers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import urllib3

from geogen_hf.errors import FetchError, explain, one_line
from geogen_hf.source.location import Location, RemoteInfo
from geogen_hf.source.responses import RETRY, ResponseChecks, TransientError
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

LEAST_PROGRESS_BYTES = 1024
"""An attempt that brings fewer new bytes than this counts as a failed one."""
_LEAST_RATE_LIMIT_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Timeouts, retries and syncs of a transfer.

    Attributes:
        retry: How many attempts may fail in a row without progress, and the waits in between.
        max_retry_after_s: Longest wait that a server's `Retry-After` is granted, seconds. The
            Hugging Face Hub counts requests by windows of 300 s.
        connect_s: Longest wait for a connection, seconds.
        read_s: Longest wait for the next bytes, seconds; also the time within which the status
            line and all headers have to be here, and in which at least 1 KiB of a body has to come.
        sync_bytes: Bytes that may arrive between two syncs to disk: what a power cut can cost.
        sync_s: Seconds after which the next bytes are synced anyway.
        digest: Whether to hash what comes, for a lock file.
    """

    retry: urllib3.Retry = RETRY
    max_retry_after_s: float = 300.0
    connect_s: float = 10.0
    read_s: float = 60.0
    sync_bytes: int = 32 * 2**20
    sync_s: float = 2.0
    digest: bool = True


def retry(
    attempt: Callable[[], Result],
    location: Location,
    control: Control,
    options: TransferOptions,
    offset: Callable[[], int] = lambda: 0,
) -> Result:
    """Attempt something until it works, fails for good, or fails too often without progress.

    Args:
        attempt: What may raise `TransientError`.
        location: What is read, for messages.
        control: Tells when to stop.
        options: How often to try, and how long to wait.
        offset: How far it has come, bytes. Only what was never reached before is progress: a
            transfer that always starts anew and always breaks at one place comes to an end.

    Raises:
        FetchError: It failed for good, or was given up.

    Example:
        >>> retry(lambda: 1, Location("a.zip"), Control(), TransferOptions())
        1
    """
    policy, farthest = options.retry, offset()
    while True:
        try:
            return attempt()
        except TransientError as error:
            control.check()
            asked_s = min(error.retry_after_s or 0.0, options.max_retry_after_s)
            if error.rate_limited:
                control.tell_once(f"{location.label}: the server limits requests; waiting for it")
                control.wait(max(asked_s, _LEAST_RATE_LIMIT_WAIT_S))
                continue
            if offset() >= farthest + LEAST_PROGRESS_BYTES:
                policy, farthest = options.retry, offset()
            attempts = len(policy.history) + 1
            try:
                policy = policy.increment(error=error)
            except urllib3.exceptions.MaxRetryError:
                raise _given_up(location, attempts, offset(), error) from error
            delay_s = max(asked_s, policy.get_backoff_time())
            logger.info("next attempt in %.1f s: %s", delay_s, one_line(error))
            control.wait(delay_s)


def _given_up(location: Location, attempts: int, offset: int, error: TransientError) -> FetchError:
    again = "run again later"
    again += (
        f": {offset:,} bytes are kept and not fetched again"
        if offset
        else ", or choose another source with base_url"
    )
    return FetchError(
        explain(
            f"{location.label}: given up after {attempts} attempts in a row without progress",
            where=location,
            found=error.reason,
            remedy=again if error.remedy is None else f"{error.remedy}; {again}",
        )
    )


class RemoteReader:
    """What the readers of remote files share: one version is read, with retries, until closed."""

    def __init__(self, location: Location, options: TransferOptions) -> None:
        self._location, self._options = location, options
        self._info = location.version
        self._checks = ResponseChecks(location)
        self._control = Control()

    @property
    def location(self) -> Location:
        """Its description, with the version that is read once that is known."""
        return self._location.at(self._info)

    def close(self) -> None:
        """Make reads and waits in other threads give up."""
        self._control.stop()

    def _retry(
        self, attempt: Callable[[], Result], offset: Callable[[], int] = lambda: 0
    ) -> Result:
        return retry(attempt, self._location, self._control, self._options, offset)

    def _pin(self, found: RemoteInfo) -> int:
        """Refuse another version than the first one; return the file's size."""
        known = self._info
        if known is not None and not known.same_version(found):
            raise self._checks.changed(known, found)
        size = found.size if found.size is not None or known is None else known.size
        if size is None:
            raise self._checks.refused("the size of the file", str(found))
        if known is None:
            self._info = found
        return size
