/* The settings of posternMailUser. Kinds as in agent.h, post_office.h and link.h, and:
 * TIME(field, attribute, doc): a GeneralizedTime. The user ID is uid, the addresses are mail and posternMailAlias. */
DN(post_office, "posternPostOffice", "The post office of the user.")
NAMES(aliases, "posternMailAlias", "Further address of the user.")
TEXT(mailbox_dir, "posternMailboxDirectory", "Directory of the mailbox of the user below the path of the post office, instead of that by the template.")
AMOUNT(quota, "posternQuota", 0, 9223372036854775807, "Quota of the mailbox, in octets; 0 = none.")
BOOLEAN(disabled, "posternDisabled", false, "The user is refused.")
TIME(expiration, "posternExpirationTime", "The user is refused from this time on.")
