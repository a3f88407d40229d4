"""Chromium, headless, driven through chromedriver by the W3C WebDriver protocol. Both in a temporary directory of their own, ended by close()."""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from harness import poll

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"     # WebDriver, section 11


def missing():
    """What is not installed, or None."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            return package
    return None


class Browser:
    def __init__(self, width=1100, height=760):
        self.dir = tempfile.mkdtemp(prefix="postern-browser-")
        self.session = None
        log = open(os.path.join(self.dir, "log"), "w")
        # a group of its own: chromium's processes go with it
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                        env={**os.environ, "HOME": self.dir, "TMPDIR": self.dir})
        log.close()
        try:
            self.port = poll(self.find_port, 30, "chromedriver's port")
            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                         f"--window-size={width},{height}", f"--user-data-dir={self.dir}/profile"]
            made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}}})
            self.session = made["sessionId"]
        except BaseException:
            self.close()
            raise

    def find_port(self):
        with open(os.path.join(self.dir, "log")) as file:
            found = re.search(r"started successfully on port (\d+)", file.read())
        return int(found.group(1)) if found else None

    def ask(self, method, path, body=None):
        base = f"/session/{self.session}" if self.session else ""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{base}{path}", method=method,
                                         data=json.dumps(body if body is not None else {}).encode() if method == "POST" else None,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:400]}") from None

    def go(self, url):
        self.ask("POST", "/url", {"url": url})

    def wait_for(self, using, value):
        def look():
            try:
                found = self.ask("POST", "/elements", {"using": using, "value": value})
            except AssertionError as error:
                if "didnt load in time" not in str(error):
                    raise
                self.ask("POST", "/refresh")    # as phpLDAPadmin's page says where the machine is busy
                return None
            return found[0][ELEMENT] if found else None
        return poll(look, 60, f"{using} {value}")

    def find(self, css):
        """The first element, waited for."""
        return self.wait_for("css selector", css)

    def link(self, text):
        return self.wait_for("partial link text", text)

    def click(self, element):
        self.ask("POST", f"/element/{element}/click")

    def type(self, element, text):
        self.ask("POST", f"/element/{element}/clear")
        self.ask("POST", f"/element/{element}/value", {"text": text})

    def choose(self, css, value):
        """An entry of a list of choices."""
        self.click(self.find(f'{css} option[value="{value}"]'))

    def text(self):
        return self.ask("POST", "/execute/sync", {"script": "return document.body.innerText", "args": []})

    def run(self, script):
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self):
        if self.session:
            try:
                self.ask("DELETE", "")
            except (AssertionError, OSError):
                pass
            self.session = None
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        self.process.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)
