"""A headless Chromium for tests of pages, over the pipe of its debugging protocol: no driver, no port, no package.

Chromium reads commands from file descriptor 3 and writes answers and events to 4, as JSON between zero bytes. Beside what a
page does by itself, a test can so press keys, click, resize to a phone (a window is never narrower than 500 px), and set
what media queries see.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")
PATIENCE = 30.0
"""Seconds that an answer may take."""


def find_chromium():
    """Find the program, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page at a time; ``problems`` collects exceptions, errors of the console, and what was refused or not found."""

    def __init__(self, program, profile):
        to_child, self._send = os.pipe()
        self._receive, from_child = os.pipe()
        command = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, program, *flags],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._rest, self._number, self._session, self._events = b"", 0, None, []
        self.problems = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        found = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, address, *, width=1280, height=900, mobile=False, scheme="light", media="screen"):
        """Load a page from nothing and wait until it has drawn itself."""
        self.call("Page.navigate", url="about:blank")
        self.resize(width, height, mobile=mobile)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self._events, self.problems = [], []
        self.call("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")
        self.settle()

    def resize(self, width, height, *, mobile=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def settle(self):
        """Wait for two frames, in which observers have run."""
        self.run("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")

    def run(self, script):
        """Evaluate a script; return its value, that of a promise too."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key):
        """Press and release a key, as a reader without a mouse."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)
        self.settle()

    def point(self, selector, share=(0.5, 0.5), *, click=False):
        """Move the pointer over an element, to a share of its width and height; click there if asked."""
        x, y, width, height = self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)}); "
            "element.scrollIntoView({block: 'center', behavior: 'instant'}); const box = element.getBoundingClientRect(); "
            "return [box.x, box.y, box.width, box.height]; })()"
        )
        place = {"x": x + share[0] * width, "y": y + share[1] * height}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        if click:
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
        self.settle()

    def screenshot(self, file, *, whole=False):
        """Save a PNG of what is seen, or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        file.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole):
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._send)
        os.close(self._receive)

    def _wait_for(self, event):
        while not any(found["method"] == event for found in self._events):
            self._read()

    def _read(self):
        """Read one message; keep it, and what it complains of, if it is an event."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Chromium did not answer within {PATIENCE:g} s"
            data = os.read(self._receive, 1 << 16)
            assert data, "Chromium has ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self._events.append(message)
            self._judge(message["method"], message.get("params", {}))
        return message

    def _judge(self, event, facts):
        if event == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        if event == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert", "warning"):
            self.problems.append(f"console: {facts['args']}")
        if event == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.problems.append(facts["entry"]["text"])
        if event == "Network.requestWillBeSent" and facts["request"]["url"].startswith(("http:", "https:", "ws")):
            self.problems.append(f"network: {facts['request']['url']}")
