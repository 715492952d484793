"""A real browser, without a window, by way of its WebDriver (https://www.w3.org/TR/webdriver2/)."""

import base64
import json
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# Nothing of this leaves the machine, and nothing is kept.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
# By this key WebDriver names an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """chromium with one tab."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="page-test-")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.url = f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}"
                break
        else:
            raise AssertionError("chromedriver does not start")
        options = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [*FLAGS, f"--user-data-dir={self.profile.name}"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self.url += f"/session/{session['sessionId']}"

    def close(self):
        """Ends it."""
        try:
            self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
            self.profile.cleanup()

    def ask(self, method, path, body=None):
        """Sends a command and returns its value."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error

    def open(self, url):
        """Opens a page and waits until it is loaded."""
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """Runs the body of a function in the page and returns what it returns."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def devtools(self, command, **parameters):
        """Sends a command of the DevTools' protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width, height):
        """Gives the page so many pixels: less than a window may have."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, scheme):
        """Says that the person likes `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def type(self, selector, text):
        """Types into an element, in place of what it has."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.ask("POST", f"/element/{found}/clear", {})
        if text:
            self.ask("POST", f"/element/{found}/value", {"text": text})

    def click(self, selector):
        """Clicks at an element."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self.ask("POST", f"/element/{found}/click", {})

    def text(self, selector):
        """Returns the text of an element as a person sees it."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def rows(self, section):
        """Returns the rows of a table: for each the texts of its cells."""
        script = """
            const rows = document.querySelectorAll(`#${arguments[0]} tbody tr`);
            return [...rows].map((row) => [...row.cells].map((cell) => cell.textContent));
        """
        return self.run(script, section)

    def screenshot(self, path):
        """Writes the page from its top to its bottom, or to 3,000 pixels, as a PNG."""
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 3_000), "scale": 1}
        image = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        pathlib.Path(path).write_bytes(base64.b64decode(image["data"]))

    def complaints(self):
        """Returns what has been written to the console since the last time."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"})]

    def eventually(self, what, condition, seconds=30):
        """Waits until `condition` returns something, and returns that."""
        until = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.text('body')}")
            time.sleep(0.05)
