/* The settings of posternPostOffice. Kinds as in agent.h, and:
 * NAMES(field, attribute, doc): texts whose case does not matter. */
NAMES(domains, "posternDomain", "Internet domain that the post office serves.")
WORD(mode, "posternAccessMode", access_mode, ACCESS_CURRENT, "How the post office is reached, unless its link says otherwise. Without a mode, or current: client/server and direct, as far as it has a Post Office Agent and a path.")
TEXT(path, "posternPath", "Directory of the mailboxes of the post office, for direct access: absolute, below the mail root of the gateway.")
TEXT(mailbox_template, "posternMailboxTemplate", "Where a mailbox lies below the path: %u user ID, %d domain, %1u to %9u the first letters; default %u/Maildir.")
TEXT(separator, "posternSeparator", "Hierarchy separator that clients see: a dot or a slash; default a dot.")
TEXT(prefix, "posternPrefix", "Namespace prefix that clients see; default none.")
TEXT(control_dir, "posternControlDirectory", "Control directory, where the Maildir server keeps its UID lists elsewhere than in the mailbox.")
