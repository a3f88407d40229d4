/* log: one line per event on standard error (a systemd journal prefix "<N>" when JOURNAL_STREAM is set). Thread-safe.
 * Control characters are replaced; secrets never come here. */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NORMAL, LOG_VERBOSE, LOG_DEBUG };

/* Lines above this level are not written. Default LOG_NORMAL. */
void log_set_level(enum log_level level);
/* area: the module's name, e.g. "directory". At most about 1,000 bytes of text are kept. */
void log_write(enum log_level level, const char *area, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warning(area, ...) log_write(LOG_WARNING, area, __VA_ARGS__)
#define log_normal(area, ...) log_write(LOG_NORMAL, area, __VA_ARGS__)
#define log_verbose(area, ...) log_write(LOG_VERBOSE, area, __VA_ARGS__)
#define log_debug(area, ...) log_write(LOG_DEBUG, area, __VA_ARGS__)

#endif
