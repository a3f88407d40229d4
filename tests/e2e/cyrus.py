"""A private Cyrus as a Post Office Agent. Debian's cyrus-imapd and dovecot-imapd exclude each other: its packages are unpacked into a temporary directory (or
POSTERN_CYRUS names one where they are), and it runs as who runs the test, who must not be root. Ended by its own process id."""
import glob
import os
import pwd
import re
import signal
import socket
import subprocess

from harness import free_port, poll

PACKAGES = ("cyrus-imapd", "cyrus-common", "sasl2-bin")


def run(*command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more).stdout


def fetch(root, packages):
    run("apt-get", "-qq", "download", *packages, cwd=root)
    for name in glob.glob(os.path.join(root, "*.deb")):
        run("dpkg", "-x", name, root)
        os.remove(name)


def unpack(root):
    """What the packages bring, and of what they depend on the libraries that are not installed here. None, or why there is no Cyrus."""
    if os.access("/usr/lib/cyrus/bin/imapd", os.X_OK):
        return None
    try:
        fetch(root, PACKAGES)
        if "not found" in run("ldd", os.path.join(root, "usr/lib/cyrus/bin/imapd"), env=environment(root)):
            depends = run("apt-cache", "depends", "cyrus-imapd", "cyrus-common")
            fetch(root, sorted(set(re.findall(r"^ *Depends: (lib[^\s:]+)$", depends, re.M))))
        return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no Cyrus to unpack: {error} {getattr(error, 'output', '')}"[:300]


def environment(root):
    libraries = os.path.dirname((glob.glob(os.path.join(root, "usr/lib/*/libcyrus.so.0")) + ["/"])[0])
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "HOME": "/tmp"}


class Cyrus:
    def __init__(self, directory, accounts, tls):
        """accounts: user to password; "gate" may act for all. tls: files of its certificate and key, and of the authority that clients' certificates are by."""
        self.dir = directory
        self.root = os.environ.get("POSTERN_CYRUS") or os.path.join(directory, "packages")
        self.port, self.imaps, self.lmtp, self.process = free_port(), free_port(), free_port(), None
        self.lmtp_auth = free_port()    # takes mail from gate alone
        self.trouble = None
        if not os.path.isdir(self.root):
            os.makedirs(self.root)
            self.trouble = unpack(self.root)
        self.programs = next((path for path in (os.path.join(self.root, "usr/lib/cyrus/bin"), "/usr/lib/cyrus/bin") if os.path.isdir(path)), None)
        if not self.trouble and not self.programs:
            self.trouble = "no Cyrus"
        if self.trouble:
            return
        for name in ("conf/socket", "spool", "sock", "proc"):
            os.makedirs(os.path.join(directory, name))
        user = pwd.getpwuid(os.geteuid()).pw_name
        with open(os.path.join(directory, "imapd.conf"), "w") as file:
            file.write(f"""configdirectory: {directory}/conf
partition-default: {directory}/spool
defaultpartition: default
servername: cyrus.example
cyrus_user: {user}
admins: cyrus
proxyservers: gate
lmtpauth_admins: gate
allowplaintext: yes
sasl_mech_list: PLAIN EXTERNAL
tls_server_cert: {tls[0]}
tls_server_key: {tls[1]}
tls_client_ca_file: {tls[2]}
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/sasldb2
unixhierarchysep: no
altnamespace: no
autocreate_quota: 0
autocreate_users: anyone
autocreate_post: yes
duplicatesuppression: no
lmtpsocket: {directory}/sock/lmtp
idlesocket: {directory}/sock/idle
notifysocket: {directory}/sock/notify
proc_path: {directory}/proc
""")
        with open(os.path.join(directory, "cyrus.conf"), "w") as file:
            file.write(f"""START {{
  recover cmd="{self.programs}/ctl_cyrusdb -C {directory}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{self.programs}/imapd -C {directory}/imapd.conf" listen="127.0.0.1:{self.port}" prefork=1 maxchild=100
  imaps cmd="{self.programs}/imapd -s -C {directory}/imapd.conf" listen="127.0.0.1:{self.imaps}" prefork=0 maxchild=100
  lmtp cmd="{self.programs}/lmtpd -C {directory}/imapd.conf -a" listen="127.0.0.1:{self.lmtp}" prefork=0
  lmtpauth cmd="{self.programs}/lmtpd -C {directory}/imapd.conf" listen="127.0.0.1:{self.lmtp_auth}" prefork=0
}}
DAEMON {{
  idled cmd="{self.programs}/idled -C {directory}/imapd.conf -d"
}}
""")
        command = next(path for path in (os.path.join(self.root, "usr/sbin/saslpasswd2"), "/usr/sbin/saslpasswd2") if os.path.exists(path))
        for name, password in accounts.items():
            subprocess.run([command, "-p", "-c", "-u", "cyrus.example", "-f", os.path.join(directory, "sasldb2"), name], input=password, text=True, check=True,
                           env=environment(self.root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def start(self):
        with open(os.path.join(self.dir, "out"), "a") as out:
            self.process = subprocess.Popen([os.path.join(self.programs, "master"), "-C", os.path.join(self.dir, "imapd.conf"), "-M",
                                             os.path.join(self.dir, "cyrus.conf"), "-p", os.path.join(self.dir, "pid"), "-D"], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, env=environment(self.root), start_new_session=True)
        poll(self.answers, what="an answer of Cyrus")

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.dir, "out"), errors="replace") as file:
                raise RuntimeError(f"Cyrus ended with {self.process.poll()}: {file.read()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                return s.recv(10).startswith(b"* OK")
        except OSError:
            return False

    def stop(self, how=signal.SIGTERM):
        """With SIGKILL all of its processes die at once: they are a session of their own."""
        if self.process is None or self.process.poll() is not None:
            return
        if how == signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        self.process.wait(60)
        poll(self.is_over, what="the end of Cyrus")

    def is_over(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False
