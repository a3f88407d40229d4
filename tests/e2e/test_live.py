#!/usr/bin/env python3
"""Edits of the directory take effect on connected clients; faults keep the last valid version; the directory may go away; the agent
may crash. Prints the latency of an edit."""
import imaplib
import os
import poplib
import resource
import signal
import socket
import ssl
import statistics
import subprocess
import threading
import time
import unittest

from harness import BUILD, FULL, Site, free_port, freeze, kill, main, poll


class Live(unittest.TestCase):
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)

    def connects(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                return s.recv(1) != b""
        except OSError:
            return False

    def test_service_closes_and_opens(self):
        site = self.site
        imap = site.imap_client("alice")
        imap.select()
        pop3 = site.pop3_client("bob")
        site.set_agent(posternPop3Enabled="FALSE")
        poll(lambda: not self.connects(site.pop3), what="closing of POP3")
        line = pop3.file.readline()
        self.assertTrue(line.startswith(b"-ERR") or line == b"", line)
        self.assertEqual(imap.noop()[0], "OK")
        site.set_agent(posternPop3Enabled="TRUE")
        poll(lambda: self.connects(site.pop3), what="opening of POP3")
        site.pop3_client("bob").quit()
        self.assertEqual(imap.noop()[0], "OK")
        imap.logout()

    def test_port_moves(self):
        site = self.site
        imap = site.imap_client("alice")
        other = free_port()
        site.set_agent(posternImap4Port=str(other))
        poll(lambda: self.connects(other), what="the new port")
        poll(lambda: not self.connects(site.imap), what="closing of the old port")
        self.assertEqual(imap.noop()[0], "OK")

    def test_fault_keeps_the_last_valid_version(self):
        site = self.site
        site.set_agent(posternPop3Threads="0", posternSmtpMaxMessageSize="2048")
        poll(lambda: "posternPop3Threads" in site.log(), what="the fault in the log")
        self.assertIn("cn=internet agent", site.log().lower())
        # the whole object keeps its last valid version: SIZE is the old one
        with site.smtp_client() as client:
            client.ehlo()
            self.assertNotEqual(client.esmtp_features["size"], "2048")
        # others move on
        site.modify(f"cn=No POP3,{site.agent_dn}", posternMember=site.user_dn("bob"))

        def bob_is_refused():
            try:
                site.pop3_client("bob").close()
                return False
            except poplib.error_proto:
                return True
        poll(bob_is_refused, what="bob's refusal")
        site.set_agent(posternPop3Threads="3")

        def size_is_new():
            with site.smtp_client() as client:
                client.ehlo()
                return client.esmtp_features["size"] == "2048"
        poll(size_is_new, what="the cured agent")

    def test_disabled_and_expired_users(self):
        site = self.site
        site.modify(site.user_dn("bob"), posternDisabled="TRUE")
        poll(lambda: not self.bob_gets_in(), what="the refusal of a disabled user")
        site.modify(site.user_dn("bob"), posternDisabled=None)
        poll(self.bob_gets_in, what="the login of a user who is enabled again")
        site.modify(site.user_dn("bob"), posternExpirationTime="20200101000000Z")
        poll(lambda: not self.bob_gets_in(), what="the refusal of an expired user")
        site.modify(site.user_dn("bob"), posternExpirationTime=None)
        poll(self.bob_gets_in, what="the login of a user who does not expire")

    def bob_gets_in(self):
        try:
            self.site.imap_client("bob").logout()
            return True
        except (imaplib.IMAP4.error, OSError):
            return False

    def test_directory_goes_and_comes(self):
        site = self.site
        imap = site.imap_client("alice")
        imap.select()
        site.kill_slapd()
        self.assertEqual(imap.noop()[0], "OK")
        self.assertEqual(imap.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")[0], "OK")
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            site.imap_client("bob")
        self.assertIn("[UNAVAILABLE]", str(caught.exception))
        with self.assertRaises(poplib.error_proto) as caught:
            site.pop3_client("bob")
        self.assertIn(b"[SYS/TEMP]", caught.exception.args[0])
        with site.smtp_client() as client:
            client.ehlo()
            client.mail("a@elsewhere.example")
            code, text = client.rcpt("bob@example.org")
            self.assertEqual(code, 451, text)
        # a restart without the directory: the last good state serves
        kill(site.agent_pid(), signal.SIGKILL)
        poll(lambda: self.connects(site.imap), what="the restarted agent")
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            site.imap_client("bob")
        self.assertIn("[UNAVAILABLE]", str(caught.exception))
        site.start_slapd()
        poll(self.bob_gets_in, what="bob's login after the directory came back")

    def test_agent_crash_keeps_the_ports(self):
        site = self.site
        first = site.agent_pid()
        self.assertIsNotNone(first)
        kill(first, signal.SIGKILL)
        # the supervisor holds the listening sockets: a client that connects now waits instead of being refused
        imap = imaplib.IMAP4("127.0.0.1", site.imap, timeout=30)
        imap.login("alice", "secret")
        imap.logout()
        self.assertNotEqual(site.agent_pid(), first)

    def test_latency_of_an_edit(self):
        """From the success of an ldapmodify to its effect on the next command of a connected client."""
        import ldap_edit
        site = self.site
        client = site.smtp_client()
        client.ehlo()
        rounds = 200 if FULL else 50
        took = []
        with ldap_edit.Editor(site) as editor:
            for number in range(rounds):
                size = str(100_000 + number)
                editor.replace(site.agent_dn, "posternSmtpMaxMessageSize", size)
                began = time.monotonic()
                while True:
                    client.ehlo()
                    if client.esmtp_features["size"] == size:
                        break
                    self.assertLess(time.monotonic() - began, 30)
                took.append((time.monotonic() - began) * 1000)
        took.sort()
        print(f"effect of an edit: median {statistics.median(took):.2f} ms, p99 {took[int(len(took) * .99) - 1]:.2f} ms, "
              f"most {took[-1]:.2f} ms, {rounds} edits")


def connects(port, host="127.0.0.1"):
    try:
        with socket.create_connection((host, port), timeout=5) as s:
            return s.recv(1) != b""
    except OSError:
        return False


def ctl(site, *arguments):
    """posternctl's exit code and everything it said."""
    done = subprocess.run([os.path.join(BUILD, "posternctl"), "--control", site.env["POSTERN_CONTROL"], *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return done.returncode, done.stdout


def status(site, section, key):
    """A value of posternctl status, as text."""
    code, said = ctl(site, "status", "--all")
    if code != 0:
        raise AssertionError(said)
    lines = said.split(f"{section}", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    for line in lines:
        if line.strip().startswith(key + " "):
            return line.strip()[len(key):].strip()
    raise AssertionError(f"no {section} {key} in:\n{said}")


def own_address():
    """An address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            address = s.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


class Settings(unittest.TestCase):
    """Settings edited while clients are connected; one site for all of them."""
    @classmethod
    def setUpClass(cls):
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def setUp(self):
        self.agent = self.site.agent_pid()

    def tearDown(self):
        self.assertEqual(self.site.agent_pid(), self.agent, "the agent crashed:\n" + self.site.log()[-3000:])

    def capabilities(self, client):
        return client.capability()[1][0].decode().split()

    def login_works(self, user="alice", **more):
        try:
            self.site.imap_client(user, **more).logout()
            return True
        except imaplib.IMAP4.error:
            return False

    def pop3_login_works(self, user):
        try:
            self.site.pop3_client(user).quit()
            return True
        except poplib.error_proto:
            return False

    def test_tls_modes(self):
        site = self.site
        imap = site.imap_client(login=False)
        with site.smtp_client(site.submission) as smtp:
            smtp.ehlo()
            self.assertIn("STARTTLS", self.capabilities(imap))
            self.assertTrue(smtp.has_extn("starttls"))
            site.set_agent(posternImap4Tls="disabled", posternPop3Tls="disabled", posternSmtpTls="disabled")
            self.addCleanup(site.set_agent, posternImap4Tls=None, posternPop3Tls=None, posternSmtpTls=None)
            poll(lambda: "STARTTLS" not in self.capabilities(imap), what="no STARTTLS")
            poll(lambda: not connects(site.imaps), what="closing of IMAPS")
            smtp.ehlo()
            self.assertFalse(smtp.has_extn("starttls"))
            self.assertNotIn("STLS", site.pop3_client(login=False).capa())
            site.set_agent(posternImap4Tls="required", posternPop3Tls="required", posternSmtpTls="required")
            poll(lambda: "LOGINDISABLED" in self.capabilities(imap), what="LOGINDISABLED")
            self.assertFalse(self.login_works())
            self.assertFalse(self.pop3_login_works("alice"))
            smtp.ehlo()
            self.assertTrue(smtp.has_extn("starttls"))
            self.assertFalse(smtp.has_extn("auth"))
        # the very connection that was refused may go on under TLS
        imap.starttls(site.tls())
        imap.login("alice", site.env["POSTERN_PASSWORD"])
        imap.logout()
        site.set_agent(posternImap4Tls="enabled", posternPop3Tls="enabled", posternSmtpTls="enabled")
        poll(self.login_works, what="a login in clear text")
        self.assertTrue(self.login_works(tls=True))

    def test_clear_text_login(self):
        site = self.site
        imap = site.imap_client(login=False)
        self.addCleanup(site.set_agent, posternClearTextLogin=None, posternBindAddress="127.0.0.1")
        site.set_agent(posternClearTextLogin="never")
        poll(lambda: "LOGINDISABLED" in self.capabilities(imap), what="LOGINDISABLED")
        with self.assertRaises(imaplib.IMAP4.error):
            imap.login("alice", site.env["POSTERN_PASSWORD"])
        self.assertFalse(self.pop3_login_works("alice"))
        self.assertTrue(self.login_works(tls=True))
        site.set_agent(posternClearTextLogin="loopback")
        poll(lambda: "LOGINDISABLED" not in self.capabilities(imap), what="login from loopback")
        imap.login("alice", site.env["POSTERN_PASSWORD"])
        imap.logout()
        address = own_address()
        if address is None:
            return
        site.set_agent(posternBindAddress=["127.0.0.1", address])
        poll(lambda: connects(site.imap, address), what="the other address")
        imap = imaplib.IMAP4(address, site.imap, timeout=30)
        self.assertIn("LOGINDISABLED", self.capabilities(imap))
        site.set_agent(posternClearTextLogin="always")
        poll(lambda: "LOGINDISABLED" not in self.capabilities(imap), what="login from everywhere")
        imap.login("alice", site.env["POSTERN_PASSWORD"])
        imap.logout()

    def test_threads_and_connections(self):
        site = self.site
        self.addCleanup(site.set_agent, posternPop3Threads="10", posternPop3MaxConnections=None)
        site.set_agent(posternPop3Threads="3")
        poll(lambda: status(site, "pop3", "threads") == "3", what="three threads")
        poll(lambda: status(site, "pop3", "sessions now") == "0", what="the end of other sessions")
        first, second = site.pop3_client("alice"), site.pop3_client("bob")
        site.set_agent(posternPop3MaxConnections="2", posternPop3Threads="25")
        poll(lambda: status(site, "pop3", "threads") == "25", what="25 threads")

        def third():
            s, reader, greeting = site.raw(site.pop3)
            rest = reader.read()
            s.close()
            return greeting, rest
        greeting, rest = third()
        self.assertTrue(greeting.startswith(b"-ERR"), greeting)
        self.assertEqual(rest, b"")
        self.assertEqual(first.stat()[0], 0)
        second.quit()
        poll(lambda: self.pop3_login_works("bob"), what="a place")
        site.set_agent(posternPop3MaxConnections="0")
        poll(lambda: status(site, "pop3", "sessions now") == "1", what="the end of the second")
        clients = [first] + [site.pop3_client(login=False) for _ in range(5)]
        for client in clients:
            client.quit()

    def test_time_of_failed_logins(self):
        site = self.site
        self.addCleanup(site.set_agent, posternLoginFailureMilliseconds=None, posternIntruderDetection=None)
        self.addCleanup(site.modify, site.user_dn("bob"), posternDisabled=None)
        site.modify(site.user_dn("bob"), posternDisabled="TRUE")
        poll(lambda: not self.login_works("bob"), what="the refusal of a disabled user")
        site.set_agent(posternIntruderDetection="FALSE")    # alice fails often

        def failure(user, password):
            client = site.imap_client(login=False)
            began = time.monotonic()
            with self.assertRaises(imaplib.IMAP4.error) as caught:
                client.login(client._quote(user), password)
            self.assertIn("AUTHENTICATIONFAILED", str(caught.exception))
            client.shutdown()
            return time.monotonic() - began
        names = ("bob", "nobody", "x" * 400, "alice*", "*", "alice)(uid=*", "uid=alice,ou=people," + site.suffix, "cn=gateway," + site.suffix)
        for limit in (0.3, 1.0):
            site.set_agent(posternLoginFailureMilliseconds=str(int(limit * 1000)))
            poll(lambda: abs(failure("alice", "wrong") - limit) < 0.25, what="the new time")
            fastest = [100] * (len(names) + 1)     # of some tries: a machine that is busy for a moment delays now and then, a difference is always there
            for _ in range(5):
                took = [failure(name, "secret") for name in names] + [failure("alice", "x" * 1500)]
                self.assertGreaterEqual(min(took), limit - 0.01)
                fastest = list(map(min, fastest, took))
                if max(fastest) - min(fastest) < 0.3:
                    break
            self.assertLess(max(fastest) - min(fastest), 0.3, fastest)
        empty = site.imap_client(login=False)
        kind, answer = empty._simple_command("LOGIN", "alice", '""')
        self.assertEqual(kind, "NO", answer)

    def test_class_of_service_at_the_next_login(self):
        site = self.site
        no_pop3 = f"cn=No POP3,{site.agent_dn}"
        self.addCleanup(site.modify, no_pop3, posternMember=site.user_dn("carol"))
        bob = site.pop3_client("bob")
        self.assertTrue(self.pop3_login_works("bob@example.org"))
        site.modify(no_pop3, posternMember=site.user_dn("bob"))
        poll(lambda: not self.pop3_login_works("bob"), what="bob's refusal")
        self.assertFalse(self.pop3_login_works("bob@example.org"))
        self.assertTrue(self.login_works("bob"))
        self.assertTrue(bob.file.readline().startswith(b"-ERR [SYS/PERM]"))
        bob.close()
        self.assertTrue(self.pop3_login_works("alice"))
        # by distribution list, by post office, by domain
        for member in (f"cn=everyone,ou=people,{site.suffix}", f"cn=Sales,ou=mail,{site.suffix}", "example.org"):
            site.modify(no_pop3, posternMember=member)
            poll(lambda: not self.pop3_login_works("alice"), what=member)
        site.modify(no_pop3, posternMember=site.user_dn("carol"))
        poll(lambda: self.pop3_login_works("alice"), what="alice's return")

    def certificate(self):
        return ssl.get_server_certificate(("127.0.0.1", self.site.imaps), timeout=10)

    def replace(self, name, data):
        path = os.path.join(self.site.dir, "tls", name)
        with open(path + ".new", "w") as file:
            file.write(data)
        os.rename(path + ".new", path)

    def test_certificate_is_replaced(self):
        site = self.site
        tls = os.path.join(site.dir, "tls")
        old = {name: open(os.path.join(tls, name)).read() for name in ("server.pem", "server.key")}
        before = self.certificate()
        connected = site.imap_client(tls=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", os.path.join(tls, "next.key"), "-out", os.path.join(tls, "next.pem")],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        new = {name: open(os.path.join(tls, name)).read() for name in ("next.pem", "next.key")}
        # half of a pair is not taken
        self.replace("server.pem", new["next.pem"])
        kill(site.pid, signal.SIGHUP)
        poll(lambda: "certificate and key are not taken" in site.log(), what="the complaint")
        self.assertEqual(self.certificate(), before)
        self.replace("server.key", new["next.key"])
        poll(lambda: self.certificate() != before, what="the new certificate")   # without a signal
        after = self.certificate()
        self.assertEqual(connected.noop()[0], "OK")
        connected.logout()
        for broken in ("", "garbage", old["server.pem"], new["next.pem"][:200]):
            said = site.log().count("certificate and key are not taken")
            self.replace("server.pem", broken)
            kill(site.pid, signal.SIGHUP)
            poll(lambda: site.log().count("certificate and key are not taken") > said, what="the complaint")
            self.assertEqual(self.certificate(), after)
        os.remove(os.path.join(tls, "server.pem"))
        kill(site.pid, signal.SIGHUP)
        self.assertEqual(self.certificate(), after)
        for name, data in old.items():
            self.replace(name, data)
        kill(site.pid, signal.SIGHUP)
        poll(lambda: self.certificate() == before, what="the old certificate")
        site.imap_client(tls=True).logout()

    def test_many_idle_connections(self):
        site = self.site
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = 2000
        if hard != resource.RLIM_INFINITY and hard < count + 200:
            self.skipTest("too few descriptors")
        if soft < count + 200:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
        self.addCleanup(site.set_agent, posternSmtpMaxMessageSize=None)
        idle = []
        try:
            for number in range(count):
                s = socket.create_connection(("127.0.0.1", (site.imap, site.pop3, site.smtp)[number % 3]), timeout=30)
                idle.append(s)
            for s in idle:
                self.assertIn(s.recv(1), b"*+2")
            site.set_agent(posternSmtpMaxMessageSize="4321")

            def size_is_new():
                with site.smtp_client() as client:
                    client.ehlo()
                    return client.esmtp_features["size"] == "4321"
            poll(size_is_new, what="the edit's effect")
            site.imap_client("alice").logout()
            self.assertGreaterEqual(int(status(site, "imap4", "sessions now")), count // 3)
        finally:
            for s in idle:
                s.close()
        for service in ("imap4", "pop3", "smtp"):
            poll(lambda: status(site, service, "sessions now") == "0", what="the end of " + service)

    def test_posternctl(self):
        site = self.site
        code, brief = ctl(site, "status")
        self.assertEqual(code, 0, brief)
        for words in ("gateway\n", "\npop3 enabled\n", "\nimap4 enabled\n", "\nsmtp enabled\n"):
            self.assertIn(words, brief)
        self.assertNotRegex(brief, r"(?m)^  [a-z ,]*error +0$")
        self.assertRegex(ctl(site, "status", "--all")[1], r"(?m)^  store retrieval error +0$")
        for arguments in ((), ("nonsense",), ("status", "more"), ("--nonsense",), ("postoffice", "init")):
            code, said = ctl(site, *arguments)
            self.assertEqual(code, 2, said)
            self.assertIn("Usage", said)
        self.assertEqual(ctl(site, "version")[0], 0)
        mark = os.path.join(site.dir, "mail", "sales", "postern-postoffice")
        marked = open(mark).read()
        os.remove(mark)
        code, said = ctl(site, "postoffice", "init", os.path.join(site.dir, "mail", "sales/"))
        self.assertEqual(code, 0, said)
        self.assertEqual(open(mark).read(), marked)
        site.imap_client("alice").logout()
        other = "12345678-9abc-def0-1234-56789abcdef0"
        code, said = ctl(site, "postoffice", "init", "--uuid", other, os.path.join(site.dir, "mail", "sales"))
        self.assertEqual(code, 1, said)
        self.assertEqual(open(mark).read(), marked)
        new = os.path.join(site.dir, "mail", "new")
        self.assertEqual(ctl(site, "postoffice", "init", "--uuid", other, new)[0], 1)
        os.mkdir(new)
        code, said = ctl(site, "postoffice", "init", new)
        self.assertEqual(code, 1)
        self.assertIn("no post office has this path", said)
        self.assertEqual(ctl(site, "postoffice", "init", "--uuid", "nonsense", new)[0], 1)
        self.assertEqual(ctl(site, "postoffice", "init", "--uuid", "12345678-9ABCDEF0-12345678-9abcdef0", new)[0], 0)
        self.assertIn(other, open(os.path.join(new, "postern-postoffice")).read())

    def test_options(self):
        def posternd(*arguments):
            done = subprocess.run([os.path.join(BUILD, "posternd"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=30)
            return done.returncode, done.stdout, done.stderr
        for word in ("--help", "--version"):
            code, out, err = posternd(word)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("posternd", out)
        good = ("--uri", "ldap://127.0.0.1:1", "--agent-dn", "cn=a")
        for arguments in ((), ("--uri", "ldap://h"), ("--uri", "http://h", "--agent-dn", "cn=a"), good + ("more",), good + ("--nonsense",),
                          good + ("--allow-port", "x"), good + ("--allow-port", "0"), good + ("--bind-dn", "cn=b"),
                          good + ("--external", "--bind-dn", "cn=b", "--password-file", "/x"), good + ("--state-dir", "relative"),
                          good + ("--log-level", "loud"), good + ("--state-dir",)):
            code, out, err = posternd(*arguments)
            self.assertEqual((code, out), (2, ""), arguments)
            self.assertIn("posternd", err)
        code, out, err = posternd(*good, "--state-dir", "/nowhere/at/all")
        self.assertEqual(code, 2)
        self.assertIn("/nowhere/at/all", err)


class Starts(unittest.TestCase):
    """What posternd does at its start and its end, and while the directory is not what it should be."""
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)
        self.process = None
        self.frozen = None

    def tearDown(self):
        if self.frozen is not None:
            kill(self.frozen, signal.SIGCONT)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        for word in ("bug:", "Sanitizer", "runtime error"):
            self.assertNotIn(word, self.site.log())

    def stop_posternd(self, how=signal.SIGTERM):
        kill(self.site.pid, how)
        poll(lambda: not os.path.exists(f"/proc/{self.site.pid}/exe"), what="the end of posternd")    # nor is there one of a zombie

    def start_posternd(self, wait=False, **change):
        """As the quick start does, as a child of this process."""
        site = self.site
        options = {"uri": site.env["POSTERN_LDAP_URI"], "agent-dn": site.agent_dn, "bind-dn": "cn=gateway," + site.suffix,
                   "password-file": os.path.join(site.dir, "credentials", "gateway.pw"), "state-dir": os.path.join(site.dir, "state"),
                   "mail-root": os.path.join(site.dir, "mail"), "tls-dir": os.path.join(site.dir, "tls"),
                   "control": site.env["POSTERN_CONTROL"]}
        limit = change.pop("descriptors", None)
        options.update({name.replace("_", "-"): value for name, value in change.items()})
        command = [os.path.join(BUILD, "posternd")] + [word for name, value in options.items() for word in ("--" + name, value)]
        if limit is not None:
            command = ["prlimit", f"--nofile={limit}:{limit}"] + command
        with open(os.path.join(site.dir, "posternd.log"), "a") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            return process.wait(60)
        self.process = process
        self.site.pid = process.pid
        return process

    def login_works(self):
        try:
            self.site.imap_client("alice").logout()
            return True
        except (imaplib.IMAP4.error, OSError):
            return False

    def test_sigterm_says_goodbye(self):
        site = self.site
        imap, pop3 = site.imap_client("alice"), site.pop3_client("bob")
        smtp, smtp_reader, greeting = site.raw(site.smtp)
        idle, idle_reader, greeting = site.raw(site.imap)
        idle.sendall(b"a LOGIN bob secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
        while not idle_reader.readline().startswith(b"+"):
            pass
        agent = site.agent_pid()
        began = time.monotonic()
        self.stop_posternd()
        self.assertLess(time.monotonic() - began, 9)    # sessions that do not end would be waited for for ten
        self.assertTrue(imap.readline().startswith(b"* BYE"))
        self.assertTrue(idle_reader.readline().startswith(b"* BYE"))
        self.assertTrue(smtp_reader.readline().startswith(b"421"))
        self.assertTrue(pop3.file.readline().startswith(b"-ERR"))
        for reader in (imap.file, idle_reader, smtp_reader, pop3.file):
            self.assertEqual(reader.read(), b"")
        self.assertFalse(connects(site.imap))
        self.assertFalse(os.path.exists(f"/proc/{agent}/exe"))
        self.assertFalse(os.path.exists(site.env["POSTERN_CONTROL"]))
        self.assertFalse(os.path.exists(os.path.join(site.dir, "posternd.pid")))
        self.assertEqual(ctl(site, "status")[0], 1)
        smtp.close()
        idle.close()

    def test_agent_dies_with_its_supervisor(self):
        agent = self.site.agent_pid()
        self.stop_posternd(signal.SIGKILL)
        poll(lambda: not os.path.exists(f"/proc/{agent}/exe"), what="the agent's end")
        self.start_posternd()
        poll(self.login_works, what="the next posternd")
        status_of_agent = open(f"/proc/{self.site.agent_pid()}/status").read()
        self.assertRegex(status_of_agent, r"(?m)^CapEff:\s+0+$")
        self.assertRegex(status_of_agent, r"(?m)^NoNewPrivs:\s+1$")

    def test_second_posternd_is_refused(self):
        before = status(self.site, "gateway", "snapshot")
        self.assertEqual(self.start_posternd(wait=True), 2)
        self.assertIn("another posternd", self.site.log())
        self.assertEqual(status(self.site, "gateway", "snapshot"), before)
        self.assertTrue(self.login_works())

    def test_frozen_directory(self):
        site = self.site
        imap = site.imap_client("alice")
        imap.select()
        self.frozen = site.slapd_pid()
        freeze(self.frozen)
        answers = []

        def log_in(number):
            client = site.imap_client(login=False)
            client.sock.settimeout(60)
            began = time.monotonic()
            try:
                client.login(("alice", "bob", "nobody%d" % number)[number % 3], "secret")
                answers.append(("OK", 0))
            except imaplib.IMAP4.error as error:
                answers.append((str(error), time.monotonic() - began))
            client.shutdown()
        threads = [threading.Thread(target=log_in, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        self.assertEqual(imap.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")[0], "OK")
        self.assertEqual(imap.noop()[0], "OK")
        for thread in threads:
            thread.join()
        self.assertEqual(len(answers), 40)
        for answer, took in answers:
            self.assertIn("[UNAVAILABLE]", answer)
            self.assertLess(took, 40)
        kill(self.frozen, signal.SIGCONT)
        poll(self.login_works, what="a login after the thaw")
        site.set_agent(posternSmtpMaxMessageSize="4321")

        def size_is_new():
            with site.smtp_client() as client:
                client.ehlo()
                return client.esmtp_features["size"] == "4321"
        poll(size_is_new, what="an edit after the thaw")
        self.assertEqual(imap.noop()[0], "OK")

    def test_stop_while_the_directory_is_frozen(self):
        site = self.site
        self.frozen = site.slapd_pid()
        freeze(self.frozen)
        waiting = []
        for number in range(40):
            s, reader, greeting = site.raw(site.imap)
            s.sendall(b"a LOGIN user%d secret\r\n" % number)
            waiting.append(s)
        self.stop_posternd()
        self.assertNotIn("by signal", site.log())
        self.assertNotIn("it is killed", site.log())
        for s in waiting:
            s.close()

    def test_start_without_directory(self):
        site = self.site
        self.stop_posternd()
        site.kill_slapd()
        state = os.path.join(site.dir, "state", "configuration")
        for damage in (None, b"", b"PSTNCFG1 garbage", "cut", "flip", "other agent"):
            with self.subTest(damage=damage):
                good = open(state, "rb").read() if os.path.exists(state) else good
                said = len(site.log())
                change = {}
                if damage is None:
                    os.remove(state)
                elif damage == "other agent":
                    open(state, "wb").write(good)
                    change = {"agent_dn": "cn=Other,ou=mail," + site.suffix}
                else:
                    data = {"cut": good[:-100], "flip": good[:50] + bytes([good[50] ^ 1]) + good[51:]}.get(damage, damage)
                    open(state, "wb").write(data)
                process = self.start_posternd(**change)
                poll(lambda: "the directory cannot be followed" in site.log()[said:], what="the complaint")
                if damage is not None:
                    self.assertIn("the last good state on disk is not used", site.log()[said:])
                self.assertFalse(connects(site.imap))
                self.assertIsNone(process.poll())
                process.terminate()
                self.assertEqual(process.wait(60), 0)
                if damage is not None:
                    open(state, "wb").write(good)
        self.start_posternd()
        poll(lambda: connects(site.imap), what="service by the last good state")
        self.process.terminate()
        self.process.wait(60)
        os.remove(state)
        self.start_posternd()
        site.start_slapd()
        poll(self.login_works, what="the first configuration")
        poll(lambda: os.path.exists(state), what="the last good state")
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o600)
        self.assertNotIn(b"secret", open(state, "rb").read())

    def test_wrong_password_and_missing_agent(self):
        site = self.site
        self.stop_posternd()
        os.remove(os.path.join(site.dir, "state", "configuration"))
        password = os.path.join(site.dir, "credentials", "wrong.pw")
        with open(password, "w") as file:
            file.write("wrong\n")
        self.start_posternd(password_file=password)
        poll(lambda: "Invalid credentials" in site.log(), what="the complaint")
        self.assertFalse(connects(site.imap))
        with open(password, "w") as file:
            file.write(open(os.path.join(site.dir, "credentials", "gateway.pw")).read())
        poll(self.login_works, what="a bind with the right password")
        # the agent object goes and comes, with all that lies below it and another entryUUID
        imap = site.imap_client("alice")
        kept = site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", site.agent_dn).stdout
        site.ldap("ldapdelete", "-r", site.agent_dn)
        poll(lambda: not connects(site.imap), what="the closing of all services")
        self.assertTrue(imap.readline().startswith(b"* BYE"))
        poll(lambda: "there is no such Internet Agent or Post Office Agent object" in site.log(), what="the complaint")
        self.assertIn("there is no such Internet Agent or Post Office Agent object", ctl(site, "status")[1])
        site.ldap("ldapadd", text=kept)
        poll(self.login_works, what="the agent object's return")
        # a state directory that cannot be written to is a complaint and no more
        state = os.path.join(site.dir, "state")
        os.chmod(state, 0o500)
        try:
            site.set_agent(posternSmtpMaxMessageSize="4321")
            poll(lambda: "the last good state is not kept" in site.log(), seconds=60, what="the complaint")
            self.assertTrue(self.login_works())
        finally:
            os.chmod(state, 0o700)

    def test_descriptors_run_out(self):
        """Clients that connect and say nothing take no descriptors from those who are at work."""
        site = self.site
        self.stop_posternd()
        self.start_posternd(descriptors=256)
        poll(self.login_works, what="the start")
        imap = site.imap_client("alice")
        imap.select()
        idle = []
        for number in range(300):
            s = socket.create_connection(("127.0.0.1", site.pop3), timeout=30)
            idle.append(s)
        poll(lambda: int(status(site, "pop3", "ended, too many connections")) > 0, what="the first refusal")
        for number in range(10):
            self.assertEqual(imap.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")[0], "OK")
            self.assertEqual(imap.fetch("1:*", "(FLAGS BODY.PEEK[])")[0], "OK")
        for s in idle:
            s.close()
        poll(self.login_works, what="a login when they have gone")
        self.assertNotIn("by signal", site.log())

    def test_duplicates_and_garbage(self):
        """Objects that somebody else makes in the directory: faults at most."""
        site = self.site
        site.ldap("ldapadd", text="\n".join([
            f"dn: ou=more,{site.suffix}", "objectClass: organizationalUnit", "ou: more", "",
            f"dn: cn=Sales,ou=more,{site.suffix}", "objectClass: posternPostOffice", "cn: Sales", "posternDomain: example.org",
            "posternPath: /etc", "",
            f"dn: cn=Binary,ou=more,{site.suffix}", "objectClass: posternPostOffice", "cn: Binary",
            "posternPath: relative", ""]) + "\n")
        poll(lambda: "cn=Binary" in ctl(site, "status")[1], what="the fault")
        self.assertTrue(self.login_works())
        site.ldap("ldapmodrdn", "-s", f"ou=people,{site.suffix}", f"cn=Sales,ou=more,{site.suffix}", "cn=Renamed")
        site.ldap("ldapdelete", "-r", f"ou=more,{site.suffix}")
        poll(lambda: "cn=Binary" not in ctl(site, "status")[1], what="the fault's end")
        self.assertTrue(self.login_works())


if __name__ == "__main__":
    main()
