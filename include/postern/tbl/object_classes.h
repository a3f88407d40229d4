/* X(NAME, table, "class", KIND, "must", "may", doc): the object classes, each with the table of its settings; further attributes that it
 * must and may have, separated by " $ ". */
X(AGENT, agent, "posternInternetAgent", STRUCTURAL, "cn", "description", "Settings of a gateway.")
X(POST_OFFICE, post_office, "posternPostOffice", STRUCTURAL, "cn", "description", "A post office: a set of mailboxes in one place.")
X(POST_OFFICE_AGENT, post_office_agent, "posternPostOfficeAgent", STRUCTURAL, "cn", "description", "The server of a post office; stands under it.")
X(LINK, link, "posternPostOfficeLink", STRUCTURAL, "cn", "description", "How a gateway reaches a post office; stands under the object of the gateway.")
X(CLASS_OF_SERVICE, class_of_service, "posternClassOfService", STRUCTURAL, "cn", "description", "Rights and limits of its members; stands under the object of the gateway.")
X(MAIL_USER, mail_user, "posternMailUser", AUXILIARY, "", "uid $ mail", "A person with a mailbox.")
X(DISTRIBUTION_LIST, distribution_list, "posternDistributionList", AUXILIARY, "", "mail", "A group with an address.")
X(AGENT_STATUS, agent_status, "posternAgentStatus", STRUCTURAL, "cn", "description", "State of a running gateway, written by itself; stands under its object.")
