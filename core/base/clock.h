/* Time, for deadlines and for telling how long something took. */
#ifndef LIP_BASE_CLOCK_H
#define LIP_BASE_CLOCK_H

/* Seconds on a clock that never steps back; only differences mean something. */
double lip_seconds(void);
/* Seconds since 1970 by the clock on the wall, which may be set. */
double lip_wall_seconds(void);

#endif
