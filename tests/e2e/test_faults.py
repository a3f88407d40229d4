#!/usr/bin/env python3
"""Bad input by the tables: every attribute of every object, with values out of range, of the wrong kind, twice, missing and pointing to
nothing: what the directory itself refuses, what stays in force, what the log says, what the status entry says."""
import base64
import imaplib
import json
import os
import poplib
import re
import socket
import subprocess
import unittest

from harness import BUILD, Site, main, poll

INVALID_SYNTAX, CONSTRAINT = 21, 19
TEXT_REASON = "the text is empty, too long or has control characters"
BATCH = 25      # an object's complaints are counted only so far

# what the kinds do not say: attribute (or class and attribute) -> bad values with the reason's beginning
SPECIAL = {
    ("posternInternetAgent", "posternBindAddress"): [("nowhere", "nowhere is not an IP address")],
    ("posternInternetAgent", "posternTrustedAddress"): [("10.1.1.300", "10.1.1.300 is no IP address or range"), ("host.example", "")],
    "posternDeferMinutes": [("20 x", "not numbers from 1 to 43200"), (["20", "30"], "has more than one value")],
    "posternTlsCertificate": [("../x.pem", ""), ("/etc/shadow", "")],
    "posternTlsKey": [("../x.pem", ""), ("/etc/shadow", "")],
    "posternTlsCaFile": [("../x.pem", ""), ("/etc/shadow", "")],
    "posternHost": [("*", "neither a host name nor an IP address"), ("a b", "neither a host name nor an IP address")],
    "posternPoaCredentials": [("a/b", ""), (".hidden", "")],
    "posternPoaLogin": [("external", "external needs posternTlsCertificate")],
    "posternPop3Port": [("23", "the port is below 1024 and not among the allowed ports")],
    "posternDomain": [("not a domain", "not a domain name"), (["a.example", "A.example."], "not a domain name")],
    "posternMailboxTemplate": [("../%u", ""), ("%x", ""), ("no user", "without %u users would share a mailbox")],
    "posternSeparator": [("x", "neither a dot nor a slash")],
    "posternPrefix": [("x" * 256, "longer than 255 octets")],
    "posternControlDirectory": [("relative", ""), ("/etc", "")],
    "posternPath": [("relative", ""), ("/etc", "")],
    "posternMember": [("=,x", "neither a distinguished name nor a domain"), ("not a domain", "neither a distinguished name nor a domain")],
}


class Rule:
    def __init__(self, line):
        self.owner, self.name, self.kind, least, most, words = line.split("\t")
        self.least, self.most, self.words = int(least), int(most), words.split()

    def bad_values(self):
        """(value or values, what the reason says), for values that the directory takes."""
        found = []
        if self.kind == "number":
            found += [(value, f"{value} is not a number from {self.least} to {self.most}") for value in
                      (str(self.least - 1), str(self.most + 1), "9" * 40)]
        elif self.kind == "word":
            found += [("nonsense", "nonsense is not one of " + " ".join(self.words))]
        elif self.kind in ("text", "texts"):
            found += [("a\tb", TEXT_REASON), ("x" * 4097, TEXT_REASON)]
        return found + SPECIAL.get(self.name, []) + SPECIAL.get((self.owner, self.name), [])

    def refused_values(self):
        """(values, result) that the directory itself refuses by its schema."""
        wrong = {"boolean": "maybe", "number": "five", "dn": "nowhere", "dns": "nowhere", "time": "tomorrow"}.get(self.kind)
        found = [([wrong], INVALID_SYNTAX)] if wrong else []
        two = {"boolean": ["TRUE", "FALSE"], "number": ["5", "6"], "word": self.words[:2], "dn": ["dc=a", "dc=b"],
               "time": ["20300101000000Z", "20310101000000Z"]}.get(self.kind)
        if two:
            found.append((two, CONSTRAINT))
        return found


def ldif_line(name, value):
    if re.fullmatch(r"[!-9;-~]([ -~]*[!-~])?", value):
        return f"{name}: {value}"
    return f"{name}:: {base64.b64encode(value.encode()).decode()}"


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        lines = subprocess.run([os.path.join(BUILD, "tests", "e2e", "tables_driver")], stdout=subprocess.PIPE, text=True, check=True).stdout
        cls.rules = [Rule(line) for line in lines.splitlines()]
        # an attribute that is multi-valued in one class is so in all
        many = {rule.name for rule in cls.rules if rule.kind in ("texts", "dns")}
        for rule in cls.rules:
            rule.many = rule.name in many
        cls.status_dn = f"cn={re.sub('[^A-Za-z0-9._-]', '-', socket.gethostname())},{cls.site.agent_dn}"
        cls.sales = f"cn=Sales,ou=mail,{cls.site.suffix}"
        cls.link = f"cn=Sales link,{cls.site.agent_dn}"
        cls.no_pop3 = f"cn=No POP3,{cls.site.agent_dn}"
        # the mailboxes are opened directly: nobody needs to listen there
        cls.server = f"cn=Server,{cls.sales}"
        cls.site.modify(cls.sales, posternAccessMode="direct")
        cls.site.ldap("ldapadd", text=f"dn: {cls.server}\nobjectClass: posternPostOfficeAgent\ncn: Server\nposternHost: poa.example\n\n")

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def of(self, owner):
        found = [rule for rule in self.rules if rule.owner == owner]
        self.assertTrue(found, owner)
        return found

    # --- the directory
    def read(self, dn):
        done = self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn, check=False)
        if done.returncode != 0:
            return None
        found = {}
        for line in done.stdout.splitlines():
            name, encoded, value = re.match(r"([^:]*):(:?) ?(.*)", line).groups() if line else ("", "", "")
            if name:
                found.setdefault(name, []).append(base64.b64decode(value).decode() if encoded else value)
        return found

    def write(self, dn, values, check=True):
        """Replaces attributes by lists of values; the result code."""
        lines = [f"dn: {dn}", "changetype: modify"]
        for name, all_values in values.items():
            lines += [f"replace: {name}", *[ldif_line(name, value) for value in all_values], "-"]
        done = self.site.ldap("ldapmodify", text="\n".join(lines) + "\n\n", check=False)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout)
        return done.returncode

    # --- the gateway
    def faults(self):
        entry = self.read(self.status_dn)
        return entry.get("posternFault", []) if entry else []

    def ctl(self, *words):
        done = subprocess.run([os.path.join(BUILD, "posternctl"), "--control", f"{self.site.dir}/state/control", "--json", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        return json.loads(done.stdout)

    def setting(self, name):
        return next(row for row in self.ctl("config")["settings"] if row["setting"] == name)

    def links(self):
        return json.dumps(self.ctl("links"))

    def expect(self, dn, wanted):
        """Waits until each (attribute, reason) of the object stands in the status entry and in the log."""
        def missing():
            lines = self.faults()
            return [(name, reason) for name, reason in wanted if not any(line.startswith(f"{dn}: {name}: {reason[:60]}") for line in lines)]
        try:
            poll(lambda: not missing(), what="the faults")
        except AssertionError:
            self.fail(f"{dn}: not in the status entry: {missing()}; there: {self.faults()}")
        log = self.site.log()
        for name, reason in wanted:
            self.assertIn(f"warning config: {dn}: {name}: {reason[:60]}", log)

    def rounds(self, owner):
        """Lists of (attribute, values, reason): every bad value of every attribute once, each attribute once in a list."""
        rows = [(rule.name, rule.bad_values()) for rule in self.of(owner)]
        for number in range(max(len(values) for _, values in rows)):
            now = [(name, *values[number]) for name, values in rows if number < len(values)]
            for at in range(0, len(now), BATCH):
                yield now[at:at + BATCH]

    def try_object(self, owner, dn, in_force):
        before = self.read(dn)
        cases = 0
        for batch in self.rounds(owner):
            values = {name: value if isinstance(value, list) else [value] for name, value, _ in batch}
            self.write(dn, values)
            try:
                self.expect(dn, [(name, reason) for name, _, reason in batch])
                in_force()
            finally:
                self.write(dn, {name: before.get(name, []) for name in values})
            poll(lambda: self.faults() == [], what=f"the cure of {sorted(values)}")
            cases += len(batch)
        self.assertGreater(cases, 0)
        print(f"time: {owner}: {cases} bad values", flush=True)

    # --- the tests
    def test_agent(self):
        self.write(self.site.agent_dn, {"posternImap4ReadLimit": ["4321"]})
        poll(lambda: "4321" in json.dumps(self.setting("posternImap4ReadLimit")["value"]), what="the marker")

        def in_force():
            row = self.setting("posternImap4ReadLimit")
            self.assertIn("4321", json.dumps(row["value"]))
            self.assertEqual(row["source"], "last valid version")
            self.site.imap_client("alice").logout()
        self.try_object("posternInternetAgent", self.site.agent_dn, in_force)

    def test_post_office(self):
        path = f"{self.site.dir}/mail/sales"

        def in_force():
            self.assertIn(f'"{path}"', self.links())
            self.site.imap_client("alice").logout()
            with self.site.smtp_client() as client:
                client.ehlo()
                client.mail("a@elsewhere.example")
                self.assertEqual(client.rcpt("alice@example.org")[0], 250)
        self.try_object("posternPostOffice", self.sales, in_force)

    def test_link(self):
        path = f"{self.site.dir}/mail/sales/"    # as the post office's own, but for the slash
        self.addCleanup(self.write, self.link, {"posternPath": []})
        self.write(self.link, {"posternPath": [path]})
        poll(lambda: f'"{path}"' in self.links(), what="the path of the link")

        def in_force():
            self.assertIn(f'"{path}"', self.links())
            self.site.imap_client("alice").logout()
        self.try_object("posternPostOfficeLink", self.link, in_force)

    def test_post_office_agent(self):
        poll(lambda: '"poa.example"' in self.links(), what="the server")

        def in_force():
            self.assertIn('"poa.example"', self.links())
            self.site.imap_client("alice").logout()
        self.try_object("posternPostOfficeAgent", self.server, in_force)

    def test_class_of_service(self):
        def in_force():
            with self.assertRaises(poplib.error_proto):
                self.site.pop3_client("carol")
            self.site.imap_client("carol").logout()
        self.try_object("posternClassOfService", self.no_pop3, in_force)

    def test_class_that_never_was_valid(self):
        """It prevents, for the members it names."""
        dn = f"cn=Broken,{self.site.agent_dn}"
        self.site.ldap("ldapadd", text=f"dn: {dn}\nobjectClass: posternClassOfService\ncn: Broken\nposternMember: {self.site.user_dn('bob')}\n"
                       "posternPop3Access: perhaps\n\n")
        self.expect(dn, [("posternPop3Access", "perhaps is not one of")])
        with self.assertRaises(poplib.error_proto):
            self.site.pop3_client("bob")
        self.site.pop3_client("alice").quit()
        self.site.ldap("ldapdelete", dn)
        poll(lambda: self.faults() == [], what="the end of the fault")
        self.site.pop3_client("bob").quit()

    def test_pointing_to_nothing(self):
        nothing = f"cn=nothing,{self.site.suffix}"
        before = self.read(self.link)["posternPostOffice"]
        self.write(self.link, {"posternPostOffice": [nothing]})
        self.expect(self.link, [("posternPostOffice", "the post office of the link does not exist: " + nothing)])
        self.site.imap_client("alice").logout()      # without a link: as the post office says
        self.write(self.link, {"posternPostOffice": before})
        poll(lambda: self.faults() == [], what="the cure")
        self.write(self.site.agent_dn, {"posternPostOffice": [self.sales, nothing]})
        self.expect(self.site.agent_dn, [("posternPostOffice", "there is no such post office: " + nothing)])
        self.site.imap_client("alice").logout()      # what it names beside is served
        with self.assertRaises(imaplib.IMAP4.error):
            self.site.imap_client("carol")
        self.write(self.site.agent_dn, {"posternPostOffice": []})
        poll(lambda: self.faults() == [], what="the cure")
        self.site.imap_client("carol").logout()

    def test_missing(self):
        """What an object cannot be without, and of what it says what else it needs: the last valid version stays."""
        for dn, change, wanted in (
                (self.link, {"posternPostOffice": []}, ("posternPostOffice", "is missing")),
                (self.server, {"posternHost": []}, ("posternHost", "is missing")),
                (self.server, {"posternPoaLogin": ["masterUser"]}, ("posternPoaCredentials", "is missing: this way to log in")),
                (self.server, {"posternPoaLogin": ["external"]}, ("posternPoaLogin", "external needs posternTlsCertificate"))):
            with self.subTest(change=change):
                before = self.read(dn)
                self.write(dn, change)
                self.expect(dn, [wanted])
                self.assertIn('"poa.example"', self.links())
                self.site.imap_client("alice").logout()
                self.write(dn, {name: before.get(name, []) for name in change})
                poll(lambda: self.faults() == [], what="the cure")

    def connects(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                return s.recv(1) != b""
        except OSError:
            return False

    def test_no_agent(self):
        """Without its agent object a gateway serves nobody, says so, and writes nowhere; with it everything is as before."""
        site = self.site
        site.ldap("ldapmodify", text=f"dn: {site.agent_dn}\nchangetype: modrdn\nnewrdn: cn=Away\ndeleteoldrdn: 1\n\n")
        try:
            poll(lambda: not self.connects(site.imap) and not self.connects(site.pop3) and not self.connects(site.smtp), what="the closing")
            poll(lambda: f"warning config: {site.agent_dn}: there is no such Internet Agent or Post Office Agent object: all services are off" in site.log(), what="the log")
            self.assertIsNone(self.read(self.status_dn))
        finally:
            away = site.agent_dn.replace("cn=Internet Agent,", "cn=Away,")
            site.ldap("ldapmodify", text=f"dn: {away}\nchangetype: modrdn\nnewrdn: cn=Internet Agent\ndeleteoldrdn: 1\n\n")
        poll(lambda: self.connects(site.imap) and self.connects(site.pop3) and self.connects(site.smtp), what="the opening")
        poll(lambda: self.faults() == [] and self.read(self.status_dn), what="the status entry")

    def test_refused_by_the_directory(self):
        """The schema keeps out what is of the wrong kind, and a second value."""
        objects = {"posternInternetAgent": self.site.agent_dn, "posternPostOffice": self.sales, "posternPostOfficeLink": self.link, "posternPostOfficeAgent": self.server,
                   "posternClassOfService": self.no_pop3, "posternMailUser": self.site.user_dn("bob"), "posternAgentStatus": self.status_dn}
        cases = 0
        for rule in self.rules:
            if rule.owner not in objects:
                continue
            for values, result in rule.refused_values():
                if result == CONSTRAINT and rule.many:
                    continue
                with self.subTest(attribute=rule.name, values=values):
                    self.assertEqual(self.write(objects[rule.owner], {rule.name: values}, check=False), result)
                    cases += 1
        self.assertGreater(cases, 80)
        self.assertEqual(self.faults(), [])

    def outcome(self, user):
        """None of a login, else its response code."""
        try:
            self.site.imap_client(user).logout()
            return None
        except imaplib.IMAP4.error as error:
            return re.search(r"\[.*?\]|$", str(error)).group()

    def test_users(self):
        """A user's attributes are no configuration: the log says it at the login, and nothing else is touched."""
        user = self.site.user_dn("bob")
        nothing = f"cn=nothing,{self.site.suffix}"
        for values, outcome, said in (
                ({"posternMailboxDirectory": ["../alice/Maildir"]}, "[UNAVAILABLE]", "the mailbox directory is not usable"),
                ({"posternMailboxDirectory": ["a\tb"]}, "[UNAVAILABLE]", f"posternMailboxDirectory {TEXT_REASON}"),
                ({"posternPostOffice": [nothing]}, "[UNAVAILABLE]", f"the post office {nothing} is unknown"),
                ({"posternPostOffice": []}, "[UNAVAILABLE]", "the post office (none) is unknown"),
                ({"posternQuota": ["-1"]}, None, "posternQuota -1 is not a number from 0"),
                ({"posternMailAlias": ["a\tb"]}, None, f"posternMailAlias {TEXT_REASON}"),
                ({"posternMailAlias": ["alice@example.org"]}, None, "")):
            with self.subTest(values=values):
                before = self.read(user)
                begun = len(self.site.log())
                self.write(user, values)
                poll(lambda: self.outcome("bob") == outcome and said in self.site.log()[begun:], what=f"{outcome} and {said!r} in the log")
                if values.get("posternMailAlias") == ["alice@example.org"]:
                    poll(lambda: self.outcome("alice@example.org") is not None, what="the refusal of a name of two users")
                    poll(lambda: "alice@example.org" in self.site.log()[begun:], what="the two users in the log")
                self.write(user, {name: before.get(name, []) for name in values})
        poll(lambda: self.outcome("bob") is None, what="bob's login")
        self.assertEqual(self.faults(), [])


if __name__ == "__main__":
    main()
