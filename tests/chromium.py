"""A headless Chromium, driven over its DevTools protocol: opens pages, clicks, takes pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from websockets.sync.client import ClientConnection, connect

EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
WIDTH, HEIGHT = 1280, 800

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    f"--window-size={WIDTH},{HEIGHT}",
]


class Page:
    """One tab.

    Attributes:
        requested: URLs that the page has asked for so far.
        faults: Exceptions that its scripts did not catch.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self._loads = 0
        self.requested: list[str] = []
        self.faults: list[str] = []
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are noted."""
        self._last_id += 1
        self._connection.send(
            json.dumps({"id": self._last_id, "method": method, "params": parameters})
        )
        while True:
            message = json.loads(self._connection.recv(timeout=20))
            if message.get("id") == self._last_id:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Network.requestWillBeSent":
            self.requested.append(event["params"]["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.faults.append(str(event["params"]["exceptionDetails"]))
        elif event["method"] == "Page.loadEventFired":
            self._loads += 1

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        loads = self._loads
        self.call("Page.navigate", url=url)
        self.wait_until(lambda: self._loads > loads, "the page has loaded")

    def go_offline(self) -> None:
        """Cut the page off from every network."""
        self.call(
            "Network.emulateNetworkConditions",
            offline=True, latency=0, downloadThroughput=0, uploadThroughput=0,
        )  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """The text that can be read on the page."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, x: float, y: float) -> None:
        """Click with the left button at a place in the window."""
        common = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.call("Input.dispatchMouseEvent", type="mousePressed", **common)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **common)

    def click_text(self, text: str) -> None:
        """Click the middle of the last button or label whose text begins so."""
        box = self.evaluate(
            "(() => { const found = [...document.querySelectorAll('button, label')]"
            f".filter(e => e.innerText.trim().startsWith({json.dumps(text)})).pop();"
            "if (!found) return null; found.scrollIntoView({block: 'nearest'});"
            "const b = found.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        assert box is not None, f"no button {text!r} in:\n{self.text()}"
        self.click(*box)

    def picture(self) -> NDArray[np.uint8]:
        """What the window shows, `(H, W, 3)` uint8."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def wait_until(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        """Ask again and again until a condition holds, and give what it gave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            self.evaluate("0")  # takes in events
            time.sleep(0.03)
        raise AssertionError(f"waited {seconds} s until {what}; the page says:\n{self.text()}")


@contextlib.contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """Start a browser with an empty profile, give its tab, and end it with all its processes."""
    assert EXECUTABLE is not None
    process = subprocess.Popen(
        [EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with connect(_address_of_tab(profile, process), max_size=None, compression=None) as tab:
            yield Page(tab)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address_of_tab(profile: Path, process: subprocess.Popen[bytes]) -> str:
    import urllib.request

    chosen = profile / "DevToolsActivePort"
    end = time.monotonic() + 20
    while not (chosen.is_file() and chosen.read_text().count("\n")):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < end, "the browser does not listen"
        time.sleep(0.02)
    port = chosen.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
        tabs = json.load(answer)
    return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
