/* The settings of posternPostOfficeLink. Kinds as in agent.h, and:
 * AMOUNT(field, attribute, min, max, doc): a number that may be absent. */
DN(post_office, "posternPostOffice", "The post office that the link leads to.")
WORD(mode, "posternAccessMode", access_mode, ACCESS_CURRENT, "How this gateway reaches the post office; current: as the post office says at the moment.")
TEXT(path, "posternPath", "Path of the post office as this gateway sees it, if it differs from that of the post office.")
TEXTS(hosts, "posternHost", "Host of the Post Office Agent, if it differs from that of the Post Office Agent object. Several are tried in the order of their names.")
AMOUNT(port, "posternPort", 1, 65535, "IMAP port, if it differs from that of the Post Office Agent object.")
AMOUNT(lmtp_port, "posternLmtpPort", 1, 65535, "LMTP port, if it differs from that of the Post Office Agent object.")
BOOLEAN(move_sessions, "posternMoveSessions", false, "A change of how the post office is reached also moves sessions that are open: they are closed politely.")
