#!/usr/bin/env python3
"""Each line of TRUST in posternd(8): who may write what in a directory with the access rules of schema/, and what the processes open, bind, read and may ask
of the kernel."""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

import directory
import harness
from directory import PASSWORD, SUFFIX
from harness import BUILD, poll
from sample import ADMIN, ADMINS, ALICE, ENTRIES, GATEWAY

AGENT, OFFICE = f"cn=Agent,{SUFFIX}", f"cn=Office,{SUFFIX}"
LIST, STATUS = f"cn=list,{SUFFIX}", f"cn=host,{AGENT}"
BOB = f"uid=bob,{SUFFIX}"
MORE = f"""dn: {BOB}
objectClass: inetOrgPerson
objectClass: posternMailUser
uid: bob
cn: Bob
sn: Example
mail: bob@example.org
posternPostOffice: {OFFICE}
userPassword: {PASSWORD}
"""
# every attribute of a mail user and of a list, with a value that it would take
OF_USERS = (("mail", "boss@example.org"), ("posternMailAlias", "boss@example.org"), ("posternPostOffice", f"cn=Other,{SUFFIX}"),
            ("posternMailboxDirectory", "boss"), ("posternQuota", "0"), ("posternDisabled", "FALSE"), ("posternExpirationTime", "20401231235959Z"))
OF_OBJECTS = ((AGENT, "posternPop3Threads", "5"), (AGENT, "posternTokenKey", "mine.pem"), (AGENT, "posternTrustedGateway", BOB), (AGENT, "description", "x"), (OFFICE, "posternDomain", "evil.example"),
              (OFFICE, "posternPath", "/srv/mail/other"), (f"cn=POA,{OFFICE}", "posternHost", "evil.example"),
              (f"cn=Link,{AGENT}", "posternAccessMode", "direct"), (f"cn=Class,{AGENT}", "posternPop3Access", "allow"),
              (f"cn=Class,{AGENT}", "posternMember", BOB), (LIST, "mail", "boss@example.org"), (LIST, "posternMailAlias", "boss@example.org"))
LINK = "objectClass: posternPostOfficeLink\ncn: new\nposternPostOffice: {office}\n"


class AccessRules:
    """The same for each directory server. The site lets users write their own entries, which the rules of Postern have to withstand."""

    @classmethod
    def tearDownClass(cls):
        if cls.server is not None:
            cls.server.close()

    def modify(self, who, dn, name, value):
        return self.server.ldap("ldapmodify", text=f"dn: {dn}\nchangetype: modify\nreplace: {name}\n{name}: {value}\n", user=who)

    def add(self, who, dn, text):
        return self.server.ldap("ldapadd", text=f"dn: {dn}\n{text}", user=who)

    def refused(self, done, what):
        # 53: the server does not do it at all; 32: it does not even say that there is such an entry
        self.assertIn(done[0], (50, 32, 53), f"{what}: {done[1]}")

    def granted(self, done, what):
        self.assertEqual(done[0], 0, f"{what}: {done[1]}")

    def values(self, who, dn, name):
        return re.findall(rf"^{name}:+ (.*)$", self.server.search("-b", dn, "-s", "base", "(objectClass=*)", name, user=who), re.M | re.I)

    def test_administrators_write_everything(self):
        for name, value in OF_USERS:
            self.granted(self.modify(ADMIN, BOB, name, value), f"{name} of a user")
        for dn, name, value in OF_OBJECTS:
            if dn != LIST:
                before = self.values(ADMIN, dn, name)
                self.granted(self.modify(ADMIN, dn, name, value), f"{name} of {dn}")
                if before:
                    self.granted(self.modify(ADMIN, dn, name, before[0]), f"{name} of {dn}")
        self.granted(self.add(ADMIN, f"cn=new,{AGENT}", LINK.format(office=OFFICE)), "a link")
        self.granted(self.server.ldap("ldapdelete", f"cn=new,{AGENT}", user=ADMIN), "a link")

    def test_users_write_nothing_of_mail(self):
        for name, value in OF_USERS:
            self.refused(self.modify(ALICE, ALICE, name, value), f"{name} of the own entry")
        self.refused(self.modify(BOB, ALICE, "mail", "boss@example.org"), "the address of somebody else")
        for dn, name, value in OF_OBJECTS:
            self.refused(self.modify(ALICE, dn, name, value), f"{name} of {dn}")
        self.refused(self.add(ALICE, f"cn=new,{AGENT}", LINK.format(office=OFFICE)), "a link")
        self.refused(self.server.ldap("ldapdelete", f"cn=Class,{AGENT}", user=ALICE), "a class")
        self.refused(self.modify(ALICE, STATUS, "posternFault", "none"), "the status")
        self.refused(self.server.ldap("ldapmodrdn", "-r", ALICE, "uid=boss", user=ALICE), "another user ID")
        self.refused(self.server.ldap("ldapmodify", text=f"dn: {ALICE}\nchangetype: modify\nadd: uid\nuid: boss\n", user=ALICE), "a second user ID")

    def test_users_keep_what_the_site_gives_them(self):
        self.granted(self.modify(ALICE, ALICE, "sn", "Other"), "the own name")
        self.granted(self.modify(BOB, BOB, "userPassword", PASSWORD), "the own password")

    def test_gateway_writes_nothing_but_its_status(self):
        for name, value in OF_USERS:
            self.refused(self.modify(GATEWAY, ALICE, name, value), f"{name} of a user")
        for name in ("userPassword", "sn"):
            self.refused(self.modify(GATEWAY, ALICE, name, "x"), f"{name} of a user")
        for dn, name, value in OF_OBJECTS:
            self.refused(self.modify(GATEWAY, dn, name, value), f"{name} of {dn}")
        self.refused(self.add(GATEWAY, f"cn=new,{AGENT}", LINK.format(office=OFFICE)), "a link")
        for dn in (f"cn=Class,{AGENT}", f"cn=Link,{AGENT}", ALICE, LIST):
            self.refused(self.server.ldap("ldapdelete", dn, user=GATEWAY), f"deletion of {dn}")
        self.refused(self.add(GATEWAY, f"uid=new,{SUFFIX}", "objectClass: inetOrgPerson\nuid: new\ncn: new\nsn: new\n"), "a person")

    def test_gateway_writes_its_status(self):
        for above in (AGENT, f"cn=POA,{OFFICE}"):
            self.writes_status(f"cn=here,{above}")
        # an entry that looks like a status and is a user, or a second name of one
        self.refused(self.add(GATEWAY, f"cn=user,{AGENT}", "objectClass: posternAgentStatus\nobjectClass: posternMailUser\ncn: user\nuid: boss\n"
                                                           f"mail: boss@example.org\nposternPostOffice: {OFFICE}\n"), "a user that is a status")

    def writes_status(self, dn):
        self.granted(self.add(GATEWAY, dn, "objectClass: posternAgentStatus\ncn: here\nposternVersion: 1\nposternStartTime: 20261231235959Z\n"), "its status")
        for name in ("posternVersion", "posternFault", "posternLinkState"):
            self.granted(self.modify(GATEWAY, dn, name, "two"), f"{name} of its status")
        for name in ("description", "seeAlso"):
            self.assertNotEqual(self.modify(GATEWAY, dn, name, ALICE)[0], 0, f"{name} of its status")
        self.refused(self.server.ldap("ldapmodify", user=GATEWAY, text=f"dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: posternMailUser\n"),
                     "its status as a user")
        self.granted(self.server.ldap("ldapdelete", dn, user=GATEWAY), "its status")

    def test_gateway_reads_what_it_needs(self):
        self.assertEqual(self.values(GATEWAY, AGENT, "posternPop3Threads"), ["10"])
        for dn, name in ((ALICE, "posternPostOffice"), (ALICE, "mail"), (OFFICE, "posternPath"), (f"cn=POA,{OFFICE}", "posternHost"),
                         (f"cn=Link,{AGENT}", "posternAccessMode"), (f"cn=Class,{AGENT}", "posternMember"), (LIST, "member"), (STATUS, "posternVersion")):
            self.assertNotEqual(self.values(GATEWAY, dn, name), [], f"{name} of {dn}")

    def test_nobody_reads_passwords(self):
        self.assertEqual(self.server.search("-b", SUFFIX, "(userPassword=*)", "userPassword", user=GATEWAY).count("userPassword"), 0)
        for who in (GATEWAY, BOB):
            self.assertEqual(self.values(who, ALICE, "userPassword"), [])
        done = self.server.ldap("ldapcompare", ALICE, f"userPassword:{PASSWORD}", user=GATEWAY)
        self.assertNotIn("TRUE", done[1])
        # that it is there, and that alice logs in by it
        self.assertEqual(len(self.values(self.server.admin, ALICE, "userPassword")), 1)
        self.granted(self.server.ldap("ldapwhoami", user=ALICE), "alice")

    def test_nobody_without_a_name_reads_the_objects(self):
        code, said = directory.run("ldapsearch", "-x", "-LLL", "-H", self.server.uri, "-b", SUFFIX, "(|(objectClass=posternInternetAgent)(uid=alice))")
        self.assertNotIn("postern", said)


class OpenLdapRules(AccessRules, unittest.TestCase):
    server = None

    @classmethod
    def setUpClass(cls):
        cls.server = directory.Slapd()
        database = "olcDatabase={1}mdb,cn=config"
        words = {"DATABASE": database, "GATEWAY": GATEWAY, "ADMINS": ADMINS}
        done = cls.server.ldap("ldapadd", "-f", directory.schema_file("postern-openldap.ldif"), user=cls.server.config_admin)
        assert done[0] == 0, done[1]
        done = cls.server.ldap("ldapadd", text=f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n{ENTRIES}\n{MORE}")
        assert done[0] == 0, done[1]
        for name in ("openldap-database.ldif", "acl-openldap.ldif"):
            done = cls.server.ldap("ldapmodify", "-c", user=cls.server.config_admin, text=directory.filled(name, **words))
            assert done[0] == 0, done[1]
        cls.words = words

    def test_objects_are_hidden_from_users(self):
        for dn in (AGENT, OFFICE, f"cn=Class,{AGENT}"):
            self.assertEqual(self.values(ALICE, dn, "cn"), [])

    def test_verifiers(self):
        """authPassword, where it is wanted: for the gateway to read, for nobody else."""
        self.assertNotEqual(self.modify(ADMIN, ALICE, "authPassword", "x")[0], 0)
        done = self.server.ldap("ldapmodify", user=self.server.config_admin, text=directory.filled("scram-openldap.ldif", **self.words))
        self.granted(done, "the rules for SCRAM")
        done = self.server.ldap("ldapmodify", user=ADMIN, text=f"dn: {ALICE}\nchangetype: modify\nadd: objectClass\nobjectClass: authPasswordObject\n-\n"
                                                               "add: authPassword\nauthPassword: SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy\n")
        self.granted(done, "an administrator sets a verifier")
        self.assertEqual(len(self.values(GATEWAY, ALICE, "authPassword")), 1)
        for who in (ADMIN, ALICE, BOB):
            self.assertEqual(self.values(who, ALICE, "authPassword"), [], who)
        self.refused(self.modify(GATEWAY, ALICE, "authPassword", "x"), "the gateway")
        self.refused(self.modify(BOB, ALICE, "authPassword", "x"), "another user")


@unittest.skipUnless(directory.have("ns-slapd", "dscreate"), "389 Directory Server is not installed")
class Ns389Rules(AccessRules, unittest.TestCase):
    server = None

    @classmethod
    def setUpClass(cls):
        cls.server = directory.Ns389()
        # a generous rule of the site
        own = f'dn: {SUFFIX}\nchangetype: modify\nadd: aci\naci: (targetattr="*")(version 3.0; acl "self"; allow (write) userdn="ldap:///self";)\n'
        for tool, text in (("ldapmodify", open(directory.schema_file("postern-389ds.ldif")).read()), ("ldapadd", f"{ENTRIES}\n{MORE}"), ("ldapmodify", own),
                           ("ldapmodify", directory.filled("aci-389ds.ldif", SUFFIX=SUFFIX, GATEWAY=GATEWAY, ADMINS=ADMINS))):
            done = cls.server.ldap(tool, text=text)
            assert done[0] == 0, done[1]


def process_status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class Privileges(unittest.TestCase):
    """posternd as the unit of contrib/ starts it: a user of its own, and the one capability to bind ports."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="postern-trust-")
        self.process = None

    def tearDown(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, *prefix):
        os.chmod(self.dir, 0o755)
        program = shutil.copy(os.path.join(BUILD, "posternd"), self.dir)
        state = os.path.join(self.dir, "state")
        os.mkdir(state, 0o700)
        if prefix:
            os.chown(state, 65534, 65534)
        with open(os.path.join(self.dir, "log"), "w") as log:
            self.process = subprocess.Popen([*prefix, program, "--uri", f"ldap://127.0.0.1:{harness.free_port()}", "--agent-dn", "cn=nobody", "--state-dir", state,
                                             "--mail-root", self.dir], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def child():
            done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], stdout=subprocess.PIPE, text=True)
            pids = done.stdout.split()
            return int(pids[0]) if pids and process_status(pids[0]).get("Seccomp") == "2" else None
        return poll(child, what="the agent")

    def check_agent(self, agent):
        status = process_status(agent)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, f"{name} of the agent")
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        for thread in os.listdir(f"/proc/{agent}/task"):
            status = process_status(f"{agent}/task/{thread}")
            self.assertEqual((int(status["CapEff"], 16), status["NoNewPrivs"], status["Seccomp"]), (0, "1", "2"), f"thread {thread}")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root, to give it up")
    def test_as_the_unit_starts_it(self):
        agent = self.start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_bind_service",
                           "--ambient-caps=-all,+net_bind_service", "--bounding-set=-all,+net_bind_service", "--no-new-privs")
        status = process_status(self.process.pid)
        self.assertEqual({status[name] for name in ("CapPrm", "CapEff", "CapBnd")}, {f"{1 << 10:016x}"})    # CAP_NET_BIND_SERVICE
        self.assertEqual(status["NoNewPrivs"], "1")
        self.check_agent(agent)
        # not dumpable: what is in /proc belongs to root, so that a neighbour with the same user cannot read its memory
        self.assertEqual((os.stat(f"/proc/{agent}/status").st_uid, process_status(agent)["Uid"].split()[0]), (0, "65534"))

    def test_however_it_is_started(self):
        self.check_agent(self.start())

    def test_the_unit_says_so(self):
        with open(os.path.join(harness.SOURCE, "contrib", "posternd.service.in")) as file:
            unit = file.read()
        for line in ("User=postern", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes"):
            self.assertIn(f"\n{line}\n", unit)


class Files(unittest.TestCase):
    """What a whole site opens, binds and connects to while clients work, by strace."""
    CALLS = "open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,symlink,symlinkat,truncate,connect,bind"
    # read by the C library, OpenSSL, libldap and the sanitizers
    SYSTEM = re.compile(r"/(usr|lib|lib64|etc|proc|sys|dev)(/|$)")
    NEVER = re.compile(r"/etc/(g?shadow|sudoers|ssh)|/proc/\d+/mem|/dev/(mem|kmem|sd|nvme)")

    @classmethod
    def setUpClass(cls):
        if shutil.which("strace") is None:
            raise unittest.SkipTest("strace is not installed")
        cls.wrapper = tempfile.mkdtemp(prefix="postern-strace-")
        cls.trace = os.path.join(cls.wrapper, "trace")
        for name in ("posternctl", "schema"):
            os.symlink(os.path.join(BUILD, name), os.path.join(cls.wrapper, name))
        with open(os.path.join(cls.wrapper, "posternd"), "w") as file:
            file.write(f"#!/bin/sh\nexport ASAN_OPTIONS=detect_leaks=0\nexec strace -f -q -y -s 4096 -e signal=none -e trace={cls.CALLS} -o {cls.trace} {BUILD}/posternd \"$@\"\n")
        os.chmod(os.path.join(cls.wrapper, "posternd"), 0o755)
        harness.BUILD, build = cls.wrapper, harness.BUILD
        try:
            cls.site = harness.Site()
        except BaseException:
            shutil.rmtree(cls.wrapper, ignore_errors=True)
            raise
        finally:
            harness.BUILD = build
        try:
            cls.site.set_agent(posternLoginFailureMilliseconds=100)
            cls.work()
            cls.at_work = cls.lines()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def work(cls):
        """What clients do on an ordinary day."""
        cls.site.send(b"Subject: one\r\n\r\nHello\r\n", to=("alice@example.org", "carol@research.example.org"))
        with cls.site.imap_client("alice", tls=True) as client:
            poll(lambda: client.select("INBOX")[1][0] != b"0", what="the message")
            client.fetch("1", "BODY[]")
            client.append("INBOX", None, None, b"Subject: two\r\n\r\nHello\r\n")
            client.create("Kept")
            client.copy("1", "Kept")
        cls.site.pop3_client("bob", tls=True).quit()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()
        shutil.rmtree(cls.wrapper, ignore_errors=True)

    @classmethod
    def lines(cls):
        """(process, call, arguments, result) of the calls that ended well. Calls that another thread interrupted come in two lines."""
        halves, found = {}, []
        with open(cls.trace, errors="replace") as file:
            for line in file:
                pid, _, rest = line.rstrip("\n").partition(" ")
                rest = rest.strip()
                if rest.endswith("<unfinished ...>"):
                    halves[pid] = rest[:-len("<unfinished ...>")]
                    continue
                again = re.match(r"<\.\.\. \w+ resumed>", rest)
                if again:
                    rest = halves.pop(pid, "") + rest[again.end():]
                call = re.match(r"(\w+)\((.*)\) += (-?\d+)(.*)$", rest)
                if call and not call.group(3).startswith("-"):
                    found.append((pid, call.group(1), call.group(2), call.group(4)))
                elif call and call.group(1) == "connect":
                    found.append((pid, "connect", call.group(2), ""))
        return found

    def test_what_is_opened_bound_and_connected(self):
        site, lines = self.site, self.at_work
        supervisor = str(site.pid)
        self.assertGreater(len([line for line in lines if line[0] != supervisor]), 50)
        under = {name: os.path.join(site.dir, name) for name in ("mail", "tls", "state", "credentials")}
        allowed = set()
        for pid, call, words, result in lines:
            if call in ("connect", "bind"):
                continue
            opened = re.match(r"<(.*)>", result)
            paths = [opened.group(1)] if opened else [os.path.join(base, name) for base, name in
                                                      re.findall(r'(?:AT_FDCWD|\d+<([^>]*)>), "([^"]*)"', words)] or re.findall(r'"([^"]*)"', words)
            writes = call not in ("open", "openat", "openat2") or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", words)
            for path in paths:
                path = path.removesuffix("(deleted)").strip()
                allowed.add(self.check_path(pid == supervisor, path, bool(writes), under, f"{call}({words}){result}"))
        # the check sees what there is to see
        self.assertLessEqual({"mail read", "mail written", "state written", "tls read", "credentials read", "system read"}, allowed)
        self.check_network(lines, supervisor)

    def check_path(self, supervisor, path, writes, under, line):
        self.assertIsNone(self.NEVER.match(path), line)
        for name, top in under.items():
            if path == top or path.startswith(top + "/"):
                self.assertFalse(writes and name in ("tls", "credentials"), line)
                self.assertFalse(supervisor and name != "state", f"the supervisor: {line}")
                return f"{name} {'written' if writes else 'read'}"
        if path == os.path.join(self.site.dir, "posternd.pid"):
            self.assertTrue(supervisor, line)
            return "pid file"
        if path in ("/", "/dev/null", "/dev/tty") or re.match(r"(anon_inode|socket|pipe):", path):
            return "nothing"
        self.assertRegex(path, self.SYSTEM, line)
        self.assertFalse(writes and not path.startswith("/proc/self/"), line)
        return "system read"

    def check_network(self, lines, supervisor):
        ports = {value for name, value in self.site.env.items() if name.endswith("_PORT")}
        bound = set()
        for pid, call, words, _ in lines:
            port = re.search(r"sin6?_port=htons\((\d+)\)", words)
            if call == "bind" and port:
                self.assertEqual(pid, supervisor, words)
                bound.add(port.group(1))
            elif call == "connect" and port:
                self.assertNotEqual(pid, supervisor, words)
                self.assertIn(port.group(1), (self.site.env["POSTERN_LDAP_URI"].rpartition(":")[2], "53"), words)
        self.assertEqual(bound, ports)

    # --- what could lead out of a post office
    def refused(self, user, secret_dir):
        before = {name: os.stat(os.path.join(secret_dir, name)).st_mtime_ns for name in os.listdir(secret_dir)}
        with self.assertRaises(harness.imaplib.IMAP4.error):
            self.site.imap_client(user)
        after = {name: os.stat(os.path.join(secret_dir, name)).st_mtime_ns for name in os.listdir(secret_dir)}
        self.assertEqual(before, after)

    def outside(self):
        path = os.path.join(self.site.dir, "outside")
        if not os.path.isdir(path):
            for name in ("cur", "new", "tmp"):
                os.makedirs(os.path.join(path, "Maildir", name), mode=0o700)
            with open(os.path.join(path, "Maildir", "new", "1.M1P1.secret"), "w") as file:
                file.write("Subject: secret\n\nsecret\n")
        return path

    def test_a_mailbox_that_is_a_symbolic_link(self):
        self.site.add_user("eve")
        os.symlink(self.outside(), os.path.join(self.site.dir, "mail", "sales", "eve"))
        self.refused("eve", os.path.join(self.outside(), "Maildir"))

    def test_a_post_office_that_is_a_symbolic_link(self):
        """What it leads to has to hold the marker."""
        office = f"cn=Research,ou=mail,{self.site.suffix}"
        self.site.imap_client("carol").logout()
        path = os.path.join(self.site.dir, "mail", "linked")
        os.symlink(self.outside(), path)
        self.site.modify(office, posternPath=path)

        def refused():
            try:
                self.site.imap_client("carol").logout()
                return False
            except harness.imaplib.IMAP4.error:
                return True
        try:
            poll(refused, what="a refusal: no marker")
            self.assertEqual(os.listdir(self.outside()), ["Maildir"])
            shutil.copy(os.path.join(self.site.dir, "mail", "research", "postern-postoffice"), self.outside())
            poll(lambda: not refused(), 30, what="the post office behind the link")
            self.assertIn("carol", os.listdir(self.outside()))
        finally:
            self.site.modify(office, posternPath=os.path.join(self.site.dir, "mail", "research"))
            os.unlink(os.path.join(self.outside(), "postern-postoffice"))
            shutil.rmtree(os.path.join(self.outside(), "carol"), ignore_errors=True)
        poll(lambda: not refused(), what="the old path")

    def test_a_mailbox_directory_that_climbs(self):
        self.outside()
        for i, path in enumerate(("../../outside/Maildir", "/etc", f"{self.site.dir}/outside/Maildir", "./bob/../../../outside/Maildir")):
            self.site.add_user(f"mallory{i}", posternMailboxDirectory=path)
            self.refused(f"mallory{i}", os.path.join(self.outside(), "Maildir"))

    def test_folders_and_messages_that_are_symbolic_links(self):
        self.site.imap_client("dave").logout()
        maildir = self.site.maildir("dave", "research")
        os.symlink(os.path.join(self.outside(), "Maildir"), os.path.join(maildir, ".Evil"))
        os.symlink(os.path.join(self.outside(), "Maildir", "new", "1.M1P1.secret"), os.path.join(maildir, "new", "2.M2P2.link"))
        with open(os.path.join(maildir, "new", "3.M3P3.real"), "w") as file:
            file.write("Subject: real\n\nreal\n")
        with self.site.imap_client("dave") as client:
            self.assertEqual(client.select("Evil")[0], "NO")
            poll(lambda: client.select("INBOX")[1][0] != b"0", what="the message")
            seen = b""
            for number in range(1, int(client.select("INBOX")[1][0]) + 1):
                kind, data = client.fetch(str(number), "BODY.PEEK[]")
                seen += b"".join(part if isinstance(part, bytes) else part[1] for part in data if part)
        self.assertIn(b"real", seen)
        self.assertNotIn(b"secret", seen)

    # --- what the directory may reach is bounded at the start
    def fault(self, word):
        return poll(lambda: re.search(rf"^posternFault: .*{word}.*$", self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", self.site.agent_dn,
                                                                                     "(posternFault=*)", "posternFault").stdout, re.M), what=f"the fault of {word}").group(0)

    def test_ports_that_are_not_allowed(self):
        before = self.site.pop3
        self.site.set_agent(posternPop3Port=111)
        self.fault("posternPop3Port")
        self.assertFalse([line for line in self.lines() if line[1] == "bind" and "htons(111)" in line[2]])
        self.site.pop3_client("alice").quit()
        self.site.set_agent(posternPop3Port=before)

    def test_files_outside_their_folders(self):
        for value in ("../credentials/admin", "/etc/passwd"):
            self.site.set_agent(posternTlsCertificate=value)
            self.fault("posternTlsCertificate")
            self.site.imap_client("alice", tls=True).logout()
        self.site.set_agent(posternTlsCertificate="server.pem")
        office = f"cn=Research,ou=mail,{self.site.suffix}"
        self.site.modify(office, posternPath="/etc")
        self.fault("posternPath")
        self.site.modify(office, posternPath=os.path.join(self.site.dir, "mail", "research"))
        agent = f"cn=POA,{office}"
        self.site.ldap("ldapadd", text=f"dn: {agent}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\nposternPoaLogin: masterUser\n"
                                       "posternPoaCredentials: ../tls/server.key\n\n")
        self.fault("posternPoaCredentials")
        self.site.ldap("ldapdelete", agent)
        self.assertFalse([line for line in self.lines() if re.search(r"/credentials/admin>", line[3])])

    def test_every_agent_is_confined(self):
        old = self.site.agent_pid()
        harness.kill(old)
        new = poll(lambda: self.site.agent_pid() not in (None, old) and self.site.agent_pid(), what="a new agent")
        poll(lambda: process_status(new).get("Seccomp") == "2", what="its filter")
        self.site.imap_client("alice").logout()


if __name__ == "__main__":
    harness.main()
