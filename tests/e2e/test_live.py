#!/usr/bin/env python3
"""Edits of the directory take effect on connected clients; faults keep the last valid version; the directory may go away; the agent
may crash. Prints the latency of an edit."""
import imaplib
import os
import poplib
import signal
import socket
import statistics
import time
import unittest

from harness import FULL, Site, kill, main, poll


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
        other = site.port_base + 144
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
        with self.assertRaises(imaplib.IMAP4.error):
            site.imap_client("bob")
        site.modify(site.user_dn("bob"), posternDisabled=None, posternExpirationTime="20200101000000Z")
        with self.assertRaises(imaplib.IMAP4.error):
            site.imap_client("bob")
        site.modify(site.user_dn("bob"), posternExpirationTime=None)
        site.imap_client("bob").logout()

    def test_failed_logins_take_one_time(self):
        site = self.site
        site.set_agent(posternLoginFailureMilliseconds="700")
        site.modify(site.user_dn("bob"), posternDisabled="TRUE")
        times = []
        for user, password in (("alice", "wrong"), ("nobody", "x"), ("bob", "secret")):
            client = site.imap_client(login=False)
            began = time.monotonic()
            with self.assertRaises(imaplib.IMAP4.error):
                client.login(user, password)
            times.append(time.monotonic() - began)
            client.shutdown()
        for took in times:
            self.assertGreaterEqual(took, 0.69)
        self.assertLess(max(times) - min(times), 0.5, times)

    def test_directory_goes_and_comes(self):
        site = self.site
        imap = site.imap_client("alice")
        imap.select()
        kill(site.slapd_pid(), signal.SIGKILL)
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
        os.remove(os.path.join(site.dir, "slapd", "slapd.pid"))
        self.start_slapd()

        def bob_gets_in():
            try:
                site.imap_client("bob").logout()
                return True
            except (imaplib.IMAP4.error, OSError):
                return False
        poll(bob_gets_in, 30, "bob's login after the directory came back")

    def start_slapd(self):
        import subprocess
        site = self.site
        subprocess.run(["/usr/sbin/slapd", "-h", site.env["POSTERN_LDAP_URI"], "-F", os.path.join(site.dir, "slapd", "config"),
                        "-n", "slapd"], check=True)
        poll(lambda: os.path.exists(os.path.join(site.dir, "slapd", "slapd.pid")), what="slapd's start")

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
                    self.assertLess(time.monotonic() - began, 5)
                took.append((time.monotonic() - began) * 1000)
        took.sort()
        print(f"effect of an edit: median {statistics.median(took):.2f} ms, p99 {took[int(len(took) * .99) - 1]:.2f} ms, "
              f"most {took[-1]:.2f} ms, {rounds} edits")


if __name__ == "__main__":
    main()
