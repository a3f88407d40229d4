#!/usr/bin/env python3
"""The status entry that a gateway writes under its agent object: what it says, when it is written, what its access rules allow."""
import os
import re
import socket
import statistics
import subprocess
import time
import unittest

import directory
from harness import BUILD, Site, kill, main, poll


class Status(unittest.TestCase):
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)
        self.dn = f"cn={re.sub('[^A-Za-z0-9._-]', '-', socket.gethostname())},{self.site.agent_dn}"

    def entry(self, dn=None):
        """Attribute -> list of values; None if the entry is not there."""
        done = self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn or self.dn, check=False)
        if done.returncode != 0:
            return None
        found = {}
        for line in done.stdout.splitlines():
            name, colon, value = line.partition(": ")
            if colon:
                found.setdefault(name, []).append(value)
        return found

    def faults(self):
        entry = self.entry()
        return entry.get("posternFault", []) if entry else []

    def seconds_until(self, condition, what):
        """The time of the edit before is that of its ldapmodify's end, which the searches' own start makes only longer."""
        began = time.monotonic()
        poll(condition, what=what)
        return time.monotonic() - began

    def test_what_it_says(self):
        site = self.site
        poll(self.entry, what="the status entry")
        entry = self.entry()
        self.assertEqual(entry["objectClass"], ["posternAgentStatus"])
        self.assertRegex(entry["posternVersion"][0], r"^\d+\.\d+")
        self.assertRegex(entry["posternStartTime"][0], r"^20\d{12}Z$")
        self.assertRegex(entry["posternChangeTime"][0], r"^20\d{12}Z$")
        self.assertNotIn("posternFault", entry)
        links = entry["posternLinkState"]
        self.assertTrue(any(line.lower().startswith(f"cn=sales,ou=mail,{site.suffix}: direct {site.dir}/mail/sales, since 20") for line in links), links)

    def test_fault_comes_and_goes_within_a_second(self):
        site = self.site
        poll(self.entry, what="the status entry")
        took = []
        for round in range(4):
            site.set_agent(posternPop3Threads="0")
            took.append(self.seconds_until(lambda: any("posternPop3Threads: 0 is not a number from 1 to 1000" in line for line in self.faults()),
                                           "the fault in the entry"))
            site.set_agent(posternPop3Threads="7")
            took.append(self.seconds_until(lambda: self.faults() == [], "the cure in the entry"))
        self.assertLess(statistics.median(took), 1, took)    # a machine may be busy for a moment
        print(f"time of a fault until it stands in the entry: at most {max(took) * 1000:.0f} ms", flush=True)

    def test_it_changes_nothing(self):
        """It is written rarely, and its writes are no changes of the configuration: not even of what the watch makes of a change that it is
        not told about."""
        site = self.site
        poll(self.entry, what="the status entry")
        first, serial, began = self.stamp(), self.serial(), time.monotonic()
        number = 0
        while time.monotonic() < began + 3:
            number += 1
            site.modify(f"cn=No POP3,{site.agent_dn}", posternPop3Days=str(number % 30 + 1))
        site.set_agent(posternImap4ReadLimit="4321")
        poll(lambda: "4321" in self.ctl("config"), what="the last edit's effect")
        self.assertGreater(self.serial(), serial + 2)
        stamp = self.stamp()
        if time.monotonic() - began < 5:    # it is written each ten seconds at most
            self.assertEqual(stamp, first)
        serial = self.serial()
        poll(lambda: self.stamp() != first, what="the write of the last change")
        stamps = set()
        end = time.monotonic() + 7
        while time.monotonic() < end:
            self.assertEqual(self.serial(), serial)
            stamps.add(self.stamp())
        self.assertLessEqual(len(stamps), 2)

    def stamp(self):
        done = self.site.ldap("ldapsearch", "-LLL", "-s", "base", "-b", self.dn, "entryCSN", check=False)
        return re.search("entryCSN: (.*)", done.stdout).group(1)

    def serial(self):
        return int(re.search(r"snapshot\W+(\d+)", self.ctl("status")).group(1))

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "posternctl"), "--control", os.path.join(self.site.dir, "state", "control"), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def test_it_goes_with_the_gateway(self):
        poll(self.entry, what="the status entry")
        kill(self.site.pid, 15)
        poll(lambda: self.entry() is None, what="its end")

    def restart_slapd(self):
        site = self.site
        site.kill_slapd()
        poll(lambda: "cannot be followed" in site.log(), what="the loss in the log")
        site.start_slapd()

    def test_it_comes_again_after_a_crash_of_the_directory(self):
        poll(self.entry, what="the status entry")
        self.site.ldap("ldapdelete", self.dn)
        self.restart_slapd()
        poll(self.entry, what="the entry, made anew")

    def test_several_gateways_with_one_agent(self):
        """Each has an entry by the name of its host, and leaves those of the others alone."""
        site = self.site
        poll(self.entry, what="the status entry")
        own_host = ["unshare", "-U", "-r", "-u", "sh", "-c", 'hostname second.example && exec "$@"', "sh"]
        if subprocess.run([*own_host, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("a host name of its own cannot be given to a process here")
        os.mkdir(f"{site.dir}/second")
        command = [os.path.join(BUILD, "tests", "e2e", "config_driver"), site.env["POSTERN_LDAP_URI"], site.agent_dn, f"{site.dir}/second", f"{site.dir}/mail",
                   f"cn=gateway,{site.suffix}", f"{site.dir}/credentials/gateway.pw"]
        with subprocess.Popen([*own_host, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as second:
            dn = f"cn=second.example,{site.agent_dn}"
            poll(lambda: self.entry(dn), what="the entry of the second gateway")
            site.set_agent(posternPop3Threads="0")
            poll(lambda: self.faults() and "posternFault" in self.entry(dn), what="the fault in both")
            second.stdin.close()
            poll(lambda: self.entry(dn) is None, what="the end of the second entry")
        self.assertTrue(self.faults())

    def gateway(self, tool, text):
        """The result of a tool that binds as the gateway."""
        site = self.site
        with open(f"{site.dir}/credentials/gateway.pw") as file:
            password = file.readline().strip()
        return subprocess.run([tool, "-x", "-H", site.env["POSTERN_LDAP_URI"], "-D", f"cn=gateway,{site.suffix}", "-w", password], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True).returncode

    def test_gateway_writes_nothing_else(self):
        site = self.site
        poll(self.entry, what="the status entry")
        agent, office, user = site.agent_dn, f"cn=Sales,ou=mail,{site.suffix}", site.user_dn("alice")
        denied = 50
        for dn, attribute, value in (
                (agent, "posternPop3Threads", "3"), (agent, "description", "x"), (office, "posternPath", "/tmp"), (office, "description", "x"),
                (f"cn=No POP3,{agent}", "posternPop3Access", "allow"), (user, "mail", "x@example.org"), (user, "userPassword", "x"),
                (user, "posternPostOffice", office), (user, "description", "x"), (site.suffix, "description", "x"),
                (f"cn=gateway,{site.suffix}", "description", "x")):
            with self.subTest(dn=dn, attribute=attribute):
                self.assertEqual(self.gateway("ldapmodify", f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n\n"), denied)
        for name, text in {
                "class": f"dn: cn=own,{agent}\nobjectClass: posternClassOfService\ncn: own\n",
                "link": f"dn: cn=own,{agent}\nobjectClass: posternPostOfficeLink\ncn: own\nposternPostOffice: {office}\n",
                "elsewhere": f"dn: cn=own,{site.suffix}\nobjectClass: posternAgentStatus\ncn: own\n",
                "under a post office": f"dn: cn=own,{office}\nobjectClass: posternAgentStatus\ncn: own\n",
                "a user": f"dn: cn=own,{agent}\nobjectClass: person\ncn: own\nsn: own\n",
                "a status that is a user": f"dn: cn=own,{agent}\nobjectClass: posternAgentStatus\nobjectClass: posternMailUser\ncn: own\nuid: own\n",
                "a status with a password": f"dn: cn=own,{agent}\nobjectClass: posternAgentStatus\nobjectClass: simpleSecurityObject\ncn: own\nuserPassword: x\n",
        }.items():
            with self.subTest(add=name):
                self.assertEqual(self.gateway("ldapadd", text + "\n"), denied)
        for dn in (f"cn=No POP3,{agent}", office, user):
            with self.subTest(delete=dn):
                self.assertEqual(self.gateway("ldapmodify", f"dn: {dn}\nchangetype: delete\n\n"), denied)
        for dn, parent in ((self.dn, site.suffix), (self.dn, office), (f"cn=No POP3,{agent}", agent)):
            with self.subTest(move=dn, to=parent):
                text = f"dn: {dn}\nchangetype: modrdn\nnewrdn: cn=moved\ndeleteoldrdn: 1\nnewsuperior: {parent}\n\n"
                self.assertEqual(self.gateway("ldapmodify", text), denied)
        # what it may do, so that the refusals above are not those of a wrong password
        self.assertEqual(self.gateway("ldapmodify", f"dn: {self.dn}\nchangetype: modify\nreplace: posternVersion\nposternVersion: x\n\n"), 0)
        # nor do users see it
        alice = subprocess.run(["ldapsearch", "-x", "-H", site.env["POSTERN_LDAP_URI"], "-D", user, "-w", site.env["POSTERN_PASSWORD"], "-LLL",
                                "-b", agent, "(objectClass=posternAgentStatus)"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertNotIn("posternVersion", alice.stdout)

    def rules(self, text):
        site = self.site
        subprocess.run(["ldapmodify", "-x", "-H", site.env["POSTERN_LDAP_URI"], "-D", "cn=admin,cn=config", "-y", f"{site.dir}/credentials/admin.pw"],
                       input=f"dn: olcDatabase={{1}}mdb,cn=config\nchangetype: modify\n{text}\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=True)

    def test_denied(self):
        """A directory that refuses the entry: said once, and everything else goes on; what is allowed later is done after a reconnect."""
        site = self.site
        poll(self.entry, what="the status entry")
        gateway = f"cn=gateway,{site.suffix}"
        self.rules("add: olcAccess\nolcAccess: {0}to filter=(|(objectClass=posternAgentStatus)(objectClass=posternInternetAgent)) "
                   f"by dn.exact=\"{gateway}\" read by * break\n")
        site.set_agent(posternPop3Threads="0")
        poll(lambda: "is not written" in site.log(), what="the refusal in the log")
        for value, words in (("1", "no longer:"), ("0", ": 0 is not a number"), ("2", "no longer:"), ("0", ": 0 is not a number"), ("9", "no longer:")):
            said = len(site.log())
            site.set_agent(posternPop3Threads=value)
            poll(lambda: words in site.log()[said:], what=f"{words} in the log")
        self.assertEqual(site.imap_client("alice").noop()[0], "OK")
        warnings = [line for line in site.log().splitlines() if "is not written" in line]
        self.assertEqual(len(warnings), 1, warnings)
        self.assertIn("ten minutes", warnings[0])
        self.rules("delete: olcAccess\nolcAccess: {0}\n")
        self.restart_slapd()
        poll(lambda: "is written again" in site.log(), what="the writing after the reconnect")
        poll(lambda: self.faults() == [] and self.entry(), what="the entry")


@unittest.skipUnless(directory.have("ns-slapd", "dscreate"), "389 Directory Server is not installed")
class Status389(unittest.TestCase):
    """The same under the access rules for 389 Directory Server, with config_driver as the gateway."""

    def setUp(self):
        self.server = directory.Ns389()
        self.addCleanup(self.server.close)
        server, suffix = self.server, directory.SUFFIX
        self.gateway = f"cn=gateway,{suffix}"
        self.agent = f"cn=Internet Agent,{suffix}"
        self.dn = f"cn={re.sub('[^A-Za-z0-9._-]', '-', socket.gethostname())},{self.agent}"
        self.must(server.ldap("ldapmodify", "-f", directory.schema_file("postern-389ds.ldif")))
        self.must(server.ldap("ldapadd", text=f"""dn: {self.gateway}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: gateway
userPassword: {directory.PASSWORD}

dn: cn=mail admins,{suffix}
objectClass: groupOfNames
cn: mail admins
member: {server.admin}

dn: {self.agent}
objectClass: posternInternetAgent
cn: Internet Agent

dn: cn=Sales,{suffix}
objectClass: posternPostOffice
cn: Sales
posternPath: /srv/mail/sales

dn: cn=Everyone,{self.agent}
objectClass: posternClassOfService
cn: Everyone

dn: uid=alice,{suffix}
objectClass: inetOrgPerson
objectClass: posternMailUser
uid: alice
cn: Alice
sn: A
mail: alice@example.org
"""))
        self.must(server.ldap("ldapmodify", text=directory.filled("aci-389ds.ldif", SUFFIX=suffix, GATEWAY=self.gateway,
                                                                  ADMINS=f"cn=mail admins,{suffix}")))
        server.offer_sync()
        server.write("gateway.pw", directory.PASSWORD + "\n")
        os.mkdir(server.path("state"))
        log = open(server.path("driver.log"), "ab")
        self.addCleanup(log.close)
        self.driver = subprocess.Popen([os.path.join(BUILD, "tests", "e2e", "config_driver"), server.uri, self.agent, server.path("state"), "/srv/mail",
                                        self.gateway, server.path("gateway.pw")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        self.addCleanup(self.end)

    def end(self):
        if not self.driver.stdin.closed:
            self.driver.stdin.close()
        return self.driver.wait(30)

    def must(self, done):
        self.assertEqual(done[0], 0, done[1])

    def entry(self):
        code, said = self.server.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", self.dn)
        return said if code == 0 else None

    def set_agent(self, value):
        self.must(self.server.ldap("ldapmodify", text=f"dn: {self.agent}\nchangetype: modify\nreplace: posternPop3Threads\nposternPop3Threads: {value}\n"))

    def as_gateway(self, tool, text):
        return self.server.ldap(tool, text=text, user=self.gateway)[0]

    def test_status(self):
        try:
            poll(self.entry, what="the status entry")
        except AssertionError:
            with open(self.server.path("driver.log")) as file:
                self.fail(file.read()[-3000:])
        for _ in range(2):
            self.set_agent("0")
            poll(lambda: "posternPop3Threads: 0 is not a number" in self.entry(), what="the fault in the entry")
            self.set_agent("5")
            poll(lambda: "posternFault" not in self.entry(), what="the cure in the entry")
        for dn, attribute, value in ((self.agent, "posternPop3Threads", "3"), (f"cn=Sales,{directory.SUFFIX}", "posternPath", "/tmp"),
                                     (f"cn=Everyone,{self.agent}", "posternPop3Access", "allow"), (f"uid=alice,{directory.SUFFIX}", "mail", "x@y.example"),
                                     (f"uid=alice,{directory.SUFFIX}", "description", "x"), (self.gateway, "userPassword", "x")):
            with self.subTest(dn=dn, attribute=attribute):
                self.assertEqual(self.as_gateway("ldapmodify", f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"), 50)
        for name, text in {
                "class": f"dn: cn=own,{self.agent}\nobjectClass: posternClassOfService\ncn: own\n",
                "link": f"dn: cn=own,{self.agent}\nobjectClass: posternPostOfficeLink\ncn: own\n",
                "a user": f"dn: cn=own,{self.agent}\nobjectClass: person\ncn: own\nsn: own\n",
                "a status that is a user": f"dn: cn=own,{self.agent}\nobjectClass: posternAgentStatus\nobjectClass: posternMailUser\ncn: own\nuid: own\n",
                "a status with a password": f"dn: cn=own,{self.agent}\nobjectClass: posternAgentStatus\nobjectClass: simpleSecurityObject\ncn: own\n"
                                            "userPassword: x\n"}.items():
            with self.subTest(add=name):
                self.assertEqual(self.as_gateway("ldapadd", text), 50)
        for dn in (f"cn=Everyone,{self.agent}", f"cn=Sales,{directory.SUFFIX}", f"uid=alice,{directory.SUFFIX}"):
            with self.subTest(delete=dn):
                self.assertEqual(self.as_gateway("ldapmodify", f"dn: {dn}\nchangetype: delete\n"), 50)
        self.assertEqual(self.as_gateway("ldapmodify", f"dn: {self.dn}\nchangetype: modify\nreplace: posternVersion\nposternVersion: x\n"), 0)
        self.assertEqual(self.end(), 0)
        self.assertIsNone(self.entry())


if __name__ == "__main__":
    main()
