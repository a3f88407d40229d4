#!/usr/bin/env python3
"""Two gateways and a Dovecot on hosts of their own: network, UTS, PID and mount namespaces with names of their own, made without privileges. One mailbox is
used through the Post Office Agent by one gateway and directly by the other at the same moment; the checks are the referee's."""
import argparse
import collections
import imaplib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from dovecot import Dovecot, become_nobody, is_missing
from harness import FULL, Site, main, poll
from referee import FOLDERS, FORBIDDEN, DovecotSide, Ledger, Referee, Refused

ENTER = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
AGENT_B = "cn=Beta"


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout}")
    return done.stdout


class Host:
    """One more host, at the end of a cable from ours. All that runs there ends with it."""

    def __init__(self, name, number):
        self.name, self.near, self.address = name, f"10.77.{number}.1", f"10.77.{number}.2"
        self.process = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
                                         f"hostname {name} && ip link set lo up && echo up && cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"up\n":
            raise RuntimeError("no namespaces")
        self.first = int(run("ps", "-o", "pid=", "--ppid", str(self.process.pid)))
        run("ip", "link", "add", f"near{number}", "type", "veth", "peer", "name", "far", "netns", str(self.first))
        run("ip", "addr", "add", f"{self.near}/30", "dev", f"near{number}")
        run("ip", "link", "set", f"near{number}", "up")
        run(*self.enter("ip", "addr", "add", f"{self.address}/30", "dev", "far"))
        run(*self.enter("ip", "link", "set", "far", "up"))

    def enter(self, *command):
        return ["nsenter", "--target", str(self.first), "--net", "--uts", "--mount", "--pid", *command]

    def start(self, command, log):
        with open(log, "a") as out:
            return subprocess.Popen(self.enter(*command), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def greets(self, port):
        try:
            with socket.create_connection((self.address, port), 5) as s:
                return s.recv(10).startswith(b"* OK")
        except OSError:
            return False

    def close(self):
        self.process.stdin.close()    # its first process ends, and with it all others
        self.process.wait(60)


def forward(address, port, target):
    """slapd listens on our loopback only."""
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept():
        while True:
            client, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", target))
            for pair in ((client, far), (far, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    server = socket.create_server((address, port))
    threading.Thread(target=accept, daemon=True).start()


class GatewaySide(DovecotSide):
    def __init__(self, name, address, port):
        self.name = name
        self.imap = imaplib.IMAP4(address, port, timeout=60)
        self.imap.login("joe", "secret")

    def list(self, folder):
        """A folder that the other side removes next is not to be selected: that ends the session. What another host has expunged is known a second later."""
        end = time.monotonic() + 30
        while True:
            try:
                result = super().list(folder)
                self.leave()
                return result
            except Refused as refusal:
                if "EXPUNGEISSUED" not in str(refusal) or time.monotonic() > end:
                    raise

    def store(self, folder, uids, how, flags, keywords):
        """Of messages that the others may have removed meanwhile (RFC 2180, section 4.2)."""
        try:
            super().store(folder, uids, how, flags, keywords)
        except Refused as refusal:
            if "EXPUNGEISSUED" not in str(refusal):
                raise

    def names(self, *what):
        """Directly LIST has no selection options."""
        command = "LSUB" if what else "LIST"
        self.imap.untagged_responses.pop(command, None)
        self.call(self.imap._simple_command, command, '""', '"*"')
        return {line.decode().rpartition(" ")[2].strip('"') for line in self.imap.response(command)[1] if line}

    def is_relayed(self):
        self.imap.xatom("ID", "NIL")
        return b"Dovecot" in (self.imap.response("ID")[1][0] or b"")


class Meeting(Referee):
    """The referee's rules for two gateways: the names are those that it gives its two sides."""

    def __init__(self, seed, length, mail, sides):
        self.options = argparse.Namespace(length=length)
        self.random, self.mail = random.Random(seed), mail
        self.passed = self.failed = self.serial = 0
        self.ledger, self.may_vanish, self.trace, self.folders = Ledger(), set(), [], list(FOLDERS)
        self.owner = os.stat(mail)
        self.postern, self.other, *self.more = sides
        for folder in FOLDERS[1:]:
            self.random.choice([self.postern, self.other]).create(folder)

    def burst(self, number, kills=0):
        failures, sides = [], [self.postern, self.other, *self.more]
        threads = [threading.Thread(target=self.worker, args=(side, self.random.randrange(2**32), self.options.length, failures)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.say(not failures, f"burst {number}: {failures}")
        self.compare(f"burst {number}")


class Hosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if is_missing():
            raise unittest.SkipTest("no Dovecot with IMAP")
        run("hostname", "alpha")
        run("ip", "link", "set", "lo", "up")
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        cls.beta, cls.store = Host("beta", 1), Host("poa", 2)
        cls.addClassCleanup(cls.beta.close)
        cls.addClassCleanup(cls.store.close)
        cls.start_dovecot()
        cls.site.add_user("joe")
        cls.describe()
        cls.start_beta()

    @classmethod
    def start_dovecot(cls):
        place = os.path.join(cls.site.dir, "dovecot")
        os.mkdir(place)
        cls.dovecot = Dovecot(place, os.path.join(cls.site.dir, "mail", "sales"))
        with open(cls.dovecot.conf) as file:
            text = file.read()
        with open(cls.dovecot.conf, "w") as file:
            file.write(text.replace("listen = 127.0.0.1", "listen = *"))
        cls.store.start(["env", f"PATH={os.environ['PATH']}:/usr/sbin", "dovecot", "-F", "-c", cls.dovecot.conf], cls.dovecot.log_path + ".out")
        poll(lambda: cls.store.greets(cls.dovecot.port), what="Dovecot on its host")

    @classmethod
    def describe(cls):
        """The office is reached client/server by our agent, and directly by that of beta."""
        site, suffix = cls.site, cls.site.agent_dn.partition(",")[2]
        office = f"cn=Sales,ou=mail,{site.suffix}"
        cls.agent_b = f"{AGENT_B},{suffix}"
        own = site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", site.agent_dn, "-s", "base").stdout
        lines = [line for line in own.splitlines() if line and not line.lower().startswith(("dn:", "cn:", "posterncleartextlogin:", "posternbindaddress:"))]
        site.ldap("ldapadd", text="\n".join([f"dn: {cls.agent_b}", "cn: Beta", "posternClearTextLogin: always", f"posternBindAddress: {cls.beta.address}", *lines]) + "\n\n" +
                  f"dn: cn=Link,{cls.agent_b}\nobjectClass: posternPostOfficeLink\ncn: Link\nposternPostOffice: {office}\nposternAccessMode: direct\n\n" +
                  f"dn: cn=POA,{office}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: {cls.store.address}\nposternPort: {cls.dovecot.port}\n"
                  "posternTls: disabled\n\n")
        site.modify(office, posternAccessMode="clientServer")

    @classmethod
    def start_beta(cls):
        site, state = cls.site, os.path.join(cls.site.dir, "beta")
        os.mkdir(state, 0o700)
        port = int(site.env["POSTERN_LDAP_URI"].rpartition(":")[2].rstrip("/"))
        forward(cls.beta.near, port, port)
        build = os.environ["POSTERN_BUILD"]
        cls.log_b = os.path.join(state, "log")
        cls.beta.start([os.path.join(build, "posternd"), "--uri", f"ldap://{cls.beta.near}:{port}", "--agent-dn", cls.agent_b, "--bind-dn",
                        f"cn=gateway,{site.suffix}", "--password-file", f"{site.dir}/credentials/gateway.pw", "--state-dir", state, "--mail-root",
                        f"{site.dir}/mail", "--tls-dir", f"{site.dir}/tls", "--credentials-dir", f"{site.dir}/credentials"], cls.log_b)
        try:
            poll(lambda: cls.beta.greets(site.imap), what="posternd on beta")
        except AssertionError as error:
            with open(cls.log_b, errors="replace") as file:
                raise AssertionError(f"{error}: {file.read()[-2000:]}") from None

    def test_one_mailbox(self):
        relayed = lambda name: GatewaySide(name, "127.0.0.1", self.site.imap)
        direct = lambda name: GatewaySide(name, self.beta.address, self.site.imap)
        poll(lambda: relayed("x").is_relayed(), what="the POA")
        sides = [direct("postern"), relayed("dovecot"), direct("beta"), relayed("alpha")]
        self.assertEqual([side.is_relayed() for side in sides], [False, True, False, True])
        for side in sides:
            self.assertEqual(side.imap.select()[0], "OK")
        pids = {run("ps", "-o", "comm=", "--ppid", str(host.first)) for host in (self.beta, self.store)}
        self.assertEqual(len({run(*host.enter("hostname")) for host in (self.beta, self.store)} | {socket.gethostname()}), 3, pids)
        meeting = Meeting(random.randrange(10**6) if FULL else 7, 60 if FULL else 25, os.path.join(self.site.dir, "mail", "sales"), sides)
        meeting.compare("start")
        meeting.in_turn(100 if FULL else 15, 0)
        for number in range(20 if FULL else 3):
            meeting.burst(number)
        self.assertEqual(meeting.failed, 0)
        self.assertGreater(meeting.passed, 20)
        self.assertGreater(sum(meeting.ledger.counts.values()), 0)
        trouble = [line for line in self.dovecot.log().splitlines() if any(word in line for word in FORBIDDEN)]
        self.assertEqual(trouble, [])
        counts = collections.Counter(folder for folder, _ in meeting.ledger.counts.elements())
        print(f"effect of {meeting.passed} comparisons, {meeting.serial} new messages: at the end {dict(counts)}")
        for side in sides:
            side.imap.logout()


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.environ.get("POSTERN_HOSTS") != "inside":
        become_nobody()
        done = subprocess.run([*ENTER, "--", "true"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(f"SKIP: no namespaces here: {done.stdout.strip()}\n0 passed, 0 failed, 1 skipped")
            sys.exit(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        python = next(path for path in (sys.executable, "/usr/bin/python3") if os.access(path, os.X_OK))    # root's own may not be nobody's
        sys.exit(subprocess.run([*ENTER, "--", python, os.path.abspath(__file__), *sys.argv[1:]], env={**os.environ, "POSTERN_HOSTS": "inside"}).returncode)
    main()
