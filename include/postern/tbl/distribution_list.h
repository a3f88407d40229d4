/* The settings of posternDistributionList, beside the group's own members. Kinds as in agent.h and post_office.h. */
NAMES(addresses, "posternMailAlias", "Further address of the list.")
