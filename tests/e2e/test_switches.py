#!/usr/bin/env python3
"""Command-line switches over the directory's settings: what is in force, what an edit does then, where posternctl says it came from."""
import json
import os
import socket
import subprocess
import unittest

from harness import BUILD, Site, kill, main, poll


class Switches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def setUp(self):
        self.begun = len(self.site.log())

    def news(self):
        return self.site.log()[self.begun:]

    def command(self):
        with open(f"/proc/{self.site.pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
        return [word.decode() for word in words]

    def restart(self, *switches):
        site = self.site
        if not hasattr(type(self), "plain"):
            type(self).plain = self.command()
        self.end()
        self.begun = len(site.log())
        with open(f"{site.dir}/posternd.log", "ab") as log:
            child = subprocess.Popen([*self.plain, *switches], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        site.pid = child.pid
        self.addCleanup(self.reap, child)
        poll(lambda: self.news().count(" listens on ") >= 1 or child.poll() is not None, what="the start")
        self.assertIsNone(child.poll(), self.news())
        poll(lambda: self.shown() is not None, what="the control socket")

    def end(self):
        kill(self.site.pid, 15)
        poll(lambda: not os.path.exists(f"/proc/{self.site.pid}") or self.is_zombie(), what="the end")

    def is_zombie(self):
        try:
            with open(f"/proc/{self.site.pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    def reap(self, child):
        kill(child.pid, 15)
        child.wait(60)

    def shown(self):
        done = subprocess.run([os.path.join(BUILD, "posternctl"), "--control", f"{self.site.dir}/state/control", "--json", "config"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def setting(self, attribute):
        """(value, source, from, value without) as posternctl has them."""
        found = [row for row in self.shown()["settings"] if row["setting"] == attribute]
        self.assertEqual(len(found), 1, attribute)
        return found[0]

    def connects(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                return s.recv(1) != b""
        except OSError:
            return False

    def test_precedence(self):
        site = self.site
        other = site.port_base + 111
        site.set_agent(posternPop3Threads="5", posternImap4Threads="6")
        self.restart("--pt", "33", f"/popport-{other}", "--nosmtp", "--loglevel", "verbose")
        poll(lambda: self.connects(other), what="the port of the switch")
        self.assertFalse(self.connects(site.pop3))
        self.assertFalse(self.connects(site.smtp))
        self.assertTrue(self.connects(site.imap))
        rows = {name: self.setting(name) for name in ("posternPop3Threads", "posternImap4Threads", "posternSmtpSendThreads", "posternSmtpEnabled")}
        text = json.dumps(rows["posternPop3Threads"])
        for part in ('"33"', '"switch"', '--pt 33', '"5"', '"directory"'):
            self.assertIn(part, text)
        self.assertIn('"directory"', json.dumps(rows["posternImap4Threads"]))
        self.assertIn('"default"', json.dumps(rows["posternSmtpSendThreads"]))
        self.assertIn("--nosmtp", json.dumps(rows["posternSmtpEnabled"]))
        # an edit of an overridden setting changes nothing, and is said
        site.set_agent(posternPop3Port=str(other + 1), posternImap4Threads="8")
        poll(lambda: "posternPop3Port was edited: this changes nothing" in self.news(), what="the edit in the log")
        self.assertIn(f"--popport {other}", self.news())
        poll(lambda: '"8"' in json.dumps(self.setting("posternImap4Threads")), what="the edit of another setting")
        self.assertTrue(self.connects(other))
        self.assertFalse(self.connects(other + 1))
        # nor does a bad one: a fault, but the object stays valid
        site.set_agent(posternPop3Threads="100000", posternImap4Threads="9")
        poll(lambda: "100000 is not a number from 1 to 1000; not in force: the command line has --pt 33" in self.news(), what="the fault")
        poll(lambda: '"9"' in json.dumps(self.setting("posternImap4Threads")), what="the edit beside the bad value")
        # without the switches the directory is heard
        site.set_agent(posternPop3Threads="5", posternPop3Port=str(site.pop3))
        self.restart()
        poll(lambda: self.connects(site.pop3) and self.connects(site.smtp), what="the directory's ports")
        self.assertNotIn("switch", json.dumps(self.setting("posternPop3Threads")))

    def test_last_valid_version_is_named(self):
        site = self.site
        self.restart("--it", "4")
        site.set_agent(posternPop3Threads="6")
        poll(lambda: '"6"' in json.dumps(self.setting("posternPop3Threads")), what="the valid value")
        site.set_agent(posternPop3Threads="0")
        poll(lambda: "last valid version" in json.dumps(self.setting("posternPop3Threads")), what="the last valid version")
        self.assertIn('"6"', json.dumps(self.setting("posternPop3Threads")))
        self.assertIn('"switch"', json.dumps(self.setting("posternImap4Threads")))
        site.set_agent(posternPop3Threads="7")
        poll(lambda: '"directory"' in json.dumps(self.setting("posternPop3Threads")), what="the cure")

    def test_startup_file(self):
        site = self.site
        path = os.path.join(site.dir, "gwia.cfg")
        with open(path, "w") as file:
            file.write("; the switches of this host\n# one on a line\n* or more\n\n/IT-12\n--sd 3 --rd 4\n--hn \"mail.example.com\"\n")
        self.restart(f"@{path}")
        for name, value in (("posternImap4Threads", "12"), ("posternSmtpSendThreads", "3"), ("posternSmtpReceiveThreads", "4")):
            text = json.dumps(self.setting(name))
            self.assertIn(f'"{value}"', text)
            self.assertIn('"switch"', text)
        with site.smtp_client() as client:
            client.ehlo()
            self.assertIn(b"mail.example.com", client.ehlo_resp)
        with open(path, "a") as file:
            file.write(f"@{path}\n")
        self.refused(f"@{path}", words="one includes itself")

    def refused(self, *switches, words):
        command = self.plain if hasattr(self, "plain") else self.command()
        done = subprocess.run([*command, *switches], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn(words, done.stdout)

    def test_refused_at_start(self):
        for words, said in ((("--pt", "0"), "--pt 0: 0 is not a number from 1 to 1000"), (("--pt", "5", "/pt-6"), "is given already by --pt 5"),
                            (("--xyz",), "\"--xyz\" is not an option"), (("--popport", "23"), "not among the allowed ports"), (("--pt",), "needs a value")):
            with self.subTest(words=words):
                self.refused(*words, words=said)

    def test_help_has_every_switch(self):
        done = subprocess.run([os.path.join(BUILD, "posternd"), "--help"], stdout=subprocess.PIPE, text=True, check=True)
        page = os.path.join(BUILD, "src", "man", "posternd.8")
        for name in ("pop3", "nopop3", "pt", "imap4", "it", "smtp", "rd", "sd", "popport", "imapsport", "popssl", "hn", "ip", "mh", "imapreadlimit",
                     "maxdeferhours", "msgdeferinterval", "tc", "td", "te", "tg", "tr", "loglevel"):
            self.assertRegex(done.stdout, rf"(?m)^  --{name} ")
            if os.path.exists(page):
                with open(page) as file:
                    self.assertIn(f"\\-\\-{name}", file.read())


if __name__ == "__main__":
    main()
