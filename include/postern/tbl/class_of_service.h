/* The settings of posternClassOfService. Kinds as in agent.h and link.h, and:
 * FLAG(field, attribute, doc): a BOOLEAN that may be absent. What is absent is inherited. */
NAMES(members, "posternMember", "Member: the DN of a user, a distribution list or a post office, or an Internet domain.")
BOOLEAN(is_default, "posternDefaultClass", false, "Everyone is a member, below all other levels.")
WORD(pop3_access, "posternPop3Access", right, RIGHT_INHERIT, "Use of POP3.")
FLAG(pop3_delete_after_download, "posternPop3DeleteAfterDownload", "Messages go to the Trash folder when a POP3 client has retrieved them and quits.")
FLAG(pop3_purge_after_download, "posternPop3PurgeAfterDownload", "Messages are removed when a POP3 client has retrieved them and quits.")
FLAG(pop3_high_performance_size, "posternPop3HighPerformanceSize", "POP3 reports 1 KB as the size of every message.")
AMOUNT(pop3_days, "posternPop3Days", 0, 36500, "Days prior to today that POP3 gets messages from; 0 = all.")
AMOUNT(pop3_max_messages, "posternPop3MaxMessages", 0, 1000000, "Most messages of one POP3 session; 0 = all.")
WORD(imap4_access, "posternImap4Access", right, RIGHT_INHERIT, "Use of IMAP4.")
WORD(smtp_incoming_access, "posternSmtpIncomingAccess", right, RIGHT_INHERIT, "Receiving mail from the Internet.")
WORD(smtp_outgoing_access, "posternSmtpOutgoingAccess", right, RIGHT_INHERIT, "Sending mail to the Internet.")
AMOUNT(smtp_outgoing_max_size, "posternSmtpOutgoingMaxSize", 0, 4294967295, "Largest message that a member may send, in octets; 0 = no limit of its own.")
