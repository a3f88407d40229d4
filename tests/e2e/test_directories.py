#!/usr/bin/env python3
"""Real directory servers in every state that one can be in, and the configuration must end right: objects renamed, moved, deleted and hidden,
size limits, a server frozen, killed or restored from an old backup, a pair of providers of which one dies, TLS with certificates of
both sides, Kerberos, 389 Directory Server with and without content synchronisation, polling. Drives config_driver."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

import directory
import watch
from directory import BUILD, SUFFIX, PASSWORD, Ns389, Slapd, free_port, poll, run
from watch import AGENT, GATEWAY, MAIL, ADMINS, Driver, add, check, checks, modify, prepare

PEOPLE = f"ou=people,{SUFFIX}"
DATABASE = "olcDatabase={1}mdb,cn=config"
number = 20


def next_number():
    global number
    number += 1
    return number


def effect(server, d, name):
    """An edit made there is in force; returns how long that took, in seconds."""
    threads = next_number()
    began = time.monotonic()
    code, said = modify(server, AGENT, f"replace: posternPop3Threads\nposternPop3Threads: {threads}")
    check(f"{name}: edit", code == 0, said)
    d.expect(name, rf"threads={threads} ")
    return time.monotonic() - began


def follows(d, name, pattern):
    return d.expect(name, pattern, command="state")


def move(server, dn, rdn, to):
    code, said = server.ldap("ldapmodrdn", "-r", "-s", to, dn, rdn)
    check(f"move {dn} to {to}", code == 0, said)


def rename(server, dn, rdn):
    code, said = server.ldap("ldapmodrdn", "-r", dn, rdn)
    check(f"rename {dn}", code == 0, said)


def delete(server, *dns):
    for dn in dns:
        code, said = server.ldap("ldapdelete", dn)
        check(f"delete {dn}", code == 0, said)


def gone(d, name, pattern):
    check(name, poll(lambda: not re.search(pattern, d.ask("show"))), d.ask("show"))


def test_objects(server, d, name):
    """Each kind of watched object renamed, moved out of its place and back, and deleted."""
    other = f"ou=other,{SUFFIX}"
    link, kind = f"cn=Link,{AGENT}", f"cn=Class,{AGENT}"
    add(server, other, "objectClass: organizationalUnit\nou: other")
    add(server, link, f"objectClass: posternPostOfficeLink\ncn: Link\nposternPostOffice: cn=Sales,{MAIL}\nposternPath: /srv/mail/mapped")
    add(server, kind, f"objectClass: posternClassOfService\ncn: Class\nposternPop3Access: prevent\nposternMember: uid=bob,{PEOPLE}")
    d.expect(f"{name}: link and class", r"classes=1 .*name=Sales [^\n]*path=/srv/mail/mapped")
    move(server, link, "cn=Link", other)
    d.expect(f"{name}: link moved out", r"name=Sales [^\n]*path=/srv/mail/sales ")
    move(server, f"cn=Link,{other}", "cn=Link", AGENT)
    d.expect(f"{name}: link moved in", r"name=Sales [^\n]*path=/srv/mail/mapped")
    move(server, kind, "cn=Class", other)
    d.expect(f"{name}: class moved out", r"classes=0 ")
    move(server, f"cn=Class,{other}", "cn=Kind", AGENT)
    d.expect(f"{name}: class moved in under a new name", r"classes=1 ")
    rename(server, link, "cn=Path")
    rename(server, f"cn=Research,{MAIL}", "cn=Science")
    d.expect(f"{name}: post office and link renamed", r"mapped.*name=Science|name=Science.*mapped")
    move(server, f"cn=Science,{MAIL}", "cn=Research", other)
    d.expect(f"{name}: post office moved", r"name=Research ")
    move(server, f"cn=Research,{other}", "cn=Research", MAIL)
    add(server, f"ou=site,{other}", "objectClass: organizationalUnit\nou: site")
    add(server, f"cn=Third,ou=site,{other}", "objectClass: posternPostOffice\ncn: Third\nposternPath: /srv/mail/third")
    d.expect(f"{name}: a third post office", r"name=Third ")
    move(server, f"ou=site,{other}", "ou=site", MAIL)
    modify(server, AGENT, f"add: posternPostOffice\nposternPostOffice: cn=Third,ou=site,{MAIL}")
    check(f"{name}: subtree moved", poll(lambda: re.findall(r"office name=(\S+)", d.ask("show")) == ["Third"]), d.ask("show"))
    modify(server, AGENT, "delete: posternPostOffice")
    d.expect(f"{name}: all again", r"name=Sales ")
    delete(server, f"cn=Path,{AGENT}")
    d.expect(f"{name}: link deleted", r"name=Sales [^\n]*path=/srv/mail/sales ")
    delete(server, f"cn=Kind,{AGENT}")
    d.expect(f"{name}: class deleted", r"classes=0 ")
    delete(server, f"cn=Third,ou=site,{MAIL}", f"ou=site,{MAIL}", other)
    gone(d, f"{name}: post office deleted", "name=Third")
    code, said = server.ldap("ldapdelete", "-r", AGENT)   # with its status entry
    check(f"{name}: delete the agent", code == 0, said)
    d.expect(f"{name}: agent deleted", r"pop3=0 .*there is no such Internet Agent")
    add(server, AGENT, "objectClass: posternInternetAgent\ncn: Internet Agent\nposternPop3Threads: 7")
    d.expect(f"{name}: agent made anew", r"threads=7 pop3=1 .*faults=0")


def access_rules(server):
    text = server.search("-b", DATABASE, "-s", "base", "olcAccess", user=server.config_admin)
    return [line for line in text.splitlines() if line.startswith("olcAccess:")]


def set_access(server, rules):
    server.configure(f"dn: {DATABASE}\nchangetype: modify\nreplace: olcAccess\n" + "\n".join(rules) + "\n")


def test_hidden(server, d):
    """No notice tells of a right that was taken away."""
    rules = access_rules(server)
    numbered = [re.sub(r"\{\d+\}", "", rule) for rule in rules]
    set_access(server, [f'olcAccess: to dn.base="cn=Research,{MAIL}" by dn.exact="{ADMINS}" read by * none', *numbered])
    began = time.monotonic()
    modify(server, f"uid=alice,{PEOPLE}", "replace: description\ndescription: any other change")
    gone(d, "hidden by an access rule", "name=Research")
    print(f"time until a hidden object was noticed: {time.monotonic() - began:.1f} s after the next change")
    set_access(server, rules)
    modify(server, f"uid=alice,{PEOPLE}", "replace: description\ndescription: and another one")
    d.expect("given back", r"name=Research ")
    set_access(server, [f'olcAccess: to dn.base="cn=Research,{MAIL}" by dn.exact="{ADMINS}" read by * none', *numbered])
    d.ask("refresh")
    gone(d, "hidden, and everything read when asked to", "name=Research")
    set_access(server, rules)
    d.ask("refresh")
    d.expect("and given back", r"name=Research ")


def test_backup(server, d):
    backup = server.path("backup.ldif")
    server.dump(backup)
    before = re.sub(r"serial=\d+", "", d.ask("show"))
    delete(server, f"cn=Research,{MAIL}")
    add(server, f"cn=Later,{MAIL}", "objectClass: posternPostOffice\ncn: Later\nposternPath: /srv/mail/later")
    modify(server, f"cn=Sales,{MAIL}", "replace: posternPath\nposternPath: /srv/mail/newer")
    d.expect("after the backup", r"name=Later ")
    server.restore(backup)
    check("ends as the backup", poll(lambda: re.sub(r"serial=\d+", "", d.ask("show")) == before), f"{before}\nis not\n{d.ask('show')}")
    effect(server, d, "and is followed")


def test_size_limit(server, d):
    """A reading that ends early is not taken for the whole."""
    limits = [line for line in server.search("-b", DATABASE, "-s", "base", "olcLimits", user=server.config_admin).splitlines()
              if line.startswith("olcLimits:")]
    before = re.findall(r"office name=(\S+)", d.ask("show"))
    for i in range(8):
        add(server, f"cn=Office {i},{MAIL}", f"objectClass: posternPostOffice\ncn: Office {i}\nposternPath: /srv/mail/o{i}")
    d.expect("eight more", r"name=Office 7 ")
    whole = d.ask("show")
    server.configure(f'dn: {DATABASE}\nchangetype: modify\nreplace: olcLimits\nolcLimits: dn.exact="{GATEWAY}" size=5\n')
    d.ask("refresh")
    follows(d, "the limit is the reason", r"mode=away .*why=.*size limits.*Size limit exceeded")
    poll(lambda: d.said().count("size limits") >= 2, 5)
    check("nothing is swept away", d.ask("show") == whole, d.ask("show"))
    check("the log says it", "the directory cannot be followed: watching (the gateway must be free of size limits): Size limit exceeded" in d.said(), d.said()[-1000:])
    server.configure(f"dn: {DATABASE}\nchangetype: modify\nreplace: olcLimits\n" + "\n".join(limits) + "\n")
    follows(d, "followed again without the limit", r"mode=content")
    for i in range(8):
        server.ldap("ldapdelete", f"cn=Office {i},{MAIL}")
    check("as before", poll(lambda: re.findall(r"office name=(\S+)", d.ask("show")) == before), d.ask("show"))


def test_polling(server, d):
    """A slapd whose database has no content synchronisation, though the server offers it, and no persistent search: it is polled."""
    entry = next((line[4:] for line in server.search("-b", DATABASE, "(objectClass=olcSyncProvConfig)", "dn", user=server.config_admin).splitlines()
                  if line.startswith("dn: ")), None)
    check("overlay found", entry is not None)
    text = server.search("-b", entry, "-s", "base", user=server.config_admin)
    code, said = server.ldap("ldapdelete", entry, user=server.config_admin)
    check("overlay removed", code == 0, said)
    server.stop()
    server.start()
    follows(d, "polling", r"mode=polling")
    effect(server, d, "polling: an edit")
    delete(server, f"cn=Research,{MAIL}")
    gone(d, "polling: a deletion", "name=Research")
    add(server, f"cn=Research,{MAIL}", "objectClass: posternPostOffice\ncn: Research\nposternPath: /srv/mail/research")
    d.expect("polling: a new one", r"name=Research ")
    rename(server, f"cn=Research,{MAIL}", "cn=Science")
    d.expect("polling: renamed", r"name=Science ")
    rename(server, f"cn=Science,{MAIL}", "cn=Research")
    server.ldap("ldapadd", user=server.config_admin, text=text)
    server.stop()
    server.start()
    follows(d, "synchronised again", r"mode=content")
    effect(server, d, "synchronised: an edit")


def one_slapd():
    server = Slapd()
    try:
        prepare(server)
        d = Driver(server, server.path("state"))
        follows(d, "slapd: mode", r"mode=content synchronisation")
        test_objects(server, d, "slapd")
        test_hidden(server, d)
        test_backup(server, d)
        test_size_limit(server, d)
        test_polling(server, d)
        check("end", d.end() == 0, d.said()[-3000:])
    finally:
        server.close()


def without_notices(server):
    """The environment of a driver whose slapd is stopped. slapd may then say so (RFC 4511, 4.4.1), and libldap never frees that notice: 117
    bytes with each. Nothing of it shows but the allocator, so that all of libldap's are left out here; the other drivers look at them."""
    server.write("suppressions", "leak:ber_memcalloc_x\n")
    return {"LSAN_OPTIONS": f"{os.environ.get('LSAN_OPTIONS', '')}:suppressions={server.path('suppressions')}:print_suppressions=0"}


class Storm:
    """Logins by forty threads, again and again; none may fail."""

    def __init__(self, server, state, uris):
        self.driver = Driver(server, state, uris=uris, env=without_notices(server))
        self.driver.expect("storm: ready", r"cache=0 ")
        self.rounds = 0
        self.bad = []
        self.longest = 0.0
        self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping:
            began = time.monotonic()
            answer = self.driver.ask("storm alice alicepw")
            self.longest = max(self.longest, time.monotonic() - began)
            self.rounds += 1
            if answer != "storm good=1000 refused=1000\n":
                self.bad.append(answer)

    def another(self):
        """Waits for two more rounds to end."""
        before = self.rounds
        return poll(lambda: self.rounds >= before + 2)

    def end(self):
        self.stopping = True
        self.thread.join()
        return self.driver.end()


def test_pair():
    """Two providers that replicate both ways. Whatever happens to the first, nobody who logs in notices."""
    a, b = Slapd(), Slapd()
    try:
        prepare(a)
        b.ldap("ldapadd", "-f", directory.schema_file("postern-openldap.ldif"), user=b.config_admin)
        b.ldap("ldapmodify", "-c", user=b.config_admin, text=directory.filled("openldap-database.ldif", DATABASE=DATABASE, GATEWAY=GATEWAY))
        a.replicate_from(b, 1)
        b.replicate_from(a, 2)
        check("pair: replicated", poll(lambda: "uid=bob" in b.search("-b", SUFFIX, "(uid=bob)", "dn")), b.search("-b", SUFFIX))
        uris = f"{a.uri} {b.uri}"
        d = Driver(a, a.path("state"), uris=uris, env=without_notices(a))
        follows(d, "pair: the first is used", rf"mode=content synchronisation uri={a.uri} ")
        effect(b, d, "pair: an edit at the other one")
        os.mkdir(b.path("state"))
        b.write("gateway.pw", PASSWORD + "\n")
        storm = Storm(b, b.path("state"), uris)
        for name, stop, back in (("killed", lambda: a.stop(signal.SIGKILL), a.start),
                                 ("frozen", a.freeze, lambda: a.send(signal.SIGCONT)),
                                 ("stopped", a.stop, a.start)):
            check(f"pair: {name}: clients at work", storm.another())
            stop()
            stopped = time.monotonic()
            follows(d, f"pair: {name}: the other one takes over", rf"mode=content synchronisation uri={b.uri} ")
            print(f"time until the other server was followed ({name}): {time.monotonic() - stopped:.2f} s")
            effect(b, d, f"pair: {name}: an edit at the survivor")
            # another name each time: the first one may give back, when it returns, what was added and deleted while it was away
            delete_me = f"cn=Passing {name},{MAIL}"
            add(b, delete_me, f"objectClass: posternPostOffice\ncn: Passing {name}\nposternPath: /srv/mail/passing")
            d.expect(f"pair: {name}: a new object", f"name=Passing {name}")
            delete(b, delete_me)
            gone(d, f"pair: {name}: deleted", f"name=Passing {name}")
            threads = number
            check(f"pair: {name}: clients still at work", storm.another())
            back()
            began = time.monotonic()
            seen = set()

            def returned():
                seen.update(re.findall(r"threads=(\d+)", d.ask("show")))
                return f"uri={a.uri} " in d.ask("state")
            check(f"pair: {name}: back to the first", poll(returned), d.ask("state") + d.said()[-1500:])
            print(f"time until the first server was used again ({name}): {time.monotonic() - began:.2f} s")
            check(f"pair: {name}: no step back in time", seen == {str(threads)}, f"{seen}, not {threads}")
            effect(a, d, f"pair: {name}: an edit at the first")
        check("pair: clients at the end", storm.another())
        check("pair: nobody noticed", not storm.bad, f"{len(storm.bad)} of {storm.rounds} rounds: {storm.bad[:3]}\n{storm.driver.said()[-3000:]}")
        print(f"time of the longest round of 2000 logins: {storm.longest:.2f} s")
        check("pair: the storm ends", storm.end() == 0, storm.driver.said()[-3000:])
        a.stop(signal.SIGKILL)
        b.stop(signal.SIGKILL)
        follows(d, "pair: both gone", r"mode=away")
        b.start()
        follows(d, "pair: only the second", rf"uri={b.uri} ")
        effect(b, d, "pair: an edit at the second")
        check("pair: end", d.end() == 0, d.said()[-3000:])
    finally:
        if checks.failed:
            print(open(a.path("driver.log"), errors="replace").read()[-4000:])
        a.close()
        b.close()


def new_389(name):
    server = Ns389()
    code, said = server.ldap("ldapmodify", "-f", directory.schema_file("postern-389ds.ldif"))
    check(f"{name}: schema", code == 0, said)
    code, said = server.ldap("ldapadd", text=watch.START.split("\n\n", 1)[1])
    check(f"{name}: entries", code == 0, said)
    code, said = server.ldap("ldapmodify", text=directory.filled("aci-389ds.ldif", SUFFIX=SUFFIX, GATEWAY=GATEWAY, ADMINS=ADMINS))
    check(f"{name}: access rules", code == 0, said)
    server.write("gateway.pw", PASSWORD + "\n")
    os.mkdir(server.path("state"))
    return server


def test_389():
    server = new_389("389-ds")
    try:
        d = Driver(server, server.path("state"))
        follows(d, "389-ds: mode", r"mode=persistent search")
        times = sorted(effect(server, d, f"389-ds: edit {i}") for i in range(5))
        check("389-ds: the bell rings, nobody polls", times[0] < 0.5, times)
        test_objects(server, d, "389-ds")
        for i in range(30):
            modify(server, AGENT, f"replace: posternPop3Threads\nposternPop3Threads: {100 + i}")
        d.expect("389-ds: the last of a burst", r"threads=129 ")
        server.stop(signal.SIGKILL)
        server.start()
        effect(server, d, "389-ds: after kill -9")
        server.offer_sync()
        follows(d, "389-ds: mode with the plug-in", r"mode=content synchronisation")
        effect(server, d, "389-ds with the plug-in: an edit")
        test_objects(server, d, "389-ds with the plug-in")
        check("389-ds: end", d.end() == 0, d.said()[-3000:])
    finally:
        server.close()


def openssl(at, *arguments):
    code, said = run("openssl", *arguments)
    check(f"openssl {arguments[0]}", code == 0, said)


def make_certificates(at):
    """An authority, a server for the address 127.0.0.1 only, a gateway."""
    path = lambda name: os.path.join(at, name)
    openssl(at, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test CA", "-keyout", path("ca.key"), "-out", path("ca.pem"))
    for name, subject, extension in (("server", "/CN=directory.example", "subjectAltName=IP:127.0.0.1"), ("gateway", "/O=Test/CN=gateway", "subjectAltName=DNS:gateway")):
        openssl(at, "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", path(f"{name}.key"), "-out", path(f"{name}.csr"))
        with open(path(f"{name}.ext"), "w") as file:
            file.write(extension + "\n")
        openssl(at, "x509", "-req", "-days", "2", "-in", path(f"{name}.csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial",
                "-extfile", path(f"{name}.ext"), "-out", path(f"{name}.pem"))


def test_tls():
    server = Slapd()
    try:
        prepare(server)
        make_certificates(server.dir)
        ldaps = free_port()
        secure, plain = f"ldaps://127.0.0.1:{ldaps}", server.uri
        server.more_uris = f"ldaps://127.0.0.1:{ldaps}"
        server.configure(f"""dn: cn=config
changetype: modify
replace: olcTLSCACertificateFile
olcTLSCACertificateFile: {server.path("ca.pem")}
-
replace: olcTLSCertificateFile
olcTLSCertificateFile: {server.path("server.pem")}
-
replace: olcTLSCertificateKeyFile
olcTLSCertificateKeyFile: {server.path("server.key")}
-
replace: olcTLSVerifyClient
olcTLSVerifyClient: try
-
replace: olcAuthzRegexp
olcAuthzRegexp: {{0}}cn=gateway,o=test {GATEWAY}
""")
        server.stop()
        server.start()
        ca = ("ca-file", server.path("ca.pem"))
        own = ("cert-file", server.path("gateway.pem"), "key-file", server.path("gateway.key"))
        good = (("StartTLS", plain, ("start-tls", "-", *ca)), ("ldaps", secure, ca),
                ("ldaps, client certificate", secure, ("external", "-", *ca, *own)),
                ("StartTLS, client certificate", plain, ("start-tls", "-", "external", "-", *ca, *own)))
        bad = (("StartTLS, another name", f"ldap://localhost:{server.port}", ("start-tls", "-", *ca)), ("ldaps, another name", f"ldaps://localhost:{ldaps}", ca),
               ("ldaps, unknown authority", secure, ()),
               ("EXTERNAL without a certificate", secure, ("external", "-", *ca)),
               ("a key that is not the certificate's", secure,
                ("external", "-", *ca, "cert-file", server.path("gateway.pem"), "key-file", server.path("server.key"))))
        for i, (name, uri, words) in enumerate(good):
            os.mkdir(server.path(f"state-good-{i}"))
            # libldap itself loses memory when it reads a certificate with its key
            d = Driver(server, server.path(f"state-good-{i}"), *words, uris=uri,
                       env={"ASAN_OPTIONS": "detect_leaks=0"} if "cert-file" in words else {})
            if not d.expect(name, r"cache=0 "):
                print(d.said()[-1000:])
                d.end()
                continue
            check(f"{name}: password", d.ask("verify alice alicepw") == "verified\n", d.ask("verify alice alicepw"))
            effect(server, d, f"{name}: an edit")
            server.stop()
            server.start()
            effect(server, d, f"{name}: after a restart")
            if "external" in words:
                posternctl_check(name, uri, words, ASAN_OPTIONS="detect_leaks=0")
            check(f"{name}: end", d.end() == 0, d.said()[-3000:])
        for i, (name, uri, words) in enumerate(bad):
            os.mkdir(server.path(f"state-bad-{i}"))
            d = Driver(server, server.path(f"state-bad-{i}"), *words, uris=uri, env={"ASAN_OPTIONS": "detect_leaks=0"})
            follows(d, f"{name}: refused", r"mode=away .*why=.")
            check(f"{name}: nothing is read", d.ask("show") == "none\n" and d.ask("find alice").startswith("no unreachable"), d.ask("show"))
            check(f"{name}: end", d.end() == 0)
    finally:
        server.close()


class Kdc:
    """A private Kerberos realm on a port of loopback."""
    realm = "POSTERN.TEST"

    def __init__(self, at):
        self.dir = at
        port = free_port()
        with open(os.path.join(at, "krb5.conf"), "w") as file:
            file.write(f"""[libdefaults]
default_realm = {self.realm}
dns_lookup_realm = false
dns_lookup_kdc = false
rdns = false
dns_canonicalize_hostname = false
[realms]
{self.realm} = {{
    kdc = 127.0.0.1:{port}
}}
""")
        with open(os.path.join(at, "kdc.conf"), "w") as file:
            file.write(f"""[realms]
{self.realm} = {{
    database_name = {at}/principal
    key_stash_file = {at}/stash
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
}}
""")
        self.env = {"KRB5_CONFIG": f"{at}/krb5.conf", "KRB5_KDC_PROFILE": f"{at}/kdc.conf", "PATH": directory.PATH}
        self.tool("kdb5_util", "create", "-s", "-P", "master-key", "-r", self.realm)
        for principal, keytab in (("ldap/localhost", "slapd.keytab"), ("gateway", "gateway.keytab")):
            self.tool("kadmin.local", "-r", self.realm, "addprinc", "-randkey", principal)
            self.tool("kadmin.local", "-r", self.realm, "ktadd", "-k", f"{at}/{keytab}", principal)
        self.process = subprocess.Popen(["krb5kdc", "-n", "-r", self.realm], env={**os.environ, **self.env}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def tool(self, *words):
        code, said = run(*words, env=self.env)
        check(f"{words[0]} {words[1]}", code == 0, said)

    def end(self):
        self.process.terminate()
        self.process.wait()


def posternctl_check(name, uri, words, good=True, **env):
    """posternctl check with the same credentials as the gateway."""
    options = [word if word != "-" else None for word in words]
    options = [f"--{word}" if i % 2 == 0 else word for i, word in enumerate(options)]
    done = subprocess.run([os.path.join(BUILD, "posternctl"), "--json", "check", "--uri", uri, "--agent-dn", AGENT, "--no-users", "--mail-root", "/srv/mail",
                           *filter(None, options)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env={**os.environ, **env})
    check(f"{name}: posternctl check", ('"objects":' in done.stdout) == good, done.stdout)


def test_gssapi():
    server = Slapd()
    kdc = None
    try:
        prepare(server)
        kdc = Kdc(server.dir)
        server.env = {**kdc.env, "KRB5_KTNAME": server.path("slapd.keytab"), "KRB5RCACHENAME": "none:"}
        server.configure(f"""dn: cn=config
changetype: modify
replace: olcSaslHost
olcSaslHost: localhost
-
replace: olcSaslRealm
olcSaslRealm: {kdc.realm}
-
replace: olcAuthzRegexp
olcAuthzRegexp: {{0}}uid=gateway,.*cn=gssapi,cn=auth {GATEWAY}
""")
        server.stop()
        server.start()
        uri = f"ldap://localhost:{server.port}"
        os.mkdir(server.path("state-gssapi"))
        d = Driver(server, server.path("state-gssapi"), "gssapi", "-", "keytab", server.path("gateway.keytab"), uris=uri, env=kdc.env)
        d.expect("GSSAPI with a keytab", r"cache=0 ")
        effect(server, d, "GSSAPI: an edit")
        check("GSSAPI: password", d.ask("verify alice alicepw") == "verified\n", d.ask("verify alice alicepw"))
        server.stop(signal.SIGKILL)
        server.start()
        effect(server, d, "GSSAPI: after kill -9")
        check("GSSAPI: end", d.end() == 0, d.said()[-3000:])
        posternctl_check("GSSAPI with a keytab", uri, ("gssapi", "-", "keytab", server.path("gateway.keytab")), **kdc.env)
        posternctl_check("GSSAPI without tickets", uri, ("gssapi", "-"), False, **{**kdc.env, "KRB5CCNAME": server.path("nothing")})
        run("kinit", "-k", "-t", server.path("gateway.keytab"), "-c", server.path("tickets"), "gateway", env=kdc.env)
        os.mkdir(server.path("state-tickets"))
        d = Driver(server, server.path("state-tickets"), "gssapi", "-", uris=uri, env={**kdc.env, "KRB5CCNAME": server.path("tickets")})
        d.expect("GSSAPI with tickets", r"cache=0 ")
        check("GSSAPI with tickets: end", d.end() == 0, d.said()[-3000:])
        os.mkdir(server.path("state-none"))
        d = Driver(server, server.path("state-none"), "gssapi", "-", uris=uri, env={**kdc.env, "KRB5CCNAME": server.path("nothing")})
        follows(d, "GSSAPI without tickets: refused", r"mode=away .*why=bind GSSAPI")
        check("GSSAPI without tickets: nothing is read", d.ask("show") == "none\n")
        check("GSSAPI without tickets: end", d.end() == 0)
    finally:
        if kdc is not None:
            kdc.end()
        server.close()


def main():
    if not directory.have("slapd", "ldapadd", "openssl"):
        sys.exit("slapd, ldap-utils and openssl are needed")
    tests = [(one_slapd, ()), (test_pair, ()), (test_tls, ()), (test_gssapi, ("krb5kdc", "kadmin.local", "kinit")), (test_389, ("ns-slapd", "dscreate"))]
    names = sys.argv[1:]
    if not names:
        process, names = run_beside("one_slapd"), [test.__name__ for test, _ in tests if test is not one_slapd]
    for test, programs in tests:
        if test.__name__ not in names:
            continue
        if not directory.have(*programs):
            print(f"SKIP {test.__name__}: {' '.join(programs)} not installed")
            continue
        began = time.monotonic()
        test()
        print(f"time of {test.__name__}: {time.monotonic() - began:.0f} s", flush=True)
    if not sys.argv[1:]:
        add_up(process)
    checks.end()


def run_beside(name):
    """One test in a process of its own: most of its time it waits."""
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")


def add_up(process):
    output = process.communicate()[0]
    print(output, end="")
    last = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
    if last:
        checks.passed += int(last[-1][0])
        checks.failed += int(last[-1][1])
    else:
        checks.failed += 1


if __name__ == "__main__":
    main()
