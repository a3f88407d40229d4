/* The attributes of posternAgentStatus, written by the gateway. Kinds as in agent.h and mail_user.h. */
TEXT(version, "posternVersion", "Version of the gateway.")
TIME(start_time, "posternStartTime", "When the gateway started.")
TIME(change_time, "posternChangeTime", "When the gateway last applied a change.")
TEXTS(faults, "posternFault", "A configuration fault: DN, attribute and reason; two hundred at most, the others are counted.")
TEXTS(links, "posternLinkState", "How a post office is reached now: its DN, the way, and since when; two hundred at most, the others are counted.")
