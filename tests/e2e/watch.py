#!/usr/bin/env python3
"""The configuration followed in a real slapd: every class added, changed, renamed and deleted; values that are not valid; slapd killed, stopped and
away; users, rights and passwords. Drives config_driver. Prints the latency of a change."""
import os
import re
import signal
import subprocess
import sys
import time

import directory
from directory import SUFFIX, PASSWORD, Checks, Slapd, poll

checks = Checks()
check = checks.check
MAIL = f"ou=mail,{SUFFIX}"
AGENT = f"cn=Internet Agent,{MAIL}"
GATEWAY = f"cn=gateway,{SUFFIX}"
ADMINS = f"cn=mail admins,{SUFFIX}"
START = f"""dn: {SUFFIX}
objectClass: domain
dc: example

dn: {GATEWAY}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: gateway
userPassword: {PASSWORD}

dn: {ADMINS}
objectClass: groupOfNames
cn: mail admins
member: {GATEWAY}

dn: {MAIL}
objectClass: organizationalUnit
ou: mail

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: {AGENT}
objectClass: posternInternetAgent
cn: Internet Agent
posternPop3Threads: 7

dn: cn=Sales,{MAIL}
objectClass: posternPostOffice
cn: Sales
posternDomain: Example.org
posternAccessMode: direct
posternPath: /srv/mail/sales
posternMailboxTemplate: %1u/%u

dn: cn=Research,{MAIL}
objectClass: posternPostOffice
cn: Research
posternDomain: research.example.org
posternPath: /srv/mail/research

dn: uid=alice,ou=people,{SUFFIX}
objectClass: inetOrgPerson
objectClass: posternMailUser
uid: alice
cn: Alice
sn: A
mail: Alice@example.org
posternMailAlias: a.b@example.org
posternPostOffice: CN=sales, {MAIL}
userPassword: alicepw

dn: uid=bob,ou=people,{SUFFIX}
objectClass: inetOrgPerson
objectClass: posternMailUser
uid: bob
cn: Bob
sn: B
mail: bob@research.example.org
posternPostOffice: cn=Research,{MAIL}
userPassword: bobpw

dn: cn=inner,ou=people,{SUFFIX}
objectClass: groupOfNames
cn: inner
member: uid=bob,ou=people,{SUFFIX}

dn: cn=outer,ou=people,{SUFFIX}
objectClass: groupOfNames
cn: outer
member: cn=inner,ou=people,{SUFFIX}
member: cn=outer,ou=people,{SUFFIX}
"""


class Driver:
    def __init__(self, server, state, *more, uris=None, env=None):
        program = os.path.join(directory.BUILD, "tests", "e2e", "config_driver")
        self.log_path = server.path("driver.log")
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([program, uris or (server.ldapi if "external" in more else server.uri), AGENT, state, "/srv/mail", GATEWAY, server.path("gateway.pw"), *more],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, **(env or {})})

    def said(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        while True:
            line = self.process.stdout.readline()
            if line in ("", ".\n"):
                return "".join(lines)
            lines.append(line)

    def until(self, pattern, seconds=60, command="show"):
        """The answer once it matches, or the last one."""
        answer = ""

        def look():
            nonlocal answer
            answer = self.ask(command)
            return re.search(pattern, answer, re.M | re.S)
        return bool(poll(look, seconds)), answer

    def expect(self, name, pattern, seconds=60, command="show"):
        good, answer = self.until(pattern, seconds, command)
        return check(name, good, f"no {pattern!r} in:\n{answer}")

    def end(self):
        self.process.stdin.close()
        code = self.process.wait()
        self.log.close()
        return code


def prepare(server):
    before = checks.failed
    code, said = server.ldap("ldapadd", "-f", directory.schema_file("postern-openldap.ldif"), user=server.config_admin)
    check("schema", code == 0, said)
    text = directory.filled("openldap-database.ldif", DATABASE="olcDatabase={1}mdb,cn=config", GATEWAY=GATEWAY)
    code, said = server.ldap("ldapmodify", "-c", user=server.config_admin, text=text)
    check("database settings", code == 0, said)
    code, said = server.ldap("ldapadd", text=START)
    check("entries", code == 0, said)
    if checks.failed > before:
        checks.end()
    server.write("gateway.pw", PASSWORD + "\n")
    os.mkdir(server.path("state"))


def modify(server, dn, text, user=None, password=PASSWORD):
    code, said = server.ldap("ldapmodify", text=f"dn: {dn}\nchangetype: modify\n{text}\n", user=user, password=password)
    return code, said


def add(server, dn, text):
    code, said = server.ldap("ldapadd", text=f"dn: {dn}\n{text}\n")
    check(f"add {dn}", code == 0, said)


def test_objects(server, d):
    d.expect("first snapshot", r"cache=0 threads=7 .*office name=Sales mode=3 path=/srv/mail/sales template=%1u/%u separator=\. .*domains=example.org")
    d.expect("no mode, but a path", r"office name=Research mode=1 path=/srv/mail/research template=%u/Maildir")
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 8")
    d.expect("agent changed", r"threads=8 ")
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 0\n-\nreplace: posternPop3Enabled\nposternPop3Enabled: FALSE")
    d.expect("out of range: all of the object stays, with a fault", r"threads=8 pop3=1 .*faults=1.*fault .*\|posternPop3Threads\|0 is not a number")
    modify(server, f"cn=Sales,{MAIL}", "replace: posternPath\nposternPath: /srv/mail/sales2")
    d.expect("other objects move on meanwhile", r"threads=8 .*path=/srv/mail/sales2")
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 9")
    d.expect("repaired", r"threads=9 pop3=0 .*faults=0")
    modify(server, AGENT, "replace: posternPop3Tls\nposternPop3Tls: maybe")
    d.expect("unknown word", r"tls=1 .*posternPop3Tls\|maybe is not one of disabled enabled required")
    modify(server, AGENT, "replace: posternPop3Tls\nposternPop3Tls: required\n-\nreplace: posternPop3Port\nposternPop3Port: 111")
    d.expect("port below 1024", r"tls=1 .*posternPop3Port\|the port is below 1024")
    modify(server, AGENT, "replace: posternPop3Port\nposternPop3Port: 110")
    d.expect("allowed port", r"tls=2 .*faults=0")
    modify(server, f"cn=Sales,{MAIL}", "replace: posternPath\nposternPath: /srv/mail/../../etc")
    d.expect("path with ..", r"path=/srv/mail/sales2.*posternPath\|the path holds a part")
    modify(server, f"cn=Sales,{MAIL}", "replace: posternPath\nposternPath: /srv/mailother")
    d.expect("path outside", r"path=/srv/mail/sales2.*posternPath\|the path is outside the mail root")
    modify(server, f"cn=Sales,{MAIL}", "replace: posternPath\nposternPath: /srv/mail/sales\n-\nreplace: posternSeparator\nposternSeparator: /")
    d.expect("path good again", r"path=/srv/mail/sales .*separator=/.*")


def test_links(server, d):
    link = f"cn=Sales link,{AGENT}"
    add(server, link, f"objectClass: posternPostOfficeLink\ncn: Sales link\nposternPostOffice: cn=SALES,  {MAIL}\nposternPath: /srv/mail/mapped")
    d.expect("link overrides the path", r"office name=Sales mode=3 path=/srv/mail/mapped")
    modify(server, link, "replace: posternAccessMode\nposternAccessMode: clientServer")
    d.expect("client/server without a Post Office Agent", r"office name=Sales mode=2 path=- .*fault cn=Sales link.*posternHost\|there is no Post Office Agent")
    modify(server, link, "replace: posternAccessMode\nposternAccessMode: current\n-\nreplace: posternPostOffice\nposternPostOffice: cn=Nowhere,dc=example,dc=org")
    d.expect("link to nowhere", r"path=/srv/mail/sales .*fault cn=Sales link.*does not exist")
    server.ldap("ldapdelete", link)
    d.expect("link deleted", r"faults=0.*path=/srv/mail/sales ")
    modify(server, AGENT, f"add: posternPostOffice\nposternPostOffice: cn=Research,{MAIL}")
    check("only the named post office", poll(lambda: "name=Sales" not in d.ask("show")) and "name=Research" in d.ask("show"), d.ask("show"))
    modify(server, AGENT, "delete: posternPostOffice")
    d.expect("all again", r"name=Sales")


def test_renames(server, d):
    server.ldap("ldapmodrdn", "-r", f"cn=Research,{MAIL}", "cn=Science")
    d.expect("post office renamed", r"office name=Science mode=1 path=/srv/mail/research")
    d.expect("its user follows no rename", r"user id=bob office=- ", command="find bob")
    modify(server, f"uid=bob,ou=people,{SUFFIX}", f"replace: posternPostOffice\nposternPostOffice: cn=Science,{MAIL}")
    d.expect("user on the renamed post office", r"user id=bob office=Science mailbox=bob/Maildir", command="find bob")
    server.ldap("ldapmodrdn", "-r", f"cn=Science,{MAIL}", "cn=Research")
    modify(server, f"uid=bob,ou=people,{SUFFIX}", f"replace: posternPostOffice\nposternPostOffice: cn=Research,{MAIL}")
    d.expect("and back", r"user id=bob office=Research", command="find bob")
    server.ldap("ldapmodrdn", "-r", AGENT, "cn=Other Agent")
    d.expect("agent renamed: services off", r"pop3=0 .*there is no such Internet Agent")
    modify(server, f"cn=Other Agent,{MAIL}", "replace: posternPop3Enabled\nposternPop3Enabled: TRUE")
    server.ldap("ldapmodrdn", "-r", f"cn=Other Agent,{MAIL}", "cn=Internet Agent")
    d.expect("agent back", r"threads=9 pop3=1 .*faults=0")
    # The container is not watched, and its children are told nothing: found out within seconds.
    server.ldap("ldapmodrdn", "-r", MAIL, "ou=post")
    d.expect("container renamed", r"pop3=0 .*there is no such Internet Agent")
    server.ldap("ldapmodrdn", "-r", f"ou=post,{SUFFIX}", "ou=mail")
    d.expect("container back", r"threads=9 pop3=1 .*faults=0")


def test_office_lifecycle(server, d):
    dn = f"cn=Third,{MAIL}"
    add(server, dn, "objectClass: posternPostOffice\ncn: Third\nposternPath: relative")
    d.expect("never valid: absent, with a fault", r"faults=1.*fault cn=Third.*not absolute")
    check("absent", "name=Third" not in d.ask("show"))
    modify(server, dn, "replace: posternPath\nposternPath: /srv/mail/third\n-\nadd: posternDomain\nposternDomain: example.org")
    d.expect("domain claimed twice", r"office name=Third .*domains=\n?.*fault cn=Third.*example.org is served by another post office|fault cn=Sales.*example.org is served")
    server.ldap("ldapdelete", dn)
    check("deleted", poll(lambda: "Third" not in d.ask("show")), d.ask("show"))


def test_users(server, d):
    d.expect("user by ID, any case", r"user id=alice office=Sales mailbox=a/alice .*addresses=alice@example.org,a.b@example.org", command="find ALICE")
    d.expect("user by address", r"user id=alice ", command="find alice@example.org")
    d.expect("user by alias", r"user id=alice ", command="find A.B@example.org")
    for name in ("nobody", "al*", "*", "alice)(uid=*", "", "alice\\2a"):
        check(f"no user {name!r}", d.ask(f"find {name}").startswith("no not found"), d.ask(f"find {name}"))
    check("password", d.ask("verify alice alicepw") == "verified\n")
    check("bad password", d.ask("verify alice nope").startswith("refused authentication"), d.ask("verify alice nope"))
    check("empty password", d.ask("verify alice ").startswith("refused authentication: empty"), d.ask("verify alice "))
    answer = d.ask("storm alice alicepw")
    check("many threads at once", answer == "storm good=1000 refused=1000\n", answer)
    alice = f"uid=alice,ou=people,{SUFFIX}"
    modify(server, alice, "replace: posternDisabled\nposternDisabled: TRUE")
    d.expect("disabled", r"disabled=1", command="find alice")
    modify(server, alice, "replace: posternDisabled\nposternDisabled: FALSE\n-\nreplace: posternExpirationTime\nposternExpirationTime: 20200101000000Z")
    d.expect("expired", r"disabled=1", command="find alice")
    modify(server, alice, "replace: posternExpirationTime\nposternExpirationTime: 20990101000000Z")
    d.expect("not yet expired", r"disabled=0", command="find alice")
    modify(server, alice, "replace: posternMailboxDirectory\nposternMailboxDirectory: ../../etc")
    d.expect("mailbox out of the post office", r"id=alice office=- mailbox= ", command="find alice")
    modify(server, alice, "replace: posternMailboxDirectory\nposternMailboxDirectory: special/alice")
    d.expect("mailbox of its own", r"office=Sales mailbox=special/alice ", command="find alice")
    modify(server, alice, "delete: posternMailboxDirectory")
    modify(server, f"uid=bob,ou=people,{SUFFIX}", "add: posternMailAlias\nposternMailAlias: alice")
    d.expect("two users for a name", "more than one user", command="find alice")
    modify(server, f"uid=bob,ou=people,{SUFFIX}", "delete: posternMailAlias")
    add(server, f"cn=evil,ou=people,{SUFFIX}", f"objectClass: inetOrgPerson\nobjectClass: posternMailUser\ncn: evil\nsn: e\nuid: ../alice\nmail: evil@example.org\nposternPostOffice: cn=Sales,{MAIL}")
    check("hostile user ID", d.ask("find evil@example.org").startswith("no not found"), d.ask("find evil@example.org"))


def test_classes(server, d):
    def put(name, *lines):
        add(server, f"cn={name},{AGENT}", f"objectClass: posternClassOfService\ncn: {name}\n" + "\n".join(lines))

    def drop(*names):
        for name in names:
            server.ldap("ldapdelete", f"cn={name},{AGENT}")
        d.expect("classes gone", r"classes=0 ")

    put("one", "posternPop3Access: prevent", f"posternMember: UID=bob, ou=people,{SUFFIX}")
    d.expect("by user", r"pop3=0 imap4=1", command="find bob")
    d.expect("not the others", r"pop3=1 imap4=1", command="find alice")
    put("two", "posternPop3Access: allow", "posternPop3Days: 30", f"posternMember: cn=Research,{MAIL}")
    d.expect("user before post office", r"pop3=0 .*days=30", command="find bob")
    drop("one", "two")
    put("list", "posternImap4Access: prevent", f"posternMember: cn=outer,ou=people,{SUFFIX}")
    d.expect("by list of lists", r"imap4=0", command="find bob")
    put("office", "posternImap4Access: allow", f"posternMember: cn=Research,{MAIL}")
    d.expect("list before post office", r"imap4=0", command="find bob")
    drop("list", "office")
    put("domain", "posternSmtpOutgoingAccess: prevent", "posternSmtpOutgoingMaxSize: 1000", "posternMember: Research.example.org")
    d.expect("by domain", r"out=0 .*outsize=1000", command="find bob")
    put("domain2", "posternSmtpOutgoingAccess: allow", "posternSmtpOutgoingMaxSize: 2000", "posternMember: research.example.org")
    d.expect("two of one level: the more generous", r"out=1 .*outsize=2000", command="find bob")
    put("everyone", "posternDefaultClass: TRUE", "posternSmtpOutgoingAccess: prevent", "posternPop3DeleteAfterDownload: TRUE")
    d.expect("default class", r"out=0 delete=1", command="find alice")
    d.expect("default class below domain", r"out=1 delete=1", command="find bob")
    drop("domain", "domain2", "everyone")
    put("broken", "posternPop3Days: 99999", f"posternMember: uid=bob,ou=people,{SUFFIX}")
    d.expect("never valid: prevents", r"pop3=0 imap4=0 in=0 out=0", command="find bob")
    d.expect("others untouched", r"pop3=1 imap4=1 in=1 out=1", command="find alice")
    drop("broken")


def test_policy(server, d):
    server.ldap("ldapmodify", user=server.config_admin, text=f"""dn: olcOverlay=ppolicy,olcDatabase={{1}}mdb,cn=config
changetype: add
objectClass: olcOverlayConfig
objectClass: olcPPolicyConfig
olcOverlay: ppolicy
olcPPolicyUseLockout: TRUE
olcPPolicyDefault: cn=policy,{SUFFIX}
""")
    add(server, f"cn=policy,{SUFFIX}", "objectClass: applicationProcess\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: 2")
    for _ in range(3):
        d.ask("verify bob wrong")
    answer = d.ask("verify bob bobpw")
    check("locked, and the log says why", answer.startswith("refused authentication") and "ocked" in answer, answer)


def test_outages(server, d):
    server.stop(signal.SIGKILL)
    # A user kept in memory may still be found for as long as it takes to hear of the outage, but nobody's password is verified.
    answer = d.ask("verify alice alicepw")
    check("no login while away", re.match("(no|refused) unreachable", answer), answer)
    d.expect("user unknown while away", r"^no unreachable", command="find alice")
    check("snapshot stays", "threads=9" in d.ask("show"), d.ask("show"))
    server.start()
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 10")
    server.ldap("ldapdelete", f"cn=inner,ou=people,{SUFFIX}")
    d.expect("after kill -9", r"threads=10 ")
    d.expect("look-ups too", r"user id=alice", command="find alice")
    # deleted while nobody was watching
    add(server, f"cn=Gone,{MAIL}", "objectClass: posternPostOffice\ncn: Gone\nposternPath: /srv/mail/gone")
    d.expect("a post office", r"name=Gone")
    server.stop()
    server.start()
    server.ldap("ldapdelete", f"cn=Gone,{MAIL}")
    check("deletion during an outage", poll(lambda: "name=Gone" not in d.ask("show")), d.ask("show"))
    began = time.monotonic()
    server.freeze()
    answer = d.ask("find alice")
    took = time.monotonic() - began
    check("a stopped server is a time-out", answer.startswith("no time-out") and took < 25, f"{answer} in {took:.1f} s")
    log = server.path("driver.log")
    noticed = poll(lambda: "cannot be followed" in open(log).read().rsplit("is back", 1)[-1])
    check("the heartbeat notices", noticed, open(log).read()[-500:])
    server.send(signal.SIGCONT)
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 11")
    d.expect("after the stop", r"threads=11 ")


def test_start_without(server):
    server.stop()
    d = Driver(server, server.path("state"))
    d.expect("the last good state", r"cache=1 threads=\d+ .*office name=Sales")
    server.start()
    d.expect("then the directory's", r"cache=0 threads=\d+ .*office name=Sales")
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 12")
    d.expect("and it is followed", r"threads=12 ")
    check("end", d.end() == 0, open(server.path("driver.log")).read()[-3000:])
    state = server.path("state", "configuration")
    check("mode of the state", os.stat(state).st_mode & 0o777 == 0o600)
    check("no secret in it", b"pw" not in open(state, "rb").read().replace(b"gateway.pw", b""))


def make_certificate(at):
    code, said = directory.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                               "subjectAltName=IP:127.0.0.1", "-keyout", os.path.join(at, "key.pem"), "-out", os.path.join(at, "cert.pem"))
    check("certificate", code == 0, said)


def test_tls(server):
    make_certificate(server.dir)
    code, said = server.ldap("ldapmodify", user=server.config_admin, text=f"""dn: cn=config
changetype: modify
replace: olcTLSCertificateFile
olcTLSCertificateFile: {server.path("cert.pem")}
-
replace: olcTLSCertificateKeyFile
olcTLSCertificateKeyFile: {server.path("key.pem")}
""")
    check("TLS configured", code == 0, said)
    os.mkdir(server.path("state-tls"))
    d = Driver(server, server.path("state-tls"), "start-tls", "-", "ca-file", server.path("cert.pem"))
    d.expect("StartTLS", r"cache=0 threads=12 ")
    modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 13")
    d.expect("followed over TLS", r"threads=13 ")
    check("password over TLS", d.ask("verify alice alicepw") == "verified\n", d.ask("verify alice alicepw"))
    check("end", d.end() == 0)
    os.mkdir(server.path("state-bad"))
    d = Driver(server, server.path("state-bad"), "start-tls", "-", "ca-file", "/etc/ssl/certs/ca-certificates.crt")
    check("a certificate of nobody is refused", d.ask("find alice").startswith("no unreachable") and d.ask("show") == "none\n", d.ask("show"))
    check("end", d.end() == 0)


def test_external(server):
    """Over the local socket, known by the user ID of the process."""
    code, said = server.ldap("ldapmodify", user=server.config_admin, text=f"""dn: cn=config
changetype: modify
replace: olcAuthzRegexp
olcAuthzRegexp: {{0}}gidNumber={os.getgid()}\\+uidNumber={os.getuid()},cn=peercred,cn=external,cn=auth {GATEWAY}
""")
    check("local identity configured", code == 0, said)
    os.mkdir(server.path("state-external"))
    d = Driver(server, server.path("state-external"), "external", "-")
    d.expect("EXTERNAL over ldapi", r"cache=0 threads=13 ")
    d.expect("and its look-ups", r"user id=alice ", command="find alice")
    check("password over ldapi", d.ask("verify alice alicepw") == "verified\n", d.ask("verify alice alicepw"))
    check("end", d.end() == 0)


def test_many(server, d):
    """More objects than the default size limit, in a burst."""
    text = "".join(f"dn: cn=Office {i},{MAIL}\nobjectClass: posternPostOffice\ncn: Office {i}\nposternPath: /srv/mail/o{i}\n\n" for i in range(700))
    server.ldap("ldapadd", text=text)
    d.expect("700 post offices", r"name=Office 699")
    check("none is missing", d.ask("show").count("name=Office ") == 700)


def test_polling():
    """389 Directory Server without its synchronisation plug-ins: everything is read anew each second."""
    server = directory.Ns389()
    try:
        code, said = server.ldap("ldapmodify", "-f", directory.schema_file("postern-389ds.ldif"))
        check("389-ds: schema", code == 0, said)
        code, said = server.ldap("ldapadd", text=START.split("\n\n", 1)[1])
        check("389-ds: entries", code == 0, said)
        code, said = server.ldap("ldapmodify", text=directory.filled("aci-389ds.ldif", SUFFIX=SUFFIX, GATEWAY=GATEWAY, ADMINS=ADMINS))
        check("389-ds: access rules", code == 0, said)
        server.write("gateway.pw", PASSWORD + "\n")
        os.mkdir(server.path("state"))
        d = Driver(server, server.path("state"))
        d.expect("389-ds: first snapshot", r"cache=0 threads=7 .*office name=Sales .*uuid=[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12} ")
        modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 8")
        d.expect("389-ds: a change", r"threads=8 ")
        server.ldap("ldapdelete", f"cn=Sales,{MAIL}")
        check("389-ds: a deletion", poll(lambda: "name=Sales" not in d.ask("show")), d.ask("show"))
        check("389-ds: password", d.ask("verify bob bobpw") == "verified\n", d.ask("verify bob bobpw"))
        check("389-ds: bad password", d.ask("verify bob wrong").startswith("refused authentication"), d.ask("verify bob wrong"))
        server.stop(signal.SIGKILL)
        server.start()
        modify(server, AGENT, "replace: posternPop3Threads\nposternPop3Threads: 9")
        d.expect("389-ds: after kill -9", r"threads=9 ")
        check("389-ds: end", d.end() == 0, open(server.path("driver.log")).read()[-3000:])
    finally:
        server.close()


def main():
    if not directory.have("slapd", "ldapadd", "openssl"):
        sys.exit("slapd, ldap-utils and openssl are needed")
    server = Slapd()
    try:
        prepare(server)
        d = Driver(server, server.path("state"))
        for test in (test_objects, test_links, test_renames, test_office_lifecycle, test_users, test_classes, test_policy, test_outages):
            test(server, d)
        print(d.ask(f"latency {server.admin} {PASSWORD}"), end="", flush=True)
        check("end", d.end() == 0, open(server.path("driver.log")).read()[-3000:])
        test_start_without(server)
        test_tls(server)
        test_external(server)
        d = Driver(server, server.path("state"))
        test_many(server, d)
        print(d.ask(f"latency {server.admin} {PASSWORD}").replace("latency", "latency with 700 post offices", 1), end="", flush=True)
        server.freeze()
        check("end while the directory is mute", d.end() == 0, open(server.path("driver.log")).read()[-3000:])
        server.send(signal.SIGCONT)
    finally:
        if checks.failed and os.path.exists(server.path("driver.log")):
            print(open(server.path("driver.log")).read()[-5000:])
        server.close()
    if directory.have("ns-slapd", "dscreate"):
        test_polling()
    else:
        print("SKIP 389 Directory Server is not installed")
    checks.end()


if __name__ == "__main__":
    main()
