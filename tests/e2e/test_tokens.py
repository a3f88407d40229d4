#!/usr/bin/env python3
"""Bearer tokens that an authorization server is asked about (RFC 7662): a whole site, and a server in this process that answers by HTTPS, wrongly, late or not at
all."""
import base64
import http.server
import imaplib
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
import unittest
import urllib.parse

from harness import BUILD, Site, kill, main, poll

REFUSED, UNAVAILABLE = "AUTHENTICATIONFAILED", "UNAVAILABLE"
NAME, SECRET = "postern gateway", "s3cr3t/+&"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate, key):
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.tokens, self.asked, self.how, self.release = {}, [], None, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), strict_parsing=True)
        server, how = self.server, self.server.how
        server.asked.append((self.path, self.headers["Authorization"], form))
        if how == "late":
            server.release.wait(60)
        status, body = 200, json.dumps(server.tokens.get(form["token"][0], {"active": False}))
        if how == "huge":
            body = body[:-1] + ',"x":"' + "x" * 100000 + '"}'
        elif how == "garbage":
            body = "<html>"
        elif how == "elsewhere":
            status = 302
        elif isinstance(how, int):
            status = how
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/introspect")
            server.how = None
        if how == "close":
            self.send_header("Connection", "close")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


class Tokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        tls = os.path.join(cls.site.dir, "tls")
        cls.certificate(tls, "id", os.path.join(tls, "ca"))
        run = lambda *words: subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger", "-keyout", f"{tls}/stranger.key", "-out", f"{tls}/stranger.pem")
        run("genrsa", "-out", f"{tls}/token.key", "2048")
        run("rsa", "-in", f"{tls}/token.key", "-pubout", "-out", f"{tls}/token.pub")
        cls.server = Server(f"{tls}/id.pem", f"{tls}/id.key")
        cls.addClassCleanup(cls.server.shutdown)
        cls.url = f"https://127.0.0.1:{cls.server.server_port}"
        with open(os.path.join(cls.site.dir, "credentials", "id.pw"), "w") as file:
            file.write(f"{NAME}\n{SECRET}\n")
        cls.restart("--allow-token-url", cls.url, "--allow-token-url", cls.url.replace("127.0.0.1", "localhost"))

    @classmethod
    def certificate(cls, tls, name, issuer):
        run = lambda *words: subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(f"{tls}/{name}.ext", "w") as file:
            file.write("subjectAltName=IP:127.0.0.1\n")
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=id", "-keyout", f"{tls}/{name}.key", "-out", f"{tls}/{name}.csr")
        run("x509", "-req", "-in", f"{tls}/{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-days", "30", "-extfile",
            f"{tls}/{name}.ext", "-out", f"{tls}/{name}.pem")

    @classmethod
    def restart(cls, *switches):
        site = cls.site
        with open(f"/proc/{site.pid}/cmdline", "rb") as file:
            command = [word.decode() for word in file.read().split(b"\0")[:-1]]
        agent = site.agent_pid()
        kill(site.pid, 15)
        poll(lambda: not os.path.exists(f"/proc/{agent}"), what="the end of the agent")
        with open(f"{site.dir}/posternd.log", "ab") as log:
            child = subprocess.Popen([*command, *switches], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        site.pid = child.pid
        cls.addClassCleanup(lambda: (kill(child.pid, 15), child.wait(60)))
        poll(lambda: cls.ctl("status"), what="the control socket")

    @classmethod
    def ctl(cls, *words):
        return subprocess.run([os.path.join(BUILD, "posternctl"), "--control", cls.site.env["POSTERN_CONTROL"], "--json", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def set(self, **values):
        self.site.set_agent_now(**values)

    def setUp(self):
        self.server.tokens.clear()
        self.server.how = None
        self.server.asked.clear()
        self.set(posternTokenIntrospectionUrl=self.url + "/introspect", posternTokenIntrospectionCa="ca.pem", posternTokenIntrospectionCredentials="id.pw",
                 posternTokenAudience="postern", posternTokenIssuer=None, posternTokenClaim=None, posternTokenScope=None, posternTokenCacheSeconds=None,
                 posternTokenKey=None, posternLoginFailureMilliseconds="50")

    def token(self, name="t0ken-._~+/=", **claims):
        whole = {"active": True, "username": "alice", "aud": "postern", "exp": int(time.time()) + 600, **claims}
        self.server.tokens[name] = {key: value for key, value in whole.items() if value is not None}
        return name

    def login(self, token, user="", mechanism="OAUTHBEARER"):
        """None, or the code that the client hears."""
        client = imaplib.IMAP4("127.0.0.1", self.site.imap, timeout=60)
        message = f"n,{'a=' + user if user else ''},\1auth=Bearer {token}\1\1" if mechanism == "OAUTHBEARER" else f"user={user}\1auth=Bearer {token}\1\1"
        try:
            client.authenticate(mechanism, lambda _: message.encode())
            client.select("INBOX")
            return None
        except imaplib.IMAP4.error as error:
            return re.search(r"\[(\w+)", str(error)).group(1)
        finally:
            client.shutdown()

    def test_active(self):
        token = self.token()
        self.assertIsNone(self.login(token))
        self.assertIsNone(self.login(token, "alice@example.org"))
        self.assertIsNone(self.login(token, "alice", "XOAUTH2"))
        path, authorization, form = self.server.asked[0]
        self.assertEqual((path, form), ("/introspect", {"token": [token], "token_type_hint": ["access_token"]}))
        name, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
        self.assertEqual((urllib.parse.unquote(name), urllib.parse.unquote(secret)), (NAME, SECRET))
        self.assertEqual(self.login(token, "bob"), REFUSED)
        self.assertEqual(len(self.server.asked), 4)
        self.assertIsNone(self.login(self.token("two", username="bob@example.org", aud=["x", "postern"], token_type="bearer", exp=None)))
        for secret in (token, SECRET):
            self.assertNotIn(secret, self.site.log())

    def test_not_for_us(self):
        now = int(time.time())
        rows = ({"active": False}, {"active": "true"}, {"active": 1}, {"active": None}, {"aud": "other"}, {"aud": None}, {"exp": now - 60}, {"exp": "never"}, {"nbf": now + 60},
                {"token_type": "refresh_token"}, {"username": None}, {"username": ""}, {"username": "nobody"}, {"username": "*"}, {"username": "alice)(uid=*"})
        for claims in rows:
            self.assertEqual(self.login(self.token(**claims)), REFUSED, claims)
        self.assertEqual(self.login("unknown"), REFUSED)
        asked = len(self.server.asked)
        self.assertEqual(self.login("a&token=b"), REFUSED)
        self.assertEqual(len(self.server.asked), asked, "what is no token is not asked about")
        self.set(posternTokenScope="mail", posternTokenIssuer="https://id", posternTokenClaim="email")
        good = {"scope": "openid mail", "iss": "https://id", "email": "alice@example.org", "email_verified": True}
        self.assertIsNone(self.login(self.token(**good)))
        for claims in ({"scope": "openid mailbox"}, {"scope": None}, {"iss": None}, {"iss": "https://id/"}, {"email": None}, {"email_verified": False}):
            self.assertEqual(self.login(self.token(**{**good, **claims})), REFUSED, claims)

    def test_kept_answers(self):
        token = self.token()
        self.set(posternTokenCacheSeconds="300")
        for _ in range(3):
            self.assertIsNone(self.login(token))
        self.assertEqual(len(self.server.asked), 1)
        self.assertEqual(self.login(token, "bob"), REFUSED)
        self.assertEqual(self.login("t0ken-._~+/"), REFUSED)
        # Another configuration asks again, and a token that is over is over for the answer that is kept.
        self.token(active=False)
        self.set(posternTokenScope="mail")
        self.assertEqual(self.login(token), REFUSED)
        soon = self.token("soon", exp=int(time.time()) + 5, scope="mail")
        self.assertIsNone(self.login(soon))
        self.token("soon", active=False)
        poll(lambda: self.login(soon) == REFUSED, what="the end of the token")

    def test_server_that_cannot_be_trusted(self):
        token = self.token()
        for values in ({"posternTokenIntrospectionCa": "stranger.pem"}, {"posternTokenIntrospectionCa": None}, {"posternTokenIntrospectionCa": "none.pem"},
                       {"posternTokenIntrospectionCa": "ca.pem", "posternTokenIntrospectionUrl": self.url.replace("127.0.0.1", "localhost") + "/introspect"},
                       {"posternTokenIntrospectionCredentials": "none.pw"}):
            self.set(**values)
            self.assertEqual(self.login(token), UNAVAILABLE, values)
        self.assertEqual(self.server.asked, [])

    def test_authority_that_is_another_now(self):
        """The file is read for each connection, and no session is taken up again that an authority of before has vouched for."""
        tls = os.path.join(self.site.dir, "tls")
        self.server.how = "close"
        shutil.copy(f"{tls}/ca.pem", f"{tls}/current.pem")
        self.set(posternTokenIntrospectionCa="current.pem")
        token = self.token()
        self.assertIsNone(self.login(token))
        asked = len(self.server.asked)
        shutil.copy(f"{tls}/stranger.pem", f"{tls}/current.pem")
        self.assertEqual(self.login(token), UNAVAILABLE)
        self.assertEqual(len(self.server.asked), asked)
        shutil.copy(f"{tls}/ca.pem", f"{tls}/current.pem")
        poll(lambda: self.login(token) is None, what="the trust again")

    def test_server_that_errs(self):
        token = self.token()
        for how, result in ((500, UNAVAILABLE), (401, UNAVAILABLE), (400, REFUSED), ("garbage", REFUSED), ("elsewhere", REFUSED)):
            self.server.how = how
            self.assertEqual(self.login(token), result, (how, self.site.log()[-1000:]))
        self.server.how = None
        self.assertIsNone(self.login(token))
        self.server.how = "huge"
        self.assertEqual(self.login(token), UNAVAILABLE)
        self.server.how = None
        self.assertIsNone(self.login(token), "what is said of one user keeps nobody else out")
        self.assertIn("our credentials are refused", self.site.log())

    def test_server_that_is_late(self):
        """Clients with tokens hear that in time, and those with passwords notice nothing."""
        self.server.how = "late"
        self.server.release.clear()
        results = []
        threads = [threading.Thread(target=lambda number=number: results.append(self.login(self.token(f"late{number}")))) for number in range(24)]
        for thread in threads:
            thread.start()
        poll(lambda: len(self.server.asked) >= 4, what="tokens under way")
        waited = []
        for _ in range(10):
            client = self.site.imap_client()
            client.shutdown()
            waited.append(len(results))
        self.assertEqual(waited[0], 0, "they were still waiting")
        for thread in threads:
            thread.join()
        self.assertEqual(set(results), {UNAVAILABLE})
        self.server.release.set()
        self.server.how = None
        token = self.token()
        poll(lambda: self.login(token) is None, what="the end of the rest")

    def test_signed_too(self):
        """With a key as well, a token must pass both."""
        key = f"{self.site.dir}/tls/token.key"
        encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()

        def signed(**claims):
            whole = {"iss": "https://id", "aud": "postern", "exp": int(time.time()) + 600, "sub": "17", **claims}
            text = encode(b'{"alg":"RS256"}') + "." + encode(json.dumps(whole).encode())
            signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
            return f"{text}.{encode(signature)}"
        self.set(posternTokenKey="token.pub", posternTokenIssuer="https://id")
        good = signed()
        self.assertIsNone(self.login(self.token(good, iss="https://id")))
        self.assertEqual(self.login(self.token(good, iss="https://id", active=False)), REFUSED)
        asked = len(self.server.asked)
        for bad in (signed(aud="other"), good[:-8] + "AAAAAAAA", "opaque"):
            self.assertEqual(self.login(self.token(bad, iss="https://id")), REFUSED)
        self.assertEqual(len(self.server.asked), asked, "what is not signed is not asked about")

    def test_bounds(self):
        """Whoever may write the agent object must not send users' tokens elsewhere."""
        token = self.token()
        rows = (("https://id.example.com/introspect", "--allow-token-url"), (self.url + "0/introspect", "--allow-token-url"), (self.url + ".example.com/", "--allow-token-url"),
                (self.url + "@id.example.com/", "neither an https URL"), (self.url.replace("https", "http") + "/", "--allow-token-url"),
                ("http://id.example.com/", "neither an https URL"), ("file:///etc/passwd", "neither an https URL"))
        for url, words in rows:
            before = len(self.site.log())
            self.site.set_agent(posternTokenIntrospectionUrl=url)
            poll(lambda: "posternTokenIntrospectionUrl: " in self.site.log()[before:], what=url)
            self.assertIn(words, self.site.log()[before:], url)
            self.assertIsNone(self.login(token), "the last good settings go on")
            self.set(posternTokenIntrospectionUrl=self.url)
        self.site.set_agent(posternTokenAudience=None)
        poll(lambda: "posternTokenAudience: is missing" in self.site.log(), what="the fault")

    def test_offer(self):
        words = lambda: {word[5:] for word in self.site.imap_client(login=False).capabilities if word.startswith("AUTH=")}
        self.assertLessEqual({"OAUTHBEARER", "XOAUTH2"}, words())
        self.set(posternTokenIntrospectionUrl=None)
        self.assertEqual(words() & {"OAUTHBEARER", "XOAUTH2"}, set())


if __name__ == "__main__":
    main()
