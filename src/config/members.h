/* Turns the table TABLE into members of a struct. Included inside a struct by attributes.h, once for each table. */
#define BOOLEAN(field, attribute, fallback, doc) bool field;
#define NUMBER(field, attribute, fallback, min, max, doc) uint64_t field;
#define AMOUNT(field, attribute, min, max, doc) int64_t field;   /* -1: absent */
#define FLAG(field, attribute, doc) int field;                   /* -1: absent */
#define WORD(field, attribute, words, fallback, doc) int field;
#define TEXT(field, attribute, doc) char *field;
#define TEXTS(field, attribute, doc) struct text_list field;
#define NAMES(field, attribute, doc) struct text_list field;
#define DN(field, attribute, doc) char *field;
#define DNS(field, attribute, doc) struct text_list field;
#define TIME(field, attribute, doc) int64_t field;               /* seconds since the epoch; 0: absent */
#include TABLE
#include "postern/tbl/end.h"
#undef TABLE
