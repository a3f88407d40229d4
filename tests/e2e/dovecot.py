"""A private Dovecot as a Post Office Agent that shares the Maildirs of a post office. It runs as who runs the test, who must not be root:
become_nobody() first. It is ended by its own process id. Debian's dovecot-imapd and cyrus-imapd exclude each other: where the latter is installed,
POSTERN_DOVECOT_IMAP names the directory with the former's programs (dpkg -x of the package)."""
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import unittest

from harness import Site, free_port, poll


PROGRAMS = os.environ.get("POSTERN_DOVECOT_IMAP", "/usr/lib/dovecot")


def is_missing():
    return shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin") is None or \
        not os.access(os.path.join(PROGRAMS, "imap"), os.X_OK)


def become_nobody():
    """Dovecot serves no mail as root. For good: what is made from now on belongs to nobody."""
    if os.geteuid() == 0:
        "localhost".encode("idna")    # loads what socket needs while Python's own files can be read
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        os.environ["HOME"] = "/tmp"


def lmtp(port, tls_port=0, certificate=None):
    """Settings for `more`: LMTP, with TLS by STARTTLS on the first port and from the first byte on the second."""
    encryption = f"ssl = yes\nssl_cert = <{certificate}\nssl_key = <{certificate}\n" if certificate else ""
    return f"""
protocols = imap lmtp
auth_username_format = %Ln
{encryption}service lmtp {{
 user = {pwd.getpwuid(os.geteuid()).pw_name}
 inet_listener lmtp {{
  port = {port}
 }}
 inet_listener lmtps {{
  port = {tls_port}
  ssl = yes
 }}
}}
"""


def beside(case, masters=False, conf="", files=None, **more):
    """For a class of tests: its site, and a Dovecot that shares the Maildirs of the site's office Sales, which does not name it yet. masters: gate may log in as anybody
    ("user*gate"). conf: more settings; files: by name, what is in them; PLACE in both is the directory that the files are in."""
    if is_missing():
        raise unittest.SkipTest("no Dovecot with IMAP")
    case.site = Site()
    case.addClassCleanup(case.site.close)
    place = os.path.join(case.site.dir, "dovecot")
    os.mkdir(place)
    dovecot = Dovecot(place, os.path.join(case.site.dir, "mail", "sales"), **more)
    files = dict(files or {})
    if masters:
        files["masters"] = "gate:{PLAIN}open sesame\n"
        conf += "auth_master_user_separator = *\npassdb {\n driver = passwd-file\n master = yes\n args = PLACE/masters\n}\n"
    for name, content in files.items():
        with open(os.path.join(place, name), "w") as file:
            file.write(content.replace("PLACE", place))
    with open(dovecot.conf, "a") as file:
        file.write(conf.replace("PLACE", place))
    case.addClassCleanup(dovecot.stop)
    dovecot.start()
    case.office = f"cn=Sales,ou=mail,{case.site.suffix}"
    case.agent = f"cn=POA,{case.office}"
    return dovecot


def name_agent(case, dovecot, **more):
    """From now on it is the Post Office Agent of the office."""
    more = {"posternHost": "127.0.0.1", "posternPort": dovecot.port, "posternTls": "disabled", **more}
    case.site.ldap("ldapadd", text=f"dn: {case.agent}\nobjectClass: posternPostOfficeAgent\ncn: POA\n" + "".join(f"{name}: {value}\n" for name, value in more.items()) + "\n")


class Dovecot:
    def __init__(self, directory, mail, template="%u/Maildir", password="secret", proxy=None, tls=None, more="", own_session=False):
        """proxy: (host, port, further fields) of the server that it only passes connections on to. tls: (file of certificate and key, port). more: settings
        of whoever asks. own_session: the scheduler treats it as it treats daemons; who is killed while it runs leaves it behind."""
        self.base = os.path.join(directory, "base")
        self.log_path = os.path.join(directory, "dovecot.log")
        self.conf = os.path.join(directory, "dovecot.conf")
        self.port = free_port()
        self.process = None
        self.own_session = own_session
        os.makedirs(self.base, mode=0o755)
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        passwords = f"password={password}" if proxy is None else f"proxy=y host={proxy[0]} port={proxy[1]} nopassword=y {' '.join(proxy[2:])}"
        encryption = "no" if tls is None else f"yes\nssl_cert = <{tls[0]}\nssl_key = <{tls[0]}"
        with open(self.conf, "w") as file:
            file.write(f"""base_dir = {self.base}
state_dir = {self.base}
log_path = {self.log_path}
protocols = imap
listen = 127.0.0.1
ssl = {encryption}
disable_plaintext_auth = no
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = {os.geteuid()}
first_valid_gid = {os.getegid()}
login_trusted_networks = 127.0.0.0/8
mail_location = maildir:{mail}/{template}
maildir_very_dirty_syncs = no
mailbox_list_index = no
mail_max_userip_connections = 10000
auth_failure_delay = 0
namespace inbox {{
 inbox = yes
 separator = .
}}
passdb {{
 driver = static
 args = {passwords}
}}
userdb {{
 driver = static
 args = uid={os.geteuid()} gid={os.getegid()} home={mail}/%u
}}
service imap-login {{
 executable = {PROGRAMS}/imap-login
 chroot =
 service_count = 0
 client_limit = 10000
 inet_listener imap {{
  port = {self.port}
 }}
 inet_listener imaps {{
  port = {tls[1] if tls else 0}
 }}
}}
service imap {{
 executable = {PROGRAMS}/imap
 process_limit = 10000
}}
service imap-urlauth-login {{
 executable = {PROGRAMS}/imap-urlauth-login
 chroot =
}}
service imap-urlauth-worker {{
 executable = {PROGRAMS}/imap-urlauth-worker
}}
service imap-urlauth {{
 executable = {PROGRAMS}/imap-urlauth
}}
service imap-hibernate {{
 executable = {PROGRAMS}/imap-hibernate
}}
service anvil {{
 chroot =
 unix_listener anvil-auth-penalty {{
  mode = 0
 }}
}}
service stats {{
 chroot =
}}
{more}
""")

    def start(self):
        with open(self.log_path + ".out", "a") as out:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            start_new_session=self.own_session, env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"})
        poll(self.answers, what="an answer of Dovecot")

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"dovecot did not start: {self.log()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                return s.recv(10).startswith(b"* OK")
        except OSError:
            return False

    def children(self, name):
        done = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(self.process.pid)], stdout=subprocess.PIPE, text=True)
        return [int(line.split()[0]) for line in done.stdout.splitlines() if line.split()[1] == name]

    def stop(self, how=signal.SIGTERM):
        """With SIGKILL all of its processes die at once."""
        if self.process is None or self.process.poll() is not None:
            return
        if how == signal.SIGKILL:
            done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], stdout=subprocess.PIPE, text=True)
            for pid in [self.process.pid, *map(int, done.stdout.split())]:
                try:
                    os.kill(pid, how)
                except ProcessLookupError:
                    pass
        else:
            self.process.send_signal(how)
        self.process.wait(60)

    def log(self):
        try:
            with open(self.log_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""
