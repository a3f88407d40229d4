/* policy: what the directory's password policy adds to the answer to a bind (draft-behera-ldap-password-policy), as fault.error of the calls that
 * verify passwords: with FAULT_AUTHENTICATION the reason; with success POLICY_GRACE, or 0. For log and counters only: it tells users that exist
 * from those that do not. */
#ifndef POSTERN_DIRECTORY_POLICY_H
#define POSTERN_DIRECTORY_POLICY_H

enum password_policy {
    POLICY_NONE,
    POLICY_LOCKED,
    POLICY_EXPIRED,
    POLICY_MUST_CHANGE,   /* the password is right, and the directory lets the user do nothing but change it */
    POLICY_GRACE,         /* let in with an expired password, a few more times */
};

#endif
