/* exceptions: the patterns of posternSmtpIncomingException and posternSmtpOutgoingException. Pure. */
#ifndef CONFIG_EXCEPTIONS_H
#define CONFIG_EXCEPTIONS_H

#include "postern/config/rights.h"

enum exception_match { EXCEPTION_NO, EXCEPTION_YES, EXCEPTION_UNKNOWN /* it needs what is not known yet */ };

/* An address with an at sign; an IPv4 address whose parts may be *, N or N-M, the last * standing for all that follow; an IPv6 address or
 * ADDRESS/LENGTH; or a domain. * stands for any number of characters in addresses and domains. */
bool exception_is_valid(struct slice pattern);
/* One of the two for IP addresses. */
bool exception_is_address(struct slice pattern);
enum exception_match exception_match(struct slice pattern, const struct mail_party *party);
/* The best of the list: YES if one matches, else UNKNOWN if one might. */
enum exception_match exceptions_match(const struct text_list *list, const struct mail_party *party);

#endif
