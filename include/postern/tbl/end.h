/* The end of a use of one of these tables: takes all kinds of rows back. */
#undef BOOLEAN
#undef NUMBER
#undef AMOUNT
#undef FLAG
#undef WORD
#undef TEXT
#undef TEXTS
#undef NAMES
#undef DN
#undef DNS
#undef TIME
