"""Serve until stopped: `python -m hub_server FOLDER` prints the two URLs as one line of JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from hub_server.server import HubServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hub_server")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with HubServer(folder) as hub:
            sys.stdout.write(json.dumps({"url": hub.url, "storage_url": hub.storage_url}) + "\n")
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
