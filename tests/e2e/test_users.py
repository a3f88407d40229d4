#!/usr/bin/env python3
"""Users kept in memory, over a real slapd: what is kept is asked of nobody, and every change of the directory ends it. Drives config_driver."""
import os
import re
import signal
import sys
import threading
import time

import directory
import watch
from directory import PASSWORD, SUFFIX, Slapd, poll
from watch import AGENT, MAIL, Driver, add, check, checks, modify, prepare

PEOPLE = f"ou=people,{SUFFIX}"
ALICE = f"uid=alice,{PEOPLE}"
BOB = f"uid=bob,{PEOPLE}"


def keep(d, name, pattern="user id="):
    """Asked for until it is kept: the first look-up after a change may fall together with its notice."""
    def look():
        d.ask(f"find {name}")
        return re.search(pattern, d.ask(f"kept {name}"))
    return check(f"{name} is kept", poll(look), d.ask(f"kept {name}") + d.said()[-2000:])


def searches(server):
    """How many searches the server has been asked for."""
    text = server.search("-b", "cn=Search,cn=Operations,cn=Monitor", "-s", "base", "monitorOpInitiated", user=server.config_admin)
    return int(re.search(r"monitorOpInitiated: (\d+)", text).group(1))


def test_kept(server, d):
    keep(d, "alice")
    keep(d, "ALICE@example.org")
    before = searches(server)
    for name in ("alice", "Alice", "alice@EXAMPLE.org"):
        check(f"{name} by memory", re.search(r"user id=alice office=Sales mailbox=a/alice .*addresses=alice@example.org,a.b@example.org",
                                             d.ask(f"kept {name}")), d.ask(f"kept {name}"))
        check(f"{name} by a look-up", "user id=alice" in d.ask(f"find {name}"))
    check("nobody was asked", searches(server) - before == 1, searches(server) - before)
    check("not kept by another name", "not kept" in d.ask("kept a.b@example.org"))
    check("unknown is not kept", "not kept" in d.ask("kept nobody"))


def test_changes(server, d):
    d.ask("hold alice")
    check("current", "current=1" in d.ask("held"), d.ask("held"))
    modify(server, ALICE, "replace: posternDisabled\nposternDisabled: TRUE")
    d.expect("disabled at the next login", r"disabled=1", command="find alice")
    d.expect("the session's user is out of date", r"current=0 told=[1-9]", command="held")
    d.expect("refreshed", r"disabled=1", command="again")
    check("current again", "current=1" in d.ask("held"), d.ask("held"))
    modify(server, ALICE, "delete: posternDisabled")
    d.expect("enabled at the next login", r"disabled=0", command="find alice")
    keep(d, "alice")
    modify(server, ALICE, f"replace: posternPostOffice\nposternPostOffice: cn=Research,{MAIL}")
    d.expect("moved", r"office=Research", command="find alice")
    modify(server, ALICE, f"replace: posternPostOffice\nposternPostOffice: cn=Sales,{MAIL}")
    d.expect("moved back", r"office=Sales", command="find alice")
    keep(d, "alice")
    for word, time_ in (("expired", "20200101000000Z"), ("not yet expired", "20990101000000Z")):
        modify(server, ALICE, f"replace: posternExpirationTime\nposternExpirationTime: {time_}")
        d.expect(word, f"disabled={int(word == 'expired')}", command="find alice")
    soon = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 6))
    modify(server, ALICE, f"replace: posternExpirationTime\nposternExpirationTime: {soon}")
    keep(d, "alice")
    d.ask("hold alice")
    before = searches(server)
    d.expect("expires without a change", r"disabled=1", command="kept alice")
    check("nor a look-up but for heartbeats", searches(server) - before < 20, searches(server) - before)
    check("its session is out of date", "current=0" in d.ask("held"), d.ask("held"))
    modify(server, ALICE, "delete: posternExpirationTime")
    d.expect("for ever", r"disabled=0", command="find alice")


def test_unimportant(server, d):
    """What a user is not made from does not matter: a password policy writes into the entry at each failed login."""
    keep(d, "alice")
    d.ask("hold alice")
    modify(server, ALICE, "replace: description\ndescription: something else")
    modify(server, BOB, "replace: posternMailAlias\nposternMailAlias: marker@example.org")     # its notice comes later
    d.expect("a later change is known", r"marker@example.org", command="find bob")
    check("still kept", "user id=alice" in d.ask("kept alice"))
    check("still current", "current=1" in d.ask("held"), d.ask("held"))
    modify(server, BOB, "delete: posternMailAlias")


def test_names(server, d):
    keep(d, "a.b@example.org")
    modify(server, BOB, "replace: posternMailAlias\nposternMailAlias: A.B@example.org")
    d.expect("a name that finds two is refused", r"more than one user", command="find a.b@example.org")
    check("and not kept", "not kept" in d.ask("kept a.b@example.org"))
    modify(server, BOB, "delete: posternMailAlias")
    d.expect("one again", r"user id=alice", command="find a.b@example.org")
    keep(d, "alice")
    d.ask("hold alice")
    server.ldap("ldapmodify", text=f"dn: {ALICE}\nchangetype: modrdn\nnewrdn: uid=alicia\ndeleteoldrdn: 1\n")
    d.expect("renamed", r"no not found", command="find alice")
    d.expect("under the new name", r"user id=alicia", command="find alicia")
    d.expect("the session's user has another name", r"user id=alicia", command="again")
    server.ldap("ldapmodify", text=f"dn: uid=alicia,{PEOPLE}\nchangetype: modrdn\nnewrdn: uid=alice\ndeleteoldrdn: 1\n")
    d.expect("and back", r"user id=alice ", command="find alice")
    keep(d, "alice")
    d.ask("hold alice")
    server.ldap("ldapmodify", text=f"dn: {PEOPLE}\nchangetype: modrdn\nnewrdn: ou=folk\ndeleteoldrdn: 1\n")
    d.expect("what is above is renamed: the DN is asked for", r"verified", command="verify alice alicepw")
    d.expect("and the session's user is found", r"user id=alice", command="again")
    server.ldap("ldapmodify", text=f"dn: ou=folk,{SUFFIX}\nchangetype: modrdn\nnewrdn: ou=people\ndeleteoldrdn: 1\n")
    d.expect("and back", r"verified", command="verify alice alicepw")
    add(server, f"uid=carol,{PEOPLE}", f"objectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: carol\ncn: C\nsn: C\nmail: carol@example.org\n"
        f"posternPostOffice: cn=Sales,{MAIL}\nuserPassword: carolpw")
    d.expect("new", r"user id=carol", command="find carol")
    keep(d, "carol")
    d.ask("hold carol")
    server.ldap("ldapdelete", f"uid=carol,{PEOPLE}")
    d.expect("deleted", r"no not found", command="find carol")
    d.expect("the session's user is gone", r"current=0", command="held")
    check("for good", "no not found" in d.ask("again"))


def test_no_mail_user(server, d):
    """Not deleted, but no mail user any more."""
    add(server, f"uid=gina,{PEOPLE}", f"objectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: gina\ncn: G\nsn: G\nposternPostOffice: cn=Sales,{MAIL}")
    d.expect("a mail user", r"user id=gina", command="find gina")
    keep(d, "gina")
    d.ask("hold gina")
    modify(server, f"uid=gina,{PEOPLE}", "delete: objectClass\nobjectClass: posternMailUser\n-\ndelete: posternPostOffice")
    d.expect("no mail user any more", r"no not found", command="find gina")
    d.expect("the session's user is gone", r"current=0", command="held")
    server.ldap("ldapdelete", f"uid=gina,{PEOPLE}")


def test_lists(server, d):
    add(server, f"cn=by list,{AGENT}", f"objectClass: posternClassOfService\ncn: by list\nposternMember: cn=outer,{PEOPLE}\nposternImap4Access: prevent")
    d.expect("by a list of a list", r"imap4=0", command="find bob")
    keep(d, "bob")
    keep(d, "alice")
    d.ask("hold alice")
    add(server, f"cn=others,{PEOPLE}", f"objectClass: groupOfNames\ncn: others\nmember: {ALICE}")
    modify(server, f"cn=others,{PEOPLE}", f"add: member\nmember: {BOB}")
    modify(server, BOB, "replace: posternMailAlias\nposternMailAlias: marker@example.org")     # its notice comes later
    d.expect("a later change is known", r"marker@example.org", command="find bob")
    check("a list that no class names changes nothing", "current=1" in d.ask("held") and "user id=alice" in d.ask("kept alice"), d.ask("held"))
    modify(server, f"cn=inner,{PEOPLE}", f"add: member\nmember: {ALICE}")
    d.expect("put on a list below a named one", r"imap4=0", command="find alice")
    d.expect("the session's user is out of date", r"current=0", command="held")
    d.expect("and loses the right", r"imap4=0", command="again")
    keep(d, "bob")
    modify(server, f"cn=inner,{PEOPLE}", f"delete: member\nmember: {BOB}")
    d.expect("taken off", r"imap4=1", command="find bob")
    modify(server, f"cn=inner,{PEOPLE}", f"add: member\nmember: {BOB}")
    d.expect("and on", r"imap4=0", command="find bob")
    keep(d, "bob")
    server.ldap("ldapmodify", text=f"dn: cn=inner,{PEOPLE}\nchangetype: modrdn\nnewrdn: cn=core\ndeleteoldrdn: 1\n")
    d.expect("the list is renamed: the one above does not hold it any more", r"imap4=1", command="find bob")
    server.ldap("ldapmodify", text=f"dn: cn=core,{PEOPLE}\nchangetype: modrdn\nnewrdn: cn=inner\ndeleteoldrdn: 1\n")
    d.expect("and back", r"imap4=0", command="find bob")
    keep(d, "bob")
    server.ldap("ldapdelete", f"cn=inner,{PEOPLE}")
    d.expect("the list is deleted", r"imap4=1", command="find bob")
    # a change of a list that did not matter, and then a class that names it: no look-up may be saved by what was known before
    keep(d, "bob")
    modify(server, f"cn=others,{PEOPLE}", f"delete: member\nmember: {BOB}")
    modify(server, f"cn=by list,{AGENT}", f"replace: posternMember\nposternMember: cn=others,{PEOPLE}")
    d.expect("who is on it", r"imap4=0", command="find alice")
    d.expect("who was on it", r"imap4=1", command="find bob")
    keep(d, "alice")
    before = searches(server)
    modify(server, f"cn=by list,{AGENT}", "replace: posternPop3Access\nposternPop3Access: prevent")
    d.expect("another snapshot", r"pop3=0 imap4=0", command="kept alice")
    check("needs no look-up", searches(server) - before == 1, searches(server) - before)
    server.ldap("ldapdelete", f"cn=by list,{AGENT}")
    d.expect("no class", r"pop3=1 imap4=1", command="find alice")


def test_outage(server, d):
    keep(d, "alice")
    d.ask("hold alice")
    server.stop(signal.SIGKILL)
    d.expect("nothing is kept while the directory is away", r"not kept", command="kept alice")
    check("not known", d.ask("find alice").startswith("no unreachable"), d.ask("find alice"))
    check("the session goes on", "current=1" in d.ask("held"), d.ask("held"))
    server.start()
    d.expect("found again", r"user id=alice", command="find alice")
    d.expect("all are in doubt", r"current=0", command="held")
    keep(d, "alice")
    # changed while the gateway could not hear of it
    server.stop(signal.SIGKILL)
    d.expect("not kept again", r"not kept", command="kept alice")
    text = f"dn: {ALICE}\nchangetype: modify\nreplace: posternDisabled\nposternDisabled: TRUE\n"
    code, said = directory.run("slapmodify", "-F", server.path("slapd.d"), "-n", "1", text=text)
    check("slapmodify", code == 0, said)
    server.start()
    d.expect("no answer of before", r"disabled=1|unreachable", command="find alice")
    d.expect("the new one", r"disabled=1", command="find alice")
    modify(server, ALICE, "delete: posternDisabled")
    d.expect("and the next", r"disabled=0", command="find alice")
    keep(d, "alice")
    server.freeze()
    d.expect("a mute server is found out", r"not kept", command="kept alice")
    server.send(signal.SIGCONT)
    keep(d, "alice")


def binds(server):
    text = server.search("-b", "cn=Bind,cn=Operations,cn=Monitor", "-s", "base", "monitorOpInitiated", user=server.config_admin)
    return int(re.search(r"monitorOpInitiated: (\d+)", text).group(1))


def rename(server, dn, rdn):
    code, said = server.ldap("ldapmodify", text=f"dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n")
    check(f"{dn} is renamed", code == 0, said)


def test_unheard(server, d):
    """A container of a class that is not followed is renamed: nothing tells of the users below it. Their passwords find it out."""
    team, crew = f"cn=team,{SUFFIX}", f"cn=crew,{SUFFIX}"
    add(server, team, "objectClass: applicationProcess\ncn: team")
    for name in ("dave", "erin"):
        add(server, f"uid={name},{team}", f"objectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: {name}\ncn: {name}\nsn: {name}\n"
            f"mail: {name}@example.org\nposternPostOffice: cn=Sales,{MAIL}\nuserPassword: {name}pw")
    keep(d, "dave")
    d.ask("hold dave")
    d.expect("by the way of a loop", r"kept=1 began=1 thread=0 verified", command="login dave davepw")
    # what a refusal costs: one bind, one search (each count is asked for with one bind and one search of its own)
    for command in ("login dave wrong", "verify dave wrong"):
        before = binds(server), searches(server)
        answer = d.ask(command)
        after = binds(server), searches(server)
        check(f"{command}: refused", "authentication" in answer and "verified" not in answer, answer)
        check(f"{command}: one bind", after[0] - before[0] == 1 + 2, after[0] - before[0])
        check(f"{command}: one search", after[1] - before[1] == 1 + 2, after[1] - before[1])
        check(f"{command}: the user is kept", "user id=dave" in d.ask("kept dave") and "current=1" in d.ask("held"), d.ask("held"))
    keep(d, "erin")
    rename(server, team, "cn=crew")
    check("nothing tells of it", "user id=dave" in d.ask("kept dave") and "current=1" in d.ask("held"), d.ask("held"))
    answer = d.ask("login dave davepw")
    check("the password is verified under the new DN, on a loop", re.search(r"kept=1 began=1 thread=1 verified", answer), answer)
    check("its sessions hear of it, and so do all others", "current=0" in d.ask("held") and "not kept" in d.ask("kept erin"), d.ask("held"))
    keep(d, "dave")
    rename(server, crew, "cn=team")
    check("a wrong one stays wrong", d.ask("verify dave wrong").startswith("refused authentication"))
    keep(d, "dave")
    rename(server, team, "cn=crew")
    check("and in a thread", d.ask("verify dave davepw") == "verified\n", d.ask("verify dave davepw"))
    keep(d, "dave")
    # out of the users' base, but not of what is followed
    modify(server, AGENT, f"add: posternUserBase\nposternUserBase: {crew}")
    keep(d, "dave")
    add(server, f"cn=attic,{SUFFIX}", "objectClass: applicationProcess\ncn: attic")
    code, said = server.ldap("ldapmodify", text=f"dn: uid=dave,{crew}\nchangetype: modrdn\nnewrdn: uid=dave\ndeleteoldrdn: 0\nnewsuperior: cn=attic,{SUFFIX}\n")
    check("moved away", code == 0, said)
    d.expect("nobody any more", r"no not found", command="verify dave davepw")
    modify(server, AGENT, "delete: posternUserBase")
    d.expect("and back", r"verified", command="verify dave davepw")


def test_elsewhere(server, d):
    """Users outside the naming context of the agent: their changes are not told of, so nobody is kept."""
    keep(d, "alice")
    other = "dc=example,dc=net"
    os.mkdir(server.path("other"))
    server.configure("dn: olcDatabase=mdb,cn=config\nchangetype: add\nobjectClass: olcDatabaseConfig\nobjectClass: olcMdbConfig\nolcDatabase: mdb\n"
                     f"olcSuffix: {other}\nolcRootDN: cn=admin,{SUFFIX}\nolcDbDirectory: {server.path('other')}\nolcDbIndex: objectClass,entryUUID eq\n"
                     f"olcAccess: to attrs=userPassword by anonymous auth\nolcAccess: to * by dn.exact=\"{watch.GATEWAY}\" read\n")
    add(server, other, "objectClass: domain\ndc: example")
    add(server, f"uid=frank,{other}", "objectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: frank\ncn: F\nsn: F\nmail: frank@example.org\n"
        f"posternPostOffice: cn=Sales,{MAIL}\nuserPassword: frankpw")
    modify(server, AGENT, f"add: posternUserBase\nposternUserBase: {other}")
    d.expect("a user of elsewhere", r"user id=frank office=Sales", command="find frank")
    d.ask("find frank")
    check("is not kept", "not kept" in d.ask("kept frank"), d.ask("kept frank"))
    d.ask("hold frank")
    check("a session asks again after a time only", "current=1" in d.ask("held"), d.ask("held"))
    check("the password", d.ask("verify frank frankpw") == "verified\n", d.ask("verify frank frankpw"))
    modify(server, f"uid=frank,{other}", "replace: posternDisabled\nposternDisabled: TRUE")
    check("disabled at the next login", "disabled=1" in d.ask("find frank"), d.ask("find frank"))
    modify(server, AGENT, "delete: posternUserBase")
    d.expect("inside again", r"user id=alice", command="find alice")
    keep(d, "alice")


def test_many(server, d):
    """More notices than are remembered while users are asked for: the last state is what is known in the end."""
    text = "".join(f"dn: {BOB}\nchangetype: modify\nreplace: posternMailAlias\nposternMailAlias: n{i}@example.org\n\n" for i in range(600))
    process_text = text + f"dn: {ALICE}\nchangetype: modify\nreplace: posternMailAlias\nposternMailAlias: end@example.org\n"
    thread = threading.Thread(target=lambda: server.ldap("ldapmodify", text=process_text))
    thread.start()
    while thread.is_alive():
        d.ask("find bob")
        d.ask("find alice")
    d.expect("the last of many", r"n599@example.org", command="find bob")
    d.expect("and of the other", r"end@example.org", command="find alice")
    check("is what the memory says", "n599@example.org" in d.ask("find bob") and "end@example.org" in d.ask("kept alice") + d.ask("find alice"))


def test_storm(server, d):
    """Forty threads log in while users, lists and the configuration change all the time."""
    text = "".join(f"dn: {BOB}\nchangetype: modify\nreplace: posternMailAlias\nposternMailAlias: s{i}@example.org\n\n"
                   f"dn: cn=outer,{PEOPLE}\nchangetype: modify\nreplace: description\ndescription: {i}\n\n"
                   f"dn: {AGENT}\nchangetype: modify\nreplace: posternPop3Threads\nposternPop3Threads: {10 + i % 10}\n\n" for i in range(200))
    add(server, f"cn=stormy,{AGENT}", f"objectClass: posternClassOfService\ncn: stormy\nposternMember: cn=outer,{PEOPLE}\nposternPop3Access: prevent")
    thread = threading.Thread(target=lambda: server.ldap("ldapmodify", text=text))
    thread.start()
    check("each login has its own answer", d.ask("storm bob bobpw") == "storm good=1000 refused=1000\n")
    thread.join()
    d.expect("the last change", r"s199@example.org", command="find bob")
    server.ldap("ldapdelete", f"cn=stormy,{AGENT}")
    d.expect("no class", r"pop3=1 imap4=1", command="find bob")


def test_without(server):
    """Without contextCSN nothing tells of changes: nothing is kept, and everything is right all the same."""
    server.configure("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\n"
                     f"olcAccess: {{0}}to dn.base=\"{SUFFIX}\" attrs=contextCSN by * none\n")
    d = Driver(server, server.path("state"))
    d.expect("found", r"user id=alice", command="find alice")
    check("said once", poll(lambda: "users are not kept in memory: " in d.said()), d.said()[-2000:])
    check("not kept", "not kept" in d.ask("kept alice"))
    modify(server, ALICE, "replace: posternDisabled\nposternDisabled: TRUE")
    check("changed", "disabled=1" in d.ask("find alice"))
    check("ended", d.end() == 0, d.said()[-3000:])


def test_389():
    """389 Directory Server tells of changes by persistent search."""
    server = directory.Ns389()
    try:
        code, said = server.ldap("ldapmodify", "-f", directory.schema_file("postern-389ds.ldif"))
        check("389-ds: schema", code == 0, said)
        code, said = server.ldap("ldapadd", text=watch.START.split("\n\n", 1)[1])
        check("389-ds: entries", code == 0, said)
        code, said = server.ldap("ldapmodify", text=directory.filled("aci-389ds.ldif", SUFFIX=SUFFIX, GATEWAY=watch.GATEWAY, ADMINS=watch.ADMINS))
        check("389-ds: access rules", code == 0, said)
        server.write("gateway.pw", PASSWORD + "\n")
        os.mkdir(server.path("state"))
        d = Driver(server, server.path("state"))
        d.expect("389-ds: first snapshot", r"cache=0 ")
        keep(d, "alice")
        d.ask("hold alice")
        modify(server, ALICE, "replace: posternDisabled\nposternDisabled: TRUE")
        d.expect("389-ds: disabled", r"disabled=1", command="find alice")
        d.expect("389-ds: the session's user is out of date", r"current=0", command="held")
        d.expect("389-ds: found again", r"disabled=1", command="again")
        keep(d, "alice")
        test_no_mail_user(server, d)
        server.ldap("ldapdelete", ALICE)
        d.expect("389-ds: deleted", r"no not found", command="find alice")
        keep(d, "bob")
        server.stop(signal.SIGKILL)
        d.expect("389-ds: nothing is kept while it is away", r"not kept", command="kept bob")
        server.start()
        keep(d, "bob")
        check("389-ds: ended", d.end() == 0, d.said()[-3000:])
    finally:
        server.close()


def main():
    server = Slapd()
    try:
        prepare(server)
        server.configure("dn: cn=module{0},cn=config\nchangetype: modify\nadd: olcModuleLoad\nolcModuleLoad: back_monitor\n\n"
                         "dn: olcDatabase=monitor,cn=config\nchangetype: add\nobjectClass: olcDatabaseConfig\nolcDatabase: monitor\n"
                         f"olcRootDN: {server.config_admin}\n")
        d = Driver(server, server.path("state"))
        d.expect("first snapshot", r"cache=0")
        for test in (test_kept, test_changes, test_unimportant, test_names, test_no_mail_user, test_lists, test_unheard, test_elsewhere, test_many, test_storm, test_outage):
            test(server, d)
        print("time of a look-up by memory:", d.ask("rate alice").strip())
        check("ended", d.end() == 0, d.said()[-3000:])
        test_without(server)
    finally:
        server.close()
    if directory.have("ns-slapd", "dscreate"):
        test_389()
    else:
        print("SKIP 389 Directory Server is not installed")
    checks.end()


if not directory.have("slapd", "ldapmodify", "slapadd"):
    print("a required peer is missing: slapd, ldap-utils")
    print("0 passed, 1 failed")
    sys.exit(1)
main()
