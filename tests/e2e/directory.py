"""A private directory server under a temporary directory, for schema.py and watch.py: an OpenLDAP slapd or a 389 Directory Server on a free
loopback port, ended by its own process id; and the counting of checks. No sleeps: poll()."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ports import free_port
from processes import freeze, is_alive

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(SOURCE, "build"))
SUFFIX = "dc=example,dc=org"
ADMIN = f"cn=admin,{SUFFIX}"
PASSWORD = "secret12345"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name}: {detail}", flush=True)
        return good

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


def poll(condition, seconds=60):
    """Calls condition until it gives something true; returns the last value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.01)


def run(*command, text=None, env=None):
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PATH": PATH, "LDAPNOINIT": "1", **(env or {})})
    return done.returncode, done.stdout


class Server:
    """What both kinds share. dir is removed by close()."""

    def __init__(self, kind):
        self.dir = tempfile.mkdtemp(prefix=f"postern-{kind}-")
        self.port = free_port()
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self.pid = None

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def ldap(self, tool, *arguments, text=None, user=None, password=PASSWORD):
        return run(tool, "-x", "-H", self.uri, "-D", user or self.admin, "-w", password, *arguments, text=text)

    def search(self, *arguments, user=None):
        return self.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", *arguments, user=user)[1]

    def answers(self):
        return run("ldapsearch", "-x", "-H", self.uri, "-s", "base", "-b", "", "-l", "2", "1.1")[0] == 0

    def send(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def freeze(self):
        freeze(self.pid)

    def stop(self, number=signal.SIGTERM):
        if self.pid is not None:
            self.send(number)
            if not poll(lambda: not is_alive(self.pid), 60):
                self.send(signal.SIGKILL)
                poll(lambda: not is_alive(self.pid), 5)
            self.reap()
        self.pid = None

    def reap(self):
        pass

    def close(self):
        self.send(signal.SIGCONT) if self.pid else None
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Slapd(Server):
    admin = ADMIN
    config_admin = "cn=admin,cn=config"

    def __init__(self):
        super().__init__("slapd")
        self.ldapi = "ldapi://" + self.path("ldapi").replace("/", "%2F")
        self.more_uris = ""
        self.env = {}
        os.mkdir(self.path("slapd.d"), 0o700)
        os.mkdir(self.path("db"), 0o700)
        self.write("config.ldif", f"""dn: cn=config
objectClass: olcGlobal
cn: config
olcPidFile: {self.path("slapd.pid")}
olcLogLevel: none

dn: cn=module{{0}},cn=config
objectClass: olcModuleList
cn: module{{0}}
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: syncprov
olcModuleLoad: ppolicy

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif

dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
objectClass: olcFrontendConfig
olcDatabase: {{-1}}frontend
olcSizeLimit: 500
olcAccess: {{0}}to dn.exact="" by * read
olcAccess: {{1}}to dn.base="cn=Subschema" by * read

dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config
olcRootDN: {self.config_admin}
olcRootPW: {PASSWORD}

dn: olcDatabase={{1}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{1}}mdb
olcDbMaxSize: 1073741824
olcDbDirectory: {self.path("db")}
olcSuffix: {SUFFIX}
olcRootDN: {ADMIN}
olcRootPW: {PASSWORD}
olcAccess: {{0}}to * by self write by users read by anonymous auth
""")
        code, said = run("slapadd", "-F", self.path("slapd.d"), "-n", "0", "-l", self.path("config.ldif"))
        if code != 0:
            raise RuntimeError(f"slapadd: {said}")
        self.start()

    def start(self):
        try:
            os.unlink(self.path("slapd.pid"))
        except FileNotFoundError:
            pass
        code, said = run("slapd", "-h", f"{self.uri} {self.ldapi} {self.more_uris}", "-F", self.path("slapd.d"), "-n", "slapd", env=self.env)
        if code != 0 or not poll(lambda: os.path.exists(self.path("slapd.pid")) and os.path.getsize(self.path("slapd.pid"))):
            raise RuntimeError(f"slapd did not start: {said}")
        with open(self.path("slapd.pid")) as file:
            self.pid = int(file.read())
        if not poll(self.answers):
            raise RuntimeError("slapd does not answer")

    def configure(self, text):
        """Changes of cn=config."""
        code, said = self.ldap("ldapmodify", user=self.config_admin, text=text)
        if code != 0:
            raise RuntimeError(f"cn=config: {said}")

    def replicate_from(self, other, number):
        """Becomes one of two providers that follow each other (RFC 4533, both ways)."""
        self.configure(f"""dn: cn=config
changetype: modify
replace: olcServerID
olcServerID: {number}

dn: olcDatabase={{1}}mdb,cn=config
changetype: modify
replace: olcSyncrepl
olcSyncrepl: rid=00{number} provider={other.uri} bindmethod=simple binddn={ADMIN} credentials={PASSWORD} searchbase={SUFFIX}
  type=refreshAndPersist retry="1 +" timeout=3 network-timeout=3
-
replace: olcMultiProvider
olcMultiProvider: TRUE

""")

    def dump(self, path):
        """What it holds now, as a backup."""
        code, said = run("slapcat", "-F", self.path("slapd.d"), "-n", "1", "-l", path)
        if code != 0:
            raise RuntimeError(f"slapcat: {said}")

    def restore(self, path):
        """Stopped, filled from a backup, and started."""
        self.stop()
        shutil.rmtree(self.path("db"))
        os.mkdir(self.path("db"), 0o700)
        code, said = run("slapadd", "-q", "-F", self.path("slapd.d"), "-n", "1", "-l", path)
        if code != 0:
            raise RuntimeError(f"slapadd: {said}")
        self.start()

    def schema_dn(self):
        text = self.search("-b", "cn=schema,cn=config", "(cn=*postern)", "dn", user=self.config_admin)
        return text.partition("dn: ")[2].splitlines()[0] if "dn: " in text else None


class Ns389(Server):
    """389 Directory Server without systemd. dscreate ends with an error at its last check, but leaves a usable configuration."""
    admin = "cn=Directory Manager"

    def __init__(self):
        super().__init__("389")
        self.process = None
        self.owner = "nobody" if os.geteuid() == 0 else None
        for name in ("etc", "cert", "db", "dbhome", "bak", "ldif", "lock", "log", "run", "inst", "var", "tmp"):
            os.mkdir(self.path(name))
        paths = {"ldapi": "run/ldapi", "config_dir": "etc", "cert_dir": "cert", "schema_dir": "etc/schema", "db_dir": "db", "db_home_dir": "dbhome",
                 "backup_dir": "bak", "ldif_dir": "ldif", "lock_dir": "lock", "log_dir": "log", "run_dir": "run", "inst_dir": "inst",
                 "local_state_dir": "var", "tmp_dir": "tmp"}
        lines = "".join(f"{name} = {self.path(path)}\n" for name, path in paths.items())
        self.write("ds.inf", f"""[general]
config_version = 2
full_machine_name = localhost.localdomain
strict_host_checking = False
systemd = False
selinux = False
start = False
defaults = 999999999
[slapd]
instance_name = postern{os.getpid()}
user = {self.owner or os.environ.get("USER", "nobody")}
group = nogroup
root_dn = cn=Directory Manager
root_password = {PASSWORD}
port = {self.port}
secure_port = {free_port()}
self_sign_cert = False
{lines}""")
        self.said = run("dscreate", "from-file", self.path("ds.inf"))[1]
        if not os.path.exists(self.path("etc", "dse.ldif")):
            raise RuntimeError(f"dscreate: {self.said[-2000:]}")
        if self.owner:
            os.chmod(self.dir, 0o755)
            run("chown", "-R", "nobody:nogroup", self.dir)
        self.start()
        self.prepare()

    def start(self):
        command = ["ns-slapd", "-D", self.path("etc"), "-d", "0"]
        if self.owner:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        for _ in range(3):      # a start after a crash has been seen to end without a word
            with open(self.path("started.log"), "ab") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": PATH})
            self.pid = self.process.pid
            if poll(lambda: self.answers() or self.process.poll() is not None) and self.process.poll() is None:
                return
            self.stop(signal.SIGKILL)
        raise RuntimeError("ns-slapd does not start")

    def reap(self):
        self.process.wait()

    def prepare(self):
        """The password set by dscreate does not verify: it is set again over ldapi, as root. Then a backend."""
        ldapi = "ldapi://" + self.path("run", "ldapi").replace("/", "%2F")
        code, said = run("ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", ldapi, text=f"""dn: cn=config
changetype: modify
replace: nsslapd-rootpw
nsslapd-rootpw: {PASSWORD}
""")
        if code != 0:
            raise RuntimeError(f"389-ds password: {said}")
        code, said = self.ldap("ldapmodify", text=f"""dn: cn=userroot,cn=ldbm database,cn=plugins,cn=config
changetype: add
objectClass: top
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userroot
nsslapd-suffix: {SUFFIX}

dn: cn="{SUFFIX}",cn=mapping tree,cn=config
changetype: add
objectClass: top
objectClass: extensibleObject
objectClass: nsMappingTree
cn: {SUFFIX}
nsslapd-state: backend
nsslapd-backend: userroot

dn: {SUFFIX}
changetype: add
objectClass: domain
dc: example
""")
        if code != 0:
            raise RuntimeError(f"389-ds backend: {said}")

    def offer_sync(self):
        """Switches the content synchronisation plug-in on, and the change log that it needs."""
        code, said = self.ldap("ldapmodify", text="""dn: cn=Content Synchronization,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on

dn: cn=Retro Changelog Plugin,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on
-
replace: nsslapd-attribute
nsslapd-attribute: nsuniqueid:targetUniqueId
""")
        if code != 0:
            raise RuntimeError(f"389-ds plug-ins: {said}")
        self.stop()
        self.start()


def have(*programs):
    return all(shutil.which(program, path=PATH) for program in programs)


def schema_file(name):
    """A file of schema/: generated ones lie in the build directory."""
    built = os.path.join(BUILD, "schema", name)
    return built if os.path.exists(built) else os.path.join(SOURCE, "schema", name)


def filled(name, **words):
    """A file of schema/ with the words between @ signs filled in."""
    with open(schema_file(name)) as file:
        text = file.read()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
