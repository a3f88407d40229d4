"""What the end-to-end tests share: a whole site (slapd, schema, sample organisation, posternd) made by contrib/quickstart in a
temporary directory on ports chosen free, and a runner that prints `N passed, N failed, N skipped`. No sleeps: poll()."""
import imaplib
import json
import os
import poplib
import random
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

from ports import free_port, free_port_base  # noqa: F401, who imports us finds them here
from processes import freeze  # noqa: F401

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(SOURCE, "build"))
CORPUS = os.environ.get("POSTERN_CORPUS", os.path.join(SOURCE, "build", "corpus"))
FULL = "--full" in sys.argv
KEEP = "--keep" in sys.argv
imaplib._MAXLINE = 50_000_000
PATIENCE = 60     # seconds until what must come is given up: a busy machine takes long, and who waits loses nothing by waiting longer


def poll(condition, seconds=PATIENCE, what="the condition"):
    """Calls condition until it gives something true; returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(0.01)


def corpus(count=None, seed=1):
    """Paths of real messages, all or a seeded sample."""
    root = os.path.join(CORPUS, "package", "data")
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(root) for name in names if name.endswith(".txt"))
    if not files:
        raise RuntimeError(f"no messages below {root}: contrib/fetch-corpus fetches them")
    if count is None or count >= len(files):
        return files
    return sorted(random.Random(seed).sample(files, count))


class Site:
    """slapd, schema, sample organisation and posternd in a directory of their own."""
    open = []

    def __init__(self, messages=0):
        self.dir = tempfile.mkdtemp(prefix="postern-e2e-")
        Site.open.append(self)
        self.port_base = free_port_base()
        self.env = {}
        try:
            self.start(messages)
        except BaseException:
            self.close()
            raise

    def quickstart(self, *arguments, check=True):
        command = [os.path.join(SOURCE, "contrib", "quickstart"), "--dir", self.dir, "--port-base", str(self.port_base),
                   "--build-dir", BUILD, "--no-install", "--no-build", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"quickstart failed:\n{done.stdout}\n{self.log()[-3000:]}")
        return done

    def start(self, messages=0):
        self.quickstart("--background", "--messages", str(messages))
        with open(os.path.join(self.dir, "env")) as file:
            for line in file:
                name, _, value = line.rstrip("\n").partition("=")
                self.env[name] = value.strip("'")
        for name in ("IMAP", "IMAPS", "POP3", "POP3S", "SMTP", "SUBMISSION", "SUBMISSIONS"):
            setattr(self, name.lower(), int(self.env[f"POSTERN_{name}_PORT"]))
        self.pid = int(self.env["POSTERN_PID"])
        self.suffix = self.env["POSTERN_SUFFIX"]
        self.agent_dn = self.env["POSTERN_AGENT_DN"]

    def stop(self):
        self.quickstart("--stop", check=False)

    def close(self):
        self.stop()
        Site.open = [site for site in Site.open if site is not self]
        if KEEP:
            print("kept:", self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        try:
            with open(os.path.join(self.dir, "posternd.log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def agent_pid(self):
        """The supervisor's only child."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid)], stdout=subprocess.PIPE, text=True)
        pids = [int(word) for word in done.stdout.split()]
        return pids[0] if pids else None

    def slapd_pid(self):
        with open(os.path.join(self.dir, "slapd", "slapd.pid")) as file:
            return int(file.read())

    def kill_slapd(self):
        pid = self.slapd_pid()
        kill(pid)
        poll(lambda: not os.path.exists(f"/proc/{pid}/exe"), what="the end of slapd")
        os.remove(os.path.join(self.dir, "slapd", "slapd.pid"))

    def start_slapd(self):
        subprocess.run(["/usr/sbin/slapd", "-h", self.env["POSTERN_LDAP_URI"], "-F", os.path.join(self.dir, "slapd", "config"), "-n", "slapd"], check=True)
        poll(lambda: self.ldap("ldapsearch", "-s", "base", "-b", "", "1.1", check=False).returncode == 0, what="an answer of slapd")

    # --- the directory
    def ldap(self, tool, *arguments, text=None, check=True):
        command = [tool, "-x", "-H", self.env["POSTERN_LDAP_URI"], "-D", self.env["POSTERN_ADMIN_DN"], "-y",
                   os.path.join(self.dir, "credentials", "admin.pw"), *arguments]
        return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=check)

    def modify(self, dn, **values):
        """Replaces attributes; None deletes one."""
        lines = [f"dn: {dn}", "changetype: modify"]
        for name, value in values.items():
            lines.append(f"replace: {name}")
            if value is not None:
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    lines.append(f"{name}: {one}")
            lines.append("-")
        return self.ldap("ldapmodify", text="\n".join(lines) + "\n\n")

    def set_agent(self, **values):
        return self.modify(self.agent_dn, **values)

    def set_agent_now(self, **values):
        """Until the gateway has it. None must be no fault: of one it keeps the last valid version."""
        self.set_agent(**values)
        poll(lambda: self.is_in_force(values), what=f"{values} in force")

    def is_in_force(self, values):
        done = subprocess.run([os.path.join(BUILD, "posternctl"), "--control", self.env["POSTERN_CONTROL"], "--json", "config"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        if done.returncode != 0:
            return False
        rows = {row["setting"]: row for row in json.loads(done.stdout)["settings"]}
        return all(rows[name]["source"] == "default" if value is None else (rows[name]["source"], rows[name]["value"]) == ("directory", [str(value)])
                   for name, value in values.items())

    def user_dn(self, user):
        return f"uid={user},{self.env['POSTERN_PEOPLE_DN']}"

    def add_user(self, user, office="Sales", domain="example.org", **more):
        lines = [f"dn: {self.user_dn(user)}", "objectClass: inetOrgPerson", "objectClass: posternMailUser", f"uid: {user}",
                 f"cn: {user}", f"sn: {user}", f"mail: {user}@{domain}", f"userPassword: {self.env['POSTERN_PASSWORD']}",
                 f"posternPostOffice: cn={office},ou=mail,{self.suffix}"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        self.ldap("ldapadd", text="\n".join(lines) + "\n\n")

    def maildir(self, user, office="sales"):
        return os.path.join(self.dir, "mail", office, user, "Maildir")

    # --- clients
    def tls(self):
        return ssl.create_default_context(cafile=self.env["POSTERN_CA_FILE"])

    def imap_client(self, user="alice", password=None, login=True, tls=False):
        if tls:
            client = imaplib.IMAP4_SSL("localhost", self.imaps, ssl_context=self.tls(), timeout=30)
        else:
            client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=30)
        if login:
            client.login(user, password or self.env["POSTERN_PASSWORD"])
        return client

    def pop3_client(self, user="alice", password=None, login=True, tls=False):
        if tls:
            client = poplib.POP3_SSL("localhost", self.pop3s, context=self.tls(), timeout=30)
        else:
            client = poplib.POP3("127.0.0.1", self.pop3, timeout=30)
        if login:
            client.user(user)
            client.pass_(password or self.env["POSTERN_PASSWORD"])
        return client

    def smtp_client(self, port=None):
        return smtplib.SMTP("127.0.0.1", port or self.smtp, local_hostname="client.example", timeout=30)

    def send(self, message, sender="someone@elsewhere.example", to=("alice@example.org",)):
        with self.smtp_client() as client:
            return client.sendmail(sender, list(to), message)

    def raw(self, port):
        """A connected socket and its buffered reader, the greeting already read."""
        s = socket.create_connection(("127.0.0.1", port), timeout=30)
        reader = s.makefile("rb")
        greeting = reader.readline()
        return s, reader, greeting


def uid_map(client, box="INBOX"):
    """UID -> (flags, size) of a mailbox."""
    import re
    client.select(box)
    kind, data = client.uid("FETCH", "1:*", "(UID FLAGS RFC822.SIZE)")
    found = {}
    for line in data:
        if line is None:
            continue
        text = (line if isinstance(line, bytes) else line[0]).decode()
        uid = int(re.search(r"UID (\d+)", text).group(1))
        flags = frozenset(re.search(r"FLAGS \(([^)]*)\)", text).group(1).split()) - {"\\Recent"}
        found[uid] = (flags, int(re.search(r"RFC822.SIZE (\d+)", text).group(1)))
    return found


def kill(pid, how=signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


class Result(unittest.TextTestResult):
    """Shows what the gateways logged before a failure: the only witness of one that does not happen again."""

    def show_logs(self):
        for site in Site.open:
            self.stream.writeln(f"--- the end of {site.dir}/posternd.log:\n{''.join(site.log().splitlines(True)[-25:])}---")

    def addError(self, test, err):
        super().addError(test, err)
        self.show_logs()

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.show_logs()

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.show_logs()


def main():
    """Runs the unittest cases of the calling program."""
    arguments = [word for word in sys.argv if word not in ("--full", "--keep")]
    program = unittest.main(module="__main__", argv=arguments, exit=False, warnings="ignore",
                            testRunner=unittest.TextTestRunner(verbosity=2, warnings="ignore", resultclass=Result))
    result = program.result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    for case, why in result.skipped:
        print(f"SKIP {case}: {why}")
    passed = max(0, result.testsRun - failed - skipped)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or passed + skipped == 0 else 0)
