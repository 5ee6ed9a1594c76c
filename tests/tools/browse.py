#!/usr/bin/env python3
"""Opens a page in a headless Chromium and looks at it: browse.py URL EXPRESSION [--pictures DIR] [--value JAVASCRIPT]...

Waits until the JavaScript EXPRESSION is true in the page (60 seconds at most), prints the page's text, then each JAVASCRIPT and what
it gives, keeps pictures of the page in DIR, and fails if its script has complained or if it asked any other server for anything. Speaks
the DevTools protocol over pipes: messages of JSON that end in NUL (chromium --remote-debugging-pipe)."""
import argparse
import base64
import json
import os
import subprocess
import tempfile
import time
import urllib.parse

SHAPES = {"wide": (1280, 1300, "light"), "dark": (1280, 1300, "dark"), "narrow": (390, 2000, "light")}


class Browser:
    def __init__(self, profile):
        there, self.out = os.pipe()
        self.into, here = os.pipe()

        def give():
            os.dup2(there, 13), os.dup2(here, 14)
            os.dup2(13, 3), os.dup2(14, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}",
             "about:blank"], preexec_fn=give, close_fds=False, stderr=subprocess.DEVNULL)
        self.pending, self.last, self.session, self.events = b"", 0, None, []

    def message(self):
        while b"\0" not in self.pending:
            more = os.read(self.into, 1 << 20)
            if not more:
                raise SystemExit("the browser has gone")
            self.pending += more
        text, self.pending = self.pending.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.last += 1
        request = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            m = self.message()
            if m.get("id") == self.last:
                if "error" in m:
                    raise SystemExit(f"{method}: {m['error']}")
                return m["result"]
            self.events.append(m)

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


def look(browser, url, expression, pictures, values):
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Runtime", "Log", "Network", "Page"):
        browser.call(domain + ".enable")
    browser.call("Page.navigate", url=url)
    end = time.monotonic() + 60
    while not browser.value(expression):
        if time.monotonic() > end:
            raise SystemExit(f"never came true: {expression}\n{browser.value('document.body.innerText')}")
        time.sleep(0.1)
    print(browser.value("document.body.innerText"))
    for value in values:
        print(f"{value}: {browser.value(value)}")
    for name, (width, height, scheme) in SHAPES.items() if pictures else []:
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=name == "narrow")
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        time.sleep(1)
        with open(os.path.join(pictures, name + ".png"), "wb") as out:
            out.write(base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"]))
    for e in browser.events:
        if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
            raise SystemExit(f"the page complains: {e['params']}")
        if e["method"] == "Network.requestWillBeSent":
            asked = urllib.parse.urlparse(e["params"]["request"]["url"])
            if asked.scheme != "data" and asked.netloc != urllib.parse.urlparse(url).netloc:
                raise SystemExit(f"the page asks elsewhere: {asked.geturl()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("expression")
    parser.add_argument("--pictures")
    parser.add_argument("--value", action="append", default=[])
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            look(browser, a.url, a.expression, a.pictures, a.value)
        finally:
            browser.process.kill()
            browser.process.wait()


main()
