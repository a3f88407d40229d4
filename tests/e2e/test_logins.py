#!/usr/bin/env python3
"""Logins by every mechanism, with real clients against a whole site: PLAIN and LOGIN, SCRAM-SHA-256 with and without channel binding (GNU SASL's own client), a
client certificate, bearer tokens; the directory's password policy; passwords remembered while the directory is away."""
import base64
import hashlib
import hmac
import imaplib
import json
import os
import signal
import socket
import subprocess
import time
import unittest

from harness import BUILD, SOURCE, Site, freeze, kill, main, poll

REFUSED = "AUTHENTICATIONFAILED"
SHIPPED = os.path.join(SOURCE, "schema", "scram-openldap.ldif")


def scram_value(password, iterations=4096):
    """An authPassword value (RFC 5803)."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (iterations, *(base64.b64encode(part).decode() for part in (salt, stored, server)))


class Scram:
    """A client's side of SCRAM-SHA-256 (RFC 5802): call it with the server's messages."""

    def __init__(self, name, password):
        self.name, self.password, self.first, self.verified = name, password, None, False

    def __call__(self, message):
        if self.first is None:
            self.first = f"n={self.name},r={base64.b64encode(os.urandom(12)).decode()}"
            return ("n,," + self.first).encode()
        message = message.decode()
        if message.startswith("v="):
            self.verified = message[2:] == self.signature
            return b""
        self.challenge = dict(part.split("=", 1) for part in message.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(self.challenge["s"]), int(self.challenge["i"]))
        bare = f"c=biws,r={self.challenge['r']}"
        text = f"{self.first},{message},{bare}".encode()
        key = hmac.new(salted, b"Client Key", "sha256").digest()
        proof = bytes(a ^ b for a, b in zip(key, hmac.new(hashlib.sha256(key).digest(), text, "sha256").digest()))
        self.signature = base64.b64encode(hmac.new(hmac.new(salted, b"Server Key", "sha256").digest(), text, "sha256").digest()).decode()
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()


class Logins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.password = cls.site.env["POSTERN_PASSWORD"]
        try:
            cls.prepare()
        except BaseException:
            cls.site.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    @classmethod
    def as_config_admin(cls, text):
        done = subprocess.run(["ldapmodify", "-x", "-H", cls.site.env["POSTERN_LDAP_URI"], "-D", "cn=admin,cn=config", "-y",
                               os.path.join(cls.site.dir, "credentials", "admin.pw")], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)

    @classmethod
    def prepare(cls):
        site = cls.site
        with open(SHIPPED) as file:
            text = file.read()
        for word, value in (("DATABASE", "olcDatabase={1}mdb,cn=config"), ("GATEWAY", f"cn=gateway,{site.suffix}"),
                            ("ADMINS", f"cn=mail admins,{site.suffix}")):
            text = text.replace(f"@{word}@", value)
        cls.as_config_admin(text)
        site.ldap("ldapmodify", text=f"""dn: {site.user_dn('alice')}
changetype: modify
add: objectClass
objectClass: authPasswordObject
-
add: authPassword
authPassword: {scram_value(cls.password)}

""")
        cls.set(posternLoginFailureMilliseconds="50", posternIntruderDetection="FALSE", posternScram="TRUE")

    @classmethod
    def set(cls, **values):
        cls.site.set_agent_now(**values)

    @classmethod
    def ctl(cls, *words):
        return subprocess.run([os.path.join(BUILD, "posternctl"), "--control", cls.site.env["POSTERN_CONTROL"], "--json", *words],
                              stdout=subprocess.PIPE, text=True, check=True).stdout

    def imap(self, mechanism, answer, tls=False, context=None):
        """None, or what the client hears."""
        if tls:
            client = imaplib.IMAP4_SSL("localhost", self.site.imaps, ssl_context=context or self.site.tls(), timeout=30)
        else:
            client = imaplib.IMAP4("127.0.0.1", self.site.imap, timeout=30)
        try:
            client.authenticate(mechanism, answer)
            client.select("INBOX")
            return None
        except imaplib.IMAP4.error as error:
            return str(error)
        finally:
            client.shutdown()

    def mechanisms(self, tls=False, context=None):
        if tls:
            client = imaplib.IMAP4_SSL("localhost", self.site.imaps, ssl_context=context or self.site.tls(), timeout=30)
        else:
            client = imaplib.IMAP4("127.0.0.1", self.site.imap, timeout=30)
        client.shutdown()
        return {word[5:] for word in client.capabilities if word.startswith("AUTH=")}

    # --- SCRAM
    def test_scram(self):
        right = Scram("alice", self.password)
        self.assertIsNone(self.imap("SCRAM-SHA-256", right))
        self.assertTrue(right.verified, "the server's signature")
        by_address = Scram("alice@example.org", self.password)
        self.assertIsNone(self.imap("SCRAM-SHA-256", by_address))
        for name, password in (("alice", "wrong"), ("bob", self.password), ("nobody", self.password)):
            client = Scram(name, password)
            self.assertIn(REFUSED, self.imap("SCRAM-SHA-256", client), name)
            self.assertEqual((client.challenge["i"], len(base64.b64decode(client.challenge["s"]))), ("4096", 16), name)
        self.assertNotIn("SCRAM-SHA-256$", self.site.log())

    def test_scram_of_nobody_looks_the_same(self):
        """Asked twice, also after a restart of the agent, a name without keys has the same salt; another name another one."""
        def salt(name):
            client = Scram(name, "x")
            self.imap("SCRAM-SHA-256", client)
            return client.challenge["s"]
        salts = {name: salt(name) for name in ("alice", "bob", "nobody", "nobody2")}
        self.assertEqual(len(set(salts.values())), 4)
        self.assertEqual(salt("NOBODY"), salts["nobody"])
        # Other spellings that the directory takes for alice's name are nobody's too.
        self.assertEqual(salt("Alice"), salts["alice"])
        for spelling in (" alice", "alice ", "\uff41lice"):
            found = self.site.ldap("ldapsearch", "-LLL", "-b", self.site.suffix, f"(uid={spelling})", "dn").stdout
            self.assertEqual(found.count("dn:"), 1, spelling)
            self.assertNotEqual(salt(spelling), salts["alice"], spelling)
        agent = self.site.agent_pid()
        kill(agent, signal.SIGKILL)
        poll(lambda: self.site.agent_pid() not in (agent, None), what="a new agent")
        poll(self.can_connect, what="the port")
        self.assertEqual({name: salt(name) for name in salts}, salts)

    def test_scram_while_locked(self):
        """Whoever guesses on while the name is locked does not learn when the guess was right."""
        self.set(posternIntruderDetection="TRUE", posternIntruderAttempts="2")
        try:
            for _ in range(2):
                self.assertIn(REFUSED, self.imap("SCRAM-SHA-256", Scram("alice", "wrong")))
            for _ in range(2):
                right = Scram("alice", self.password)
                self.assertIn(REFUSED, self.imap("SCRAM-SHA-256", right))
                self.assertFalse(right.verified, "the proof of the server tells that the password is right")
            self.ctl("unlock", "alice")
            right = Scram("alice", self.password)
            self.assertIsNone(self.imap("SCRAM-SHA-256", right))
            self.assertTrue(right.verified)
        finally:
            self.set(posternIntruderDetection="FALSE", posternIntruderAttempts="5")

    def test_scram_is_given_up(self):
        """After the server's proof only the empty line logs in; whoever says something else is not there any more, and leaves nothing behind."""
        for last in (b"*", b"eA==", b"!" * 20000):
            for port, command, more in ((self.site.imap, b"a AUTHENTICATE SCRAM-SHA-256 ", b"+ "), (self.site.pop3, b"AUTH SCRAM-SHA-256 ", b"+ "),
                                        (self.site.submission, b"AUTH SCRAM-SHA-256 ", b"334 ")):
                sock, reader, _ = self.site.raw(port)
                with sock, reader:
                    if more == b"334 ":
                        sock.sendall(b"EHLO client.example\r\n")
                        while reader.readline()[3:4] == b"-":
                            pass
                    client = Scram("alice", self.password)
                    self.exchange(sock, reader, command, more, more, client, last=False)
                    sock.sendall(last + b"\r\nSTAT\r\nb SELECT INBOX\r\n")
                    rest = reader.read()
                    self.assertNotIn(b"+OK", rest)
                    self.assertNotIn(b"b OK", rest)
        poll(lambda: not json.loads(self.ctl("sessions"))["sessions"], what="no session")
        self.assertIsNone(self.imap("SCRAM-SHA-256", Scram("alice", self.password)))

    def test_nul_in_a_password(self):
        """A directory might take what begins with NUL for an empty password, and let anybody in."""
        for port, text, answer in ((self.site.pop3, b"USER alice\r\nPASS \0x\r\n", b"-ERR"), (self.site.imap, b'a LOGIN alice {2+}\r\n\0x\r\n', b"a ")):
            sock, reader, _ = self.site.raw(port)
            with sock, reader:
                sock.sendall(text)
                lines = [reader.readline()]
                while not lines[-1].startswith(answer):
                    self.assertTrue(lines[-1])
                    lines.append(reader.readline())
                self.assertFalse(lines[-1].startswith((b"a OK", b"+OK")), lines)

    def test_compare_is_a_fault_here(self):
        """OpenLDAP compares hashes as texts: the edit is refused, and the next one heals it."""
        dn, told = self.site.agent_dn, "posternLoginMethod: compare is for directories that verify hashes by it, OpenLDAP does not"
        self.site.set_agent(posternLoginMethod="compare")
        poll(lambda: told in self.site.log(), what="the fault in the log")
        self.assertIsNone(self.imap("PLAIN", lambda _: f"\0alice\0{self.password}".encode()), dn)
        self.set(posternLoginMethod=None)
        poll(lambda: "no longer: " in self.site.log().split(told)[-1] or f"no longer: {dn}: {told}" in self.site.log(), what="the end of the fault")

    def test_what_comes_before_tls_counts_for_nothing(self):
        site, password = self.site, self.password.encode()
        rows = ((site.pop3, b"STLS\r\nUSER alice\r\n", b"+OK", b"PASS " + password + b"\r\n", b"-ERR Send USER first"),
                (site.imap, b"a STARTTLS\r\nb LOGIN alice " + password + b"\r\n", b"a OK", b"c SELECT INBOX\r\n", b"c "),
                (site.submission, b"EHLO x\r\nSTARTTLS\r\nAUTH PLAIN " + base64.b64encode(b"\0alice\0" + password) + b"\r\n", b"220", b"MAIL FROM:<a@example.org>\r\n", b"5"))
        for port, clear, go, command, answer in rows:
            sock, reader, _ = site.raw(port)
            with sock:
                sock.sendall(clear)
                while not (line := reader.readline()).startswith(go):
                    self.assertTrue(line)
                with self.site.tls().wrap_socket(sock, server_hostname="localhost") as secure:
                    secure.sendall(command)
                    line = secure.makefile("rb").readline()
                    self.assertTrue(line.startswith(answer) and not line.startswith(b"c OK"), line)

    def can_connect(self):
        try:
            self.site.imap_client(login=False).shutdown()
            return True
        except OSError:
            return False

    def test_scram_pop3_and_smtp(self):
        sock, reader, _ = self.site.raw(self.site.pop3)
        with sock:
            self.exchange(sock, reader, b"AUTH SCRAM-SHA-256 ", b"+ ", b"+OK", Scram("alice:l=5", self.password))
            sock.sendall(b"STAT\r\n")
            self.assertTrue(reader.readline().startswith(b"+OK"))
        sock, reader, _ = self.site.raw(self.site.submission)
        with sock:
            sock.sendall(b"EHLO client.example\r\n")
            lines = []
            while not lines or lines[-1][3:4] == b"-":
                lines.append(reader.readline())
            self.assertIn(b"250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n", lines)
            self.exchange(sock, reader, b"AUTH SCRAM-SHA-256 ", b"334 ", b"235", Scram("alice", self.password))

    def exchange(self, sock, reader, command, more, done, client, last=True):
        sock.sendall(command + base64.b64encode(client(None)) + b"\r\n")
        for step in range(3):
            line = reader.readline()
            if not line.startswith(more) or (step == 1 and not last):
                break
            sock.sendall(base64.b64encode(client(base64.b64decode(line[len(more):]))) + b"\r\n")
        self.assertTrue(line.startswith(done), line)

    def test_channel_binding(self):
        """GNU SASL's client: SCRAM-SHA-256-PLUS by STARTTLS."""
        self.assertEqual(self.mechanisms(tls=True) & {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"})
        self.assertNotIn("SCRAM-SHA-256-PLUS", self.mechanisms())
        for service, port in (("--imap", self.site.imap), ("--smtp", self.site.submission)):
            for password, good in ((self.password, True), ("wrong", False)):
                done = subprocess.run(["gsasl", "--client", service, "--mechanism", "SCRAM-SHA-256-PLUS", "--connect", f"localhost:{port}",
                                       "--authentication-id", "alice", "--password", password, "--hostname", "localhost",
                                       "--x509-ca-file", self.site.env["POSTERN_CA_FILE"]],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                self.assertEqual(done.returncode == 0, good, done.stdout)

    def test_scram_is_off(self):
        self.set(posternScram="FALSE")
        try:
            self.assertEqual(self.mechanisms(), {"PLAIN", "LOGIN"})
            self.assertIn("CANNOT", self.imap("SCRAM-SHA-256", Scram("alice", self.password)))
        finally:
            self.set(posternScram="TRUE")

    def test_no_clear_text(self):
        """SCRAM may be used where a password in clear text may not."""
        self.set(posternClearTextLogin="never")
        try:
            self.assertEqual(self.mechanisms(), {"SCRAM-SHA-256"})
            self.assertIsNone(self.imap("SCRAM-SHA-256", Scram("alice", self.password)))
            self.assertIn("PRIVACYREQUIRED", self.imap("PLAIN", lambda _: f"\0alice\0{self.password}".encode()))
        finally:
            self.set(posternClearTextLogin="loopback")

    # --- client certificates
    def certificate(self, name, subject, extension="", issuer="ca", days="30"):
        tls = os.path.join(self.site.dir, "tls")
        path = os.path.join(tls, name)
        run = lambda *words: subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(path + ".ext", "w") as file:
            file.write(f"basicConstraints=CA:FALSE\n{extension}\n")
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", path + ".key", "-out", path + ".csr")
        if issuer is None:
            run("x509", "-req", "-in", path + ".csr", "-signkey", path + ".key", "-days", days, "-out", path + ".pem")
        else:
            run("x509", "-req", "-in", path + ".csr", "-CA", os.path.join(tls, issuer + ".pem"), "-CAkey", os.path.join(tls, issuer + ".key"),
                "-CAcreateserial", "-days", days, "-extfile", path + ".ext", "-out", path + ".pem")
        context = self.site.tls()
        context.load_cert_chain(path + ".pem", path + ".key")
        return context

    def short_certificate(self, name, seconds):
        tls = os.path.join(self.site.dir, "tls")
        path = os.path.join(tls, name)
        with open(path + ".cnf", "w") as file:
            file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}.index\nnew_certs_dir={tls}\nserial={path}.serial\ndefault_md=sha256\npolicy=p\n"
                       "[p]\ncommonName=supplied\n")
        for kind, text in (("index", ""), ("serial", "77\n")):
            with open(f"{path}.{kind}", "w") as file:
                file.write(text)
        run = lambda *words: subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", path + ".key", "-out", path + ".csr")
        end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))
        run("ca", "-batch", "-config", path + ".cnf", "-in", path + ".csr", "-out", path + ".pem", "-notext", "-cert", f"{tls}/ca.pem", "-keyfile", f"{tls}/ca.key",
            "-startdate", "20200101000000Z", "-enddate", end)
        context = self.site.tls()
        context.load_cert_chain(path + ".pem", path + ".key")
        return context

    def test_certificate_ends_while_its_session_is_resumed(self):
        def is_offered(session):
            with socket.create_connection(("127.0.0.1", self.site.imaps), timeout=30) as plain, \
                    context.wrap_socket(plain, server_hostname="localhost", session=session) as sock:
                self.assertEqual(sock.session_reused, session is not None)
                line = sock.recv(4096)
                sock.sendall(b"a LOGOUT\r\n")
                while sock.recv(4096):
                    pass
                return b"AUTH=EXTERNAL" in line, sock.session
        self.set(posternTlsClientCa="ca.pem")
        try:
            address = self.certificate("begun", "/CN=alice")
            poll(lambda: "EXTERNAL" in self.mechanisms(tls=True, context=address), what="EXTERNAL")
            context = self.short_certificate("bob", 6)
            offered, session = is_offered(None)
            self.assertTrue(offered)
            poll(lambda: not is_offered(session)[0], what="the end of the certificate")
        finally:
            self.set(posternTlsClientCa=None)

    def test_external(self):
        site = self.site
        self.assertNotIn("EXTERNAL", self.mechanisms(tls=True))
        self.set(posternTlsClientCa="ca.pem")
        try:
            address = self.certificate("address", "/CN=somebody", "subjectAltName=email:alice@example.org")
            poll(lambda: "EXTERNAL" in self.mechanisms(tls=True, context=address), what="EXTERNAL")
            uid = self.certificate("uid", "/O=x/UID=bob/CN=alice")
            name = self.certificate("name", "/O=x/CN=alice")
            nobody = self.certificate("nobody", "/CN=nobody")
            own = self.certificate("own", "/CN=alice", issuer=None)
            for context, who, as_name in ((address, "alice", ""), (address, "alice", "alice"), (uid, "bob", "bob@example.org"), (name, "alice", "")):
                self.assertIsNone(self.imap("EXTERNAL", lambda _: as_name.encode(), tls=True, context=context), (who, as_name))
            for context, as_name in ((address, "bob"), (uid, "alice"), (nobody, ""), (nobody, "alice")):
                self.assertIn(REFUSED, self.imap("EXTERNAL", lambda _: as_name.encode(), tls=True, context=context), as_name)
            # A certificate that nobody there has issued, or that is over or for other things, is as none; its owner is not kept out.
            late = self.certificate("late", "/CN=alice", days="-1")
            server = self.certificate("purpose", "/CN=alice", "extendedKeyUsage=serverAuth")
            for context in (own, late, server):
                self.assertNotIn("EXTERNAL", self.mechanisms(tls=True, context=context))
            self.assertIn("CANNOT", self.imap("EXTERNAL", lambda _: b"", tls=True, context=own))
            self.assertIsNone(self.imap("PLAIN", lambda _: f"\0alice\0{self.password}".encode(), tls=True, context=own))
            self.assertNotIn("EXTERNAL", self.mechanisms(tls=True))
            done = subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"localhost:{site.pop3s}", "-cert", f"{site.dir}/tls/address.pem", "-key",
                                   f"{site.dir}/tls/address.key"], input="AUTH EXTERNAL =\r\nSTAT\r\nQUIT\r\n", stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, timeout=60)
            self.assertEqual([line[:3] for line in done.stdout.splitlines()][:4], ["+OK"] * 4, done.stdout)
        finally:
            self.set(posternTlsClientCa=None)

    # --- tokens
    def token(self, key, header='{"alg":"RS256"}', **claims):
        whole = {"iss": "https://id.example.org", "aud": ["postern", "other"], "exp": int(time.time()) + 600, "email": "alice@example.org", **claims}
        encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        text = encode(header.encode()) + "." + encode(json.dumps({k: v for k, v in whole.items() if v is not None}).encode())
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
        return f"{text}.{encode(signed)}"

    def test_tokens(self):
        tls = os.path.join(self.site.dir, "tls")
        for name in ("token", "stranger"):
            subprocess.run(f"openssl genrsa -out {tls}/{name}.key 2048 && openssl rsa -in {tls}/{name}.key -pubout -out {tls}/{name}.pub",
                           shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        key, stranger = f"{tls}/token.key", f"{tls}/stranger.key"
        bearer = lambda token, user="": self.imap("OAUTHBEARER", lambda _: f"n,{'a=' + user if user else ''},\1auth=Bearer {token}\1\1".encode(), tls=True)
        google = lambda token, user: self.imap("XOAUTH2", lambda _: f"user={user}\1auth=Bearer {token}\1\1".encode(), tls=True)
        self.assertNotIn("OAUTHBEARER", self.mechanisms(tls=True))
        self.set(posternTokenKey="token.pub", posternTokenIssuer="https://id.example.org", posternTokenClaim="email")
        self.assertNotIn("OAUTHBEARER", self.mechanisms(tls=True))      # for whom, is not said
        self.set(posternTokenAudience="postern")
        try:
            self.assertLessEqual({"OAUTHBEARER", "XOAUTH2"}, self.mechanisms(tls=True))
            good = self.token(key)
            self.assertIsNone(bearer(good))
            self.assertIsNone(bearer(good, "alice"))
            self.assertIsNone(google(good, "alice@example.org"))
            now = int(time.time())
            for token, user in ((good, "bob"), (self.token(stranger), ""), (self.token(key, exp=now - 60), ""), (self.token(key, aud="other"), ""),
                                (self.token(key, iss="https://elsewhere"), ""), (self.token(key, email="nobody@example.org"), ""),
                                (self.token(key, email=None), ""), (self.token(key, header='{"alg":"none"}'), ""), (self.password, "alice")):
                self.assertIn(REFUSED, bearer(token, user))
            done = subprocess.run(["curl", "-sS", f"imaps://localhost:{self.site.imaps}/INBOX", "--cacert", self.site.env["POSTERN_CA_FILE"], "--user", "alice",
                                   "--oauth2-bearer", good, "-X", "NOOP"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout)
            # The key is another one from now on: no restart.
            os.rename(f"{tls}/stranger.pub", f"{tls}/token.pub")
            self.assertIn(REFUSED, bearer(good))
            self.assertIsNone(bearer(self.token(stranger)))
            os.unlink(f"{tls}/token.pub")
            self.assertIn("UNAVAILABLE", bearer(self.token(stranger)))
            self.assertNotIn(good.split(".")[2], self.site.log())
        finally:
            self.set(posternTokenKey=None, posternTokenIssuer=None, posternTokenAudience=None, posternTokenClaim=None)

    # --- the directory's password policy
    def policy(self, **values):
        lines = "".join(f"{name}: {value}\n" for name, value in values.items())
        self.site.ldap("ldapmodify", text=f"dn: cn=policy,{self.site.suffix}\nchangetype: delete\n\n", check=False)
        self.site.ldap("ldapadd", text=f"dn: cn=policy,{self.site.suffix}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n"
                                       f"pwdAttribute: userPassword\n{lines}\n")

    def counters(self):
        return {s["service"]: s for s in json.loads(self.ctl("status"))["services"]}["imap4"]

    def test_policy(self):
        site = self.site
        self.as_config_admin(f"""dn: cn=module{{0}},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: ppolicy

dn: olcOverlay=ppolicy,olcDatabase={{1}}mdb,cn=config
changetype: add
objectClass: olcOverlayConfig
objectClass: olcPPolicyConfig
olcOverlay: ppolicy
olcPPolicyDefault: cn=policy,{site.suffix}
olcPPolicyUseLockout: TRUE

""")
        plain = lambda user, password=None: self.imap("PLAIN", lambda _: f"\0{user}\0{password or self.password}".encode())
        for user in ("locked", "expired", "grace", "change"):
            site.add_user(user)
        heard = {plain("locked", "wrong"), plain("nobody")}
        # locked after two failures, also for the right password
        self.policy(pwdLockout="TRUE", pwdMaxFailure=2)
        before = self.counters()
        heard |= {plain("locked", "wrong"), plain("locked", "wrong"), plain("locked")}
        self.assertEqual(self.counters()["password_locked"], before["password_locked"] + 1)
        # must be changed first: the bind is good, everything else would be refused
        self.policy(pwdMustChange="TRUE")
        site.modify(site.user_dn("change"), pwdReset="TRUE")
        heard.add(plain("change"))
        self.assertEqual(self.counters()["password_must_change"], before["password_must_change"] + 1)
        # expired, with one more login
        self.policy(pwdMaxAge=1, pwdGraceAuthNLimit=1)
        for user in ("grace", "expired"):
            site.ldap("ldappasswd", "-s", self.password, site.user_dn(user))
        aged = time.monotonic() + 2
        poll(lambda: time.monotonic() > aged, what="the password's age")
        self.assertIsNone(plain("grace"))
        self.assertEqual(self.counters()["password_grace"], before["password_grace"] + 1)
        heard.add(plain("grace"))
        self.assertEqual(self.counters()["password_expired"], before["password_expired"] + 1)
        self.assertEqual(len(heard), 1, heard)      # nobody can tell one from the other
        for words in ("locked by the password policy", "the password must be changed first", "the password has expired"):
            self.assertIn(words, site.log())
        self.policy()

    # --- remembered
    def test_remembered(self):
        site = self.site
        plain = lambda user, password=None: self.imap("PLAIN", lambda _: f"\0{user}\0{password or self.password}".encode())
        self.set(posternRememberSeconds="300")
        try:
            self.assertIsNone(plain("alice"))
            self.assertIsNone(plain("bob"))
            # a change that the directory tells of ends it
            site.modify(site.user_dn("bob"), description="other")
            self.assertIsNone(plain("carol"))
            site.modify(site.user_dn("carol"), userPassword="other")
            # The notices come in order: when this one is there, so are the others.
            site.modify(site.user_dn("alice"), posternMailAlias="alias@example.org")
            poll(lambda: "alias@example.org" in self.ctl("locate", "alice"), what="the notices")
            self.assertIsNone(plain("alice"))
            freeze(site.slapd_pid())
            try:
                self.assertIsNone(plain("alice"))
                self.assertIsNone(plain("ALICE"))
                self.assertIn("UNAVAILABLE", plain("alice", "wrong"))
                self.assertIn("UNAVAILABLE", plain("bob"))
                self.assertIn("UNAVAILABLE", plain("carol"))
            finally:
                os.kill(site.slapd_pid(), signal.SIGCONT)
            poll(lambda: plain("bob") is None, what="bob")
            self.assertIn("by a remembered password", site.log())
        finally:
            self.set(posternRememberSeconds="0")


if __name__ == "__main__":
    main()
