"""Decide whether, when and how often to try again when a read or a download fails.

Which statuses are worth another request, the growing waits between requests and the reading of
`Retry-After` are those of `urllib3.Retry`. What is decided here is when to start its count anew: a
transfer that advances is never given up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import urllib3

from geogen_hf.errors import FetchError, explain, one_line
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

RETRY = urllib3.Retry(
    total=7,
    status_forcelist=(408, 425, 429, 500, 502, 503, 504),
    backoff_factor=0.5,
    backoff_jitter=0.5,  # keeps clients from returning all at once
    backoff_max=30,
)
"""Eight attempts in a row without progress; waits of 0, 1, 2, 4 … 30 s and up to 0.5 s more."""
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


class TransientError(FetchError):
    """A failure that may pass: the next attempt may succeed.

    Attributes:
        reason: What failed, in a few words without part and URL.
        remedy: What the reader can do.
        retry_after_s: How long the server asks to wait, seconds; None where it does not say.
        rate_limited: Whether the server counts requests (429) and says when to come again. Waiting
            for that is no failure, however often.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        remedy: str | None = None,
        retry_after_s: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        self.rate_limited = rate_limited


def retry(
    attempt: Callable[[], Result],
    *,
    label: str,
    url: str,
    control: Control,
    options: TransferOptions,
    offset: Callable[[], int] = lambda: 0,
) -> Result:
    """Attempt something until it works, fails for good, or fails too often without progress.

    Args:
        attempt: What may raise `TransientError`.
        label: The part's name, for messages.
        url: Where it is, for messages.
        control: Tells when to stop.
        options: How often to try, and how long to wait.
        offset: How far it has come, bytes. Only what was never reached before is progress: a
            transfer that always starts anew and always breaks at one place comes to an end.

    Raises:
        FetchError: It failed for good, or was given up.

    Example:
        >>> retry(lambda: 1, label="a", url="", control=Control(), options=TransferOptions())
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
                control.tell_once(f"{label}: the server limits requests; waiting for it")
                control.wait(max(asked_s, _LEAST_RATE_LIMIT_WAIT_S))
                continue
            if offset() >= farthest + LEAST_PROGRESS_BYTES:
                policy, farthest = options.retry, offset()
            attempts = len(policy.history) + 1
            try:
                policy = policy.increment(error=error)
            except urllib3.exceptions.MaxRetryError:
                raise _given_up(label, url, attempts, offset(), error) from error
            delay_s = max(asked_s, policy.get_backoff_time())
            logger.info("next attempt in %.1f s: %s", delay_s, one_line(error))
            control.wait(delay_s)


def _given_up(
    label: str, url: str, attempts: int, offset: int, error: TransientError
) -> FetchError:
    again = "run again later"
    again += (
        f": {offset:,} bytes are kept and not fetched again"
        if offset
        else ", or choose another source with base_url"
    )
    return FetchError(
        explain(
            f"{label}: given up after {attempts} attempts in a row without progress",
            where=url,
            found=error.reason,
            remedy=again if error.remedy is None else f"{error.remedy}; {again}",
        )
    )
