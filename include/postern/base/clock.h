/* clock: milliseconds and microseconds since an arbitrary start (monotonic), and wall-clock time. Thread-safe. */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);
/* Seconds since the epoch, and microseconds within the second. */
struct timespec clock_wall(void);

#endif
