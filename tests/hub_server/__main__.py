"""Serve until stopped: `python -m hub_server FOLDER` prints the two URLs as one line of JSON."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

from hub_server.server import HubServer


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), HubServer(Path(sys.argv[1])) as hub:
        sys.stdout.write(json.dumps({"url": hub.url, "storage_url": hub.storage_url}) + "\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
