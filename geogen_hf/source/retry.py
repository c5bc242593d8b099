"""How often and how long to try before a transfer is given up."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from geogen_hf.errors import FetchError, explain, one_line
from geogen_hf.source.http import RetryPolicy, TransientError
from geogen_hf.threads import Control

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

LEAST_PROGRESS_BYTES = 1024
"""An attempt that brings fewer new bytes than this was in vain."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How patiently to fetch.

    Attributes:
        retry: Attempts in vain before giving up, and the waits in between. A transfer that keeps
            advancing is never given up.
        connect_s: Longest wait for a connection, seconds.
        read_s: Longest wait for the next bytes, seconds; also the time in which at least 1 KiB
            has to come.
        sync_bytes: Bytes that may arrive between two syncs to disk: what a power cut can cost.
        sync_s: Seconds after which the next bytes are synced anyway.
        digest: Whether to hash what comes, for a lock file.
        seed: Of the jitter in the waits; None for another one each time.
    """

    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=8))
    connect_s: float = 10.0
    read_s: float = 60.0
    sync_bytes: int = 32 * 2**20
    sync_s: float = 2.0
    digest: bool = True
    seed: int | None = None


def persist(
    attempt: Callable[[], Result],
    *,
    label: str,
    url: str,
    control: Control,
    options: TransferOptions,
    offset: Callable[[], int] = lambda: 0,
) -> Result:
    """Attempt something until it works, or fails for good, or too often without progress.

    Args:
        attempt: What may raise `TransientError`.
        label: The part's name, for the message.
        url: Where it is, for the message.
        control: Tells when to stop.
        options: How patiently.
        offset: How far it has come, bytes. Only what was never reached before is progress: a
            transfer that always starts anew and always breaks at one place comes to an end.

    Raises:
        FetchError: It failed for good, or was given up.

    Example:
        >>> persist(lambda: 1, label="a", url="", control=Control(), options=TransferOptions())
        1
    """
    rng = random.Random(options.seed)
    farthest, failures = offset(), 0
    while True:
        try:
            return attempt()
        except TransientError as error:
            control.check()
            if offset() >= farthest + LEAST_PROGRESS_BYTES:
                farthest, failures = offset(), 0
            failures += 1
            if failures >= options.retry.attempts:
                raise _given_up(label, url, failures, offset(), error) from error
            delay = options.retry.delay_s(failures, rng, error.retry_after_s)
            logger.info("again in %.1f s: %s", delay, one_line(error))
            control.wait(delay)


def _given_up(label: str, url: str, failures: int, offset: int, error: FetchError) -> FetchError:
    return FetchError(
        explain(
            f"{label}: given up after {failures} attempts in a row without progress",
            where=url,
            found=one_line(error),
            remedy=f"run again later: {offset:,} bytes are kept and not fetched again"
            if offset
            else "run again later, or choose another source with base_url",
        )
    )
