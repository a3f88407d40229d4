"""phpLDAPadmin of Debian with Postern's forms, by contrib/phpldapadmin/serve on a free loopback port, and a client that fills in its forms
without a browser: Console. Ended by its own process id."""
import html.parser
import http.cookiejar
import os
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request

import harness
from harness import BUILD, SOURCE

PACKAGE = "/usr/share/phpldapadmin"


def missing():
    """What is not installed, or None."""
    if not os.path.isdir(PACKAGE):
        return "phpldapadmin"
    if shutil.which("php") is None:
        return "php"
    return None


class Server:
    def __init__(self, site):
        self.port = harness.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = os.path.join(site.dir, "php.log")
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([os.path.join(SOURCE, "contrib", "phpldapadmin", "serve"), site.dir, "--port", str(self.port), "--build-dir", BUILD],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        harness.poll(self.answers, what="phpLDAPadmin's greeting")

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(self.log())
        try:
            with urllib.request.urlopen(self.url + "/index.php", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Form(html.parser.HTMLParser):
    """The form of a page: where it goes, its fields as a browser would send them, and what may be chosen."""
    IDS = ("entry_form", "create_form", "update_form", "delete_form")

    def __init__(self, page):
        super().__init__()
        self.inside, self.action = False, None
        self.fields, self.choices, self.select = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        at = dict(attributes)
        if tag == "form":
            self.inside = at.get("id") in self.IDS
            if self.inside:
                self.action = at.get("action", "")
        if not self.inside:
            return
        name = at.get("name")
        if tag == "input" and name:
            kind = at.get("type", "text")
            if kind in ("checkbox", "radio"):
                self.choices.setdefault(name, []).append(at.get("value", ""))
                if "checked" in at:
                    self.fields.append((name, at.get("value", "")))
            elif kind not in ("submit", "button"):
                self.fields.append((name, at.get("value") or ""))
        elif tag == "textarea" and name:
            self.fields.append((name, ""))
        elif tag == "select" and name:
            self.select = name
            self.choices[name] = []
        elif tag == "option" and self.select:
            self.choices[self.select].append(at.get("value", ""))
            if "selected" in at:
                self.fields.append((self.select, at.get("value", "")))

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False
        elif tag == "select" and self.select:
            if self.inside and not any(name == self.select for name, _ in self.fields) and self.choices[self.select]:
                self.fields.append((self.select, self.choices[self.select][0]))
            self.select = None

    @staticmethod
    def names(attribute, field):
        return field.startswith(f"new_values[{attribute.lower()}][")

    def value(self, attribute):
        return [value for name, value in self.fields if self.names(attribute, name)]

    def offers(self, attribute):
        return [value for name, values in self.choices.items() if self.names(attribute, name) for value in values if value]

    def set(self, **values):
        """Values of attributes: text or a list."""
        for attribute, value in values.items():
            if not any(self.names(attribute, name) for name in [name for name, _ in self.fields] + list(self.choices)):
                raise AssertionError(f"the form has no {attribute}")
            self.fields = [field for field in self.fields if not self.names(attribute, field[0])]
            for i, one in enumerate(value if isinstance(value, list) else [value]):
                self.fields.append((f"new_values[{attribute.lower()}][{i}]", one))


class Console:
    def __init__(self, server):
        self.server = server
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.page = ""

    def get(self, path, fields=None):
        data = urllib.parse.urlencode(fields).encode() if fields is not None else None
        with self.opener.open(urllib.parse.urljoin(self.server.url + "/", path), data, timeout=30) as answer:
            self.page = answer.read().decode("utf-8", "replace")
        trouble = re.search(r"(Fatal error|Uncaught |Unrecognized error|Parse error|Deprecated:|Warning:|Notice:|removed from template)[^<]*", self.page)
        if trouble:
            raise AssertionError(f"phpLDAPadmin says at {path}: {self.page[max(0, trouble.start() - 300):trouble.end() + 1500]}")
        return self.page

    def command(self, name, fields=None, **arguments):
        return self.get("cmd.php?" + urllib.parse.urlencode({"cmd": name, "server_id": "1", **arguments}), fields)

    def login(self, dn, password):
        self.get("index.php")
        return self.get("cmd.php", {"cmd": "login", "server_id": "1", "nodecode[login_pass]": "1", "login": dn, "login_pass": password, "submit": "Authenticate"})

    def template(self, title, **where):
        """The identifier that the list of templates gives a title."""
        page = self.command("template_engine", **where)
        found = re.search(r'<label for="([^"]*)">' + re.escape(title) + "</label>", page)
        if not found:
            raise AssertionError(f"no template {title} in the list: {re.findall(r'<label for=[^>]*>([^<]*)</label>', page)}")
        return found.group(1)

    def form(self):
        form = Form(self.page)
        if form.action is None:
            raise AssertionError(f"no form: {self.page[:3000]}")
        return form

    def send(self, form):
        return self.get(form.action, form.fields)

    def edit(self, dn, title):
        self.command("template_engine", dn=dn, template=self.template(title, dn=dn, template=""))
        return self.form()

    def change(self, dn, title, **values):
        """Fills in a form of an entry and confirms what phpLDAPadmin says it will do; returns the attributes that are sent at last."""
        form = self.edit(dn, title)
        form.set(**values)
        self.send(form)
        confirmed = self.form()
        self.send(confirmed)
        return {re.match(r"new_values\[(\w+)\]", name).group(1) for name, _ in confirmed.fields if name.startswith("new_values[")}

    def create(self, container, title, *steps):
        """One step is one page of the form."""
        self.command("template_engine", container=container, template=self.template(title, container=container))
        for values in steps:
            form = self.form()
            form.set(**values)
            self.send(form)
        self.send(self.form())
