/* Turns the table TABLE into rules for the struct OWNER. Included inside an array by attributes.c, once for each table. */
#define BOOLEAN(field, attribute, value, doc) { KIND_BOOLEAN, attribute, offsetof(OWNER, field), value, 0, 1, NULL, doc },
#define NUMBER(field, attribute, value, low, high, doc) { KIND_NUMBER, attribute, offsetof(OWNER, field), value, low, high, NULL, doc },
#define AMOUNT(field, attribute, low, high, doc) { KIND_AMOUNT, attribute, offsetof(OWNER, field), 0, low, high, NULL, doc },
#define FLAG(field, attribute, doc) { KIND_FLAG, attribute, offsetof(OWNER, field), 0, 0, 1, NULL, doc },
#define WORD(field, attribute, words, value, doc) { KIND_WORD, attribute, offsetof(OWNER, field), value, 0, 0, #words, doc },
#define TEXT(field, attribute, doc) { KIND_TEXT, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#define TEXTS(field, attribute, doc) { KIND_TEXTS, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#define NAMES(field, attribute, doc) { KIND_NAMES, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#define DN(field, attribute, doc) { KIND_DN, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#define DNS(field, attribute, doc) { KIND_DNS, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#define TIME(field, attribute, doc) { KIND_TIME, attribute, offsetof(OWNER, field), 0, 0, 0, NULL, doc },
#include TABLE
#include "postern/tbl/end.h"
#undef TABLE
#undef OWNER
