#!/usr/bin/env python3
"""The samples of contrib/sample and the commands of contrib/editors.md: each sample is loaded, posternctl check finds no fault, and it does what it says."""
import glob
import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import unittest

import directory
import harness
from directory import SUFFIX
from harness import BUILD, SOURCE, poll

SAMPLES = os.path.join(SOURCE, "contrib", "sample")


def sample(name, mail="/srv/mail"):
    with open(os.path.join(SAMPLES, name)) as file:
        return file.read().replace("/srv/mail", mail)


def posternctl(*words, text=None, good=(0,)):
    done = subprocess.run([os.path.join(BUILD, "posternctl"), *words], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode in good, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
    return done.stdout


class FirstSite(unittest.TestCase):
    """Into a directory that has nothing but the schema and the access rules."""

    def test_first_site(self):
        server = directory.Slapd()
        self.addCleanup(server.close)
        words = {"DATABASE": "olcDatabase={1}mdb,cn=config", "GATEWAY": f"cn=gateway,{SUFFIX}", "ADMINS": f"cn=mail admins,{SUFFIX}"}
        for tool, text in (("ldapadd", open(directory.schema_file("postern-openldap.ldif")).read()), ("ldapmodify", directory.filled("openldap-database.ldif", **words)),
                           ("ldapmodify", directory.filled("acl-openldap.ldif", **words))):
            code, said = server.ldap(tool, "-c", text=text, user=server.config_admin)
            self.assertEqual(code, 0, said)
        code, said = server.ldap("ldapadd", text=f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n")
        self.assertEqual(code, 0, said)
        code, said = server.ldap("ldapadd", text=sample("first-site.ldif"))
        self.assertEqual(code, 0, said)
        secret = server.write("secret", "change me\n")
        report = json.loads(posternctl("--json", "check", "--uri", server.uri, "--agent-dn", f"cn=Internet Agent,ou=mail,{SUFFIX}", "--mail-root", "/srv/mail",
                                       "--bind-dn", f"cn=gateway,{SUFFIX}", "--password-file", secret))
        self.assertEqual((report["faults"], report["users"]), ([], 1))
        self.assertGreaterEqual(report["objects"], 2)


class QuickStart(unittest.TestCase):
    def test_pid_of_another(self):
        """A PID file that a power loss has left may name anybody."""
        home = tempfile.mkdtemp(prefix="postern-quickstart-")
        self.addCleanup(shutil.rmtree, home)
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        os.makedirs(os.path.join(home, "slapd"))
        for name in ("posternd.pid", "slapd/slapd.pid"):
            with open(os.path.join(home, name), "w") as file:
                file.write(f"{other.pid}\n")
        subprocess.run([os.path.join(SOURCE, "contrib", "quickstart"), "--dir", home, "--stop"], check=True, timeout=60)
        self.assertIsNone(other.poll(), "it was ended")

    def test_broken_off(self):
        """A beginning that did not come to its end is no obstacle to the next."""
        site = harness.Site()
        self.addCleanup(site.close)
        site.stop()
        os.unlink(os.path.join(site.dir, "slapd", "loaded"))
        site.start()
        self.assertEqual(site.imap_client("alice").noop()[0], "OK")


class Install(unittest.TestCase):
    def test_install(self):
        """What the documentation names is where it says; and it can be taken away again."""
        top = tempfile.mkdtemp(prefix="postern-install-")
        self.addCleanup(shutil.rmtree, top)
        make = lambda target: subprocess.run(["make", "-s", "-C", BUILD, target, f"DESTDIR={top}", "prefix=/usr"], check=True, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.PIPE, timeout=300, env={name: value for name, value in os.environ.items() if "MAKE" not in name})
        files = lambda: {os.path.relpath(os.path.join(at, name), top) for at, _, names in os.walk(top) for name in names}
        make("install")
        installed = files()
        for path in ("sbin/posternd", "bin/posternctl", "lib/systemd/system/posternd.service", "lib/sysusers.d/postern.conf", "share/man/man8/posternd.8",
                     "share/man/man8/posternctl.8", "share/man/man5/postern-schema.5", "share/bash-completion/completions/posternctl", "share/postern/dovecot.conf",
                     "share/postern/phpldapadmin/config.php", "share/postern/phpldapadmin/README.md", "share/postern/phpldapadmin/creation/posternInternetAgent.xml",
                     "share/postern/schema/postern-openldap.ldif", "share/postern/schema/acl-openldap.ldif", "share/postern/schema/aci-389ds.ldif",
                     *(f"share/postern/sample/{name}" for name in os.listdir(SAMPLES) if name != "organisation.ldif")):
            self.assertIn(f"usr/{path}", installed)
        with open(os.path.join(top, "usr/lib/systemd/system/posternd.service")) as file:
            user = re.search("(?m)^User=(.*)$", file.read()).group(1)
        with open(os.path.join(top, "usr/lib/sysusers.d/postern.conf")) as file:
            self.assertRegex(file.read(), f"(?m)^u {user} ")
        make("uninstall")
        self.assertEqual(files(), set())


class InASite(unittest.TestCase):
    """Into the quick start's directory, while posternd runs."""

    def setUp(self):
        self.site = harness.Site()
        self.addCleanup(self.site.close)
        self.mail = os.path.join(self.site.dir, "mail")
        self.password_file = os.path.join(self.site.dir, "credentials", "admin.pw")

    def check(self, *words, text=None, good=(0,)):
        site = self.site
        return json.loads(posternctl("--json", "check", "--uri", site.env["POSTERN_LDAP_URI"], "--agent-dn", site.agent_dn, "--mail-root", self.mail, "--bind-dn",
                                     site.env["POSTERN_ADMIN_DN"], "--password-file", self.password_file, *words, text=text, good=good))

    def load(self, name):
        """Tried first, then loaded, then looked at."""
        text = sample(name, self.mail)
        report = self.check("--ldif", "-", text=text)
        self.assertEqual(report["edit"]["new_faults"], [], name)
        self.assertNotEqual(report["edit"]["changes"], [], name)
        self.site.ldap("ldapmodify" if "changetype" in text else "ldapadd", text=text)
        self.assertEqual(self.check()["faults"], [], name)

    def ctl(self, *words):
        return json.loads(posternctl("--json", "--control", self.site.env["POSTERN_CONTROL"], *words))

    def link(self, name):
        return next((office for office in self.ctl("links")["post_offices"] if office["name"] == name), {})

    def test_samples_are_all_tried(self):
        self.assertEqual({os.path.basename(path) for path in glob.glob(os.path.join(SAMPLES, "*"))},
                         {"organisation.ldif", "first-site.ldif", "dovecot-office.ldif", "classes-of-service.ldif", "switch-to-direct.ldif",
                          "post-office-agent.ldif"})

    def test_dovecot_office(self):
        with open(os.path.join(self.site.dir, "credentials", "dovecot-support"), "w") as file:
            file.write("master\nsecret\n")
        os.chmod(file.name, 0o600)
        self.load("dovecot-office.ldif")
        link = poll(lambda: self.link("Support").get("host") and self.link("Support"), what="the post office")
        self.assertEqual((link["mode"], link["host"], link["port"]), ("clientServer", "imap.support.example.org", "143"))
        self.assertIn("cn=Dovecot", link["host_from"])
        status = self.ctl("status")
        self.assertEqual(status.get("faults"), [], status)

    def test_post_office_agent(self):
        self.load("post-office-agent.ldif")
        link = poll(lambda: self.link("Sales").get("host") and self.link("Sales"), what="the Post Office Agent")
        self.assertEqual((link["mode"], link["host"], link["port"]), ("clientServerAndDirect", "poa.example.org", "143"))
        # as the Post Office Agent itself sees it
        report = json.loads(posternctl("--json", "check", "--uri", self.site.env["POSTERN_LDAP_URI"], "--agent-dn", link["host_from"], "--mail-root", self.mail,
                                       "--bind-dn", f"cn=gateway,{self.site.suffix}", "--password-file", os.path.join(self.site.dir, "credentials", "gateway.pw")))
        self.assertEqual((report["faults"], report["users"]), ([], 4))

    def test_classes_of_service(self):
        self.site.pop3_client("dave").quit()
        self.load("classes-of-service.ldif")

        def refused():
            try:
                self.site.pop3_client("dave").quit()
                return False
            except harness.poplib.error_proto:
                return True
        poll(refused, what="POP3 prevented for the domain")
        self.site.pop3_client("alice").quit()
        said = posternctl("--control", self.site.env["POSTERN_CONTROL"], "access", "bob")
        for name, value, who in (("posternSmtpOutgoingAccess", "prevent", "Trainees"), ("posternPop3Days", "30", "Sales office"),
                                 ("posternImap4UserConnections", "10", "Everybody"), ("posternSmtpIncomingMaxSize", "26214400", "Everybody")):
            self.assertRegex(said, rf"(?m)^ *{name} .*\b{value}\b.*{who}")
        self.assertRegex(posternctl("--control", self.site.env["POSTERN_CONTROL"], "access", "alice"), r"(?m)^ *posternConsoleAccess .*allow.*Console for alice")

    def test_switch_to_direct(self):
        sales = f"cn=Sales,ou=mail,{self.site.suffix}"
        self.site.modify(sales, posternAccessMode="clientServer")
        self.site.ldap("ldapadd", text=f"dn: cn=POA,{sales}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\nposternPort: 9\n\n")
        poll(lambda: self.link("Sales")["mode"] == "clientServer", what="client/server")
        self.load("switch-to-direct.ldif")
        poll(lambda: self.link("Sales")["mode"] == "direct" and self.link("Sales")["path"] == os.path.join(self.mail, "sales"), what="direct access")
        poll(self.login, what="a login")

    def login(self):
        try:
            self.site.imap_client("alice").logout()
            return True
        except harness.imaplib.IMAP4.error:
            return False

    @unittest.skipUnless(shutil.which("ldapvi"), "ldapvi is not installed")
    def test_ldapvi(self):
        home = tempfile.mkdtemp(prefix="postern-ldapvi-")
        self.addCleanup(shutil.rmtree, home)
        with open(self.password_file) as file:
            password = file.read()
        with open(os.path.join(home, ".ldapvirc"), "w") as file:
            file.write(f"profile postern\nhost: {self.site.env['POSTERN_LDAP_URI']}\nuser: {self.site.env['POSTERN_ADMIN_DN']}\npassword: {password}\nbind: simple\n"
                       f"base: {self.site.suffix}\n")
        os.chmod(file.name, 0o600)
        editor = os.path.join(home, "editor")

        environment = {**os.environ, "HOME": home, "EDITOR": editor, "VISUAL": editor, "TERM": "dumb"}

        def ldapvi(*words):
            done = subprocess.run(["ldapvi", "-p", "postern", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                                  env=environment)
            self.assertEqual(done.returncode, 0, done.stdout)
            return done.stdout

        def edit(command, *words):
            """With an editor; ldapvi starts one only at a terminal."""
            with open(editor, "w") as file:
                file.write(f"#!/bin/sh\nfor file; do :; done\n{command}\n")
            os.chmod(editor, 0o755)
            ours, its = pty.openpty()
            try:
                process = subprocess.Popen(["ldapvi", "-p", "postern", "--noquestions", *words], stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
                self.assertEqual(process.wait(60), 0, os.read(ours, 4000))
            finally:
                os.close(its)
                os.close(ours)

        edit(f'cp "$file" {home}/seen; sed -i "s/^posternPop3Threads: .*/posternPop3Threads: 4/" "$file"', "-m", "(objectClass=posternInternetAgent)")
        poll(lambda: re.search(r"posternPop3Threads +4 ", posternctl("--control", self.site.env["POSTERN_CONTROL"], "config")), what="4 threads")
        with open(os.path.join(home, "seen")) as file:
            self.assertRegex(file.read(), r"(?m)^#posternIntruderAttempts", "what is not said is a comment")
        edit(f'cp "$file" {home}/empty; cat >"$file" <<L\n\nadd cn=Research link,{self.site.agent_dn}\nobjectClass: posternPostOfficeLink\ncn: Research link\n'
             f"posternPostOffice: cn=Research,ou=mail,{self.site.suffix}\nposternAccessMode: direct\n\nL", "-A", "-o", "posternPostOfficeLink")
        poll(lambda: self.link("Research")["configured_mode"] == "direct", what="the new link")
        with open(os.path.join(home, "empty")) as file:
            self.assertIn("posternAccessMode", file.read())
        self.assertIn("cn=Sales link", ldapvi("--out", "(|(objectClass=posternPostOfficeLink)(objectClass=posternPostOffice))"))
        self.site.set_agent(posternImap4IdleMinutes=1)
        poll(lambda: "posternImap4IdleMinutes" in ldapvi("--out", "(posternFault=*)", "posternFault"), what="the fault")
        self.site.set_agent(posternImap4IdleMinutes=None)
        with open(os.path.join(home, "sample.ldif"), "w") as file:
            file.write(sample("switch-to-direct.ldif", self.mail))
        ldapvi("--in", "--ldapmodify", file.name)
        poll(lambda: self.link("Sales")["configured_mode"] == "direct", what="the sample")


if __name__ == "__main__":
    harness.main()
