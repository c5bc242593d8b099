"""Open a Parquet file wherever it is: on disk, or behind a URL by ranges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pyarrow.parquet as pq

from geogen_hf.source.location import Location, SeekableFile


@contextmanager
def open_parquet(location: Location) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Only what is used is read: adjacent columns in one range.

    Args:
        location: Where it is. The Hub is asked once; it counts requests that it redirects.

    Yields:
        The file, with its footer read.

    Raises:
        GeoGenError: It cannot be opened or read. What pyarrow makes of a damaged file is its own.
    """
    with (
        closing(location.open()) as file,
        pq.ParquetFile(SeekableFile(file), pre_buffer=True) as parquet,
    ):
        yield parquet
