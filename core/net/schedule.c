/* Learning-rate schedules. Each is the factor of the base rate as a function of progress; the step is counted from 0.
 * `warmup` is common to all: during the first W units the factor of the schedule's start grows linearly, (n + 1)/W at
 * update n of W, and the schedule itself begins after them.
 *   constant      1
 *   time_decay    1 / (1 + d n)
 *   step          factor^floor(n / every)
 *   exponential   factor^n
 *   cosine        final + (1 - final) (1 + cos(pi x)) / 2              (Loshchilov and Hutter 2017, eq. 5)
 *   one_cycle     start -> 1 while x < peak, then 1 -> final, both along half a cosine   (Smith and Topin 2018)
 * with n counted in updates, or in whole epochs for unit = "epoch", and x = updates done / updates in all. */
#include "core/net/schedule.h"

#include <math.h>

#include "core/base/registry.h"

#define LIP_SCHEDULE(name) extern const lip_schedule_kind lip_schedule_##name;
#include "core/net/schedules.def"
#undef LIP_SCHEDULE

static const lip_schedule_kind *const kinds[] = {
#define LIP_SCHEDULE(name) &lip_schedule_##name,
#include "core/net/schedules.def"
#undef LIP_SCHEDULE
};

LIP_REGISTRY(lip_schedule_kind, lip_schedule_kind, kinds, desc.name)

/* ---- options ---- */

enum { UNIT_UPDATE, UNIT_EPOCH };
static const char *const units[] = {"update", "epoch", NULL};

/* One conf for all kinds; each table shows the members that its kind reads. */
typedef struct schedule_conf {
  double warmup;
  int unit;
  double d, factor, every, final, start, peak;
} schedule_conf;

#define COMMON                                                                                               \
  {"warmup", LIP_OPT_REAL, offsetof(schedule_conf, warmup),       false, 0, 0,                               \
   1e12,     NULL,         "length of the linear start, in units"},                                          \
  {                                                                                                          \
    "unit", LIP_OPT_ENUM, offsetof(schedule_conf, unit), false, UNIT_UPDATE, 0, 0, units,                    \
        "what warmup, n and every count: \"update\" or \"epoch\""                                            \
  }
#define REAL(member, must, def, low, high, help)                                                             \
  { #member, LIP_OPT_REAL, offsetof(schedule_conf, member), must, def, low, high, NULL, help }

static const lip_opt constant_options[] = {COMMON, {0}};
static const lip_opt time_decay_options[] = {REAL(d, true, 0, 0, 1e6, "d of 1 / (1 + d n)"), COMMON, {0}};
static const lip_opt step_options[] = {REAL(every, true, 0, 1, 1e12, "units between two drops"),
                                       REAL(factor, false, 0.1, 0, 1, "what a drop multiplies the rate by"),
                                       COMMON,
                                       {0}};
static const lip_opt exponential_options[] = {
    REAL(factor, true, 0, 0, 1, "what every unit multiplies the rate by"), COMMON, {0}};
static const lip_opt cosine_options[] = {REAL(final, false, 0, 0, 1, "factor at the end"), COMMON, {0}};
static const lip_opt one_cycle_options[] = {REAL(start, false, 0.04, 0, 1, "factor at the start"),
                                            REAL(peak, false, 0.3, 0, 1, "share of the run before the top"),
                                            REAL(final, false, 1e-4, 0, 1, "factor at the end"),
                                            COMMON,
                                            {0}};

/* ---- factors ---- */

/* Progress after the warm-up. */
typedef struct progress {
  double n; /* updates or whole epochs */
  double x; /* share of the run, 0..1 */
} progress;

typedef double curve(const schedule_conf *c, progress p);

static double constant_curve(const schedule_conf *c, progress p) {
  (void)c, (void)p;
  return 1;
}

static double time_decay_curve(const schedule_conf *c, progress p) {
  return 1 / (1 + c->d * p.n);
}

static double step_curve(const schedule_conf *c, progress p) {
  return pow(c->factor, floor(p.n / c->every));
}

static double exponential_curve(const schedule_conf *c, progress p) {
  return pow(c->factor, p.n);
}

/* From a (x = 0) to b (x = 1) along half a cosine. */
static double half_cosine(double a, double b, double x) {
  const double pi = 3.14159265358979323846;
  return b + (a - b) * (1 + cos(pi * x)) / 2;
}

static double cosine_curve(const schedule_conf *c, progress p) {
  return half_cosine(1, c->final, p.x);
}

static double one_cycle_curve(const schedule_conf *c, progress p) {
  if (p.x < c->peak) return half_cosine(c->start, 1, p.x / c->peak);
  return c->peak < 1 ? half_cosine(1, c->final, (p.x - c->peak) / (1 - c->peak)) : 1;
}

static double with_warmup(const void *conf, curve *f, double step, double total, double per_epoch) {
  const schedule_conf *c = conf;
  const double unit = c->unit == UNIT_EPOCH ? per_epoch : 1;
  const double warm = c->warmup * unit;
  if (step < warm) return f(c, (progress){0, 0}) * fmin(1, (step + 1) / warm);
  const double done = step - warm, all = total - warm;
  const double n = floor(done / unit), x = all > 0 ? fmin(done / all, 1) : 1;
  return f(c, (progress){n, x});
}

/* ---- rows ---- */

#define KIND(name, help)                                                                                     \
  static double name##_factor(const void *conf, double step, double total, double per_epoch) {               \
    return with_warmup(conf, name##_curve, step, total, per_epoch);                                          \
  }                                                                                                          \
  const lip_schedule_kind lip_schedule_##name = {{#name, help, name##_options, sizeof(schedule_conf)},       \
                                                 name##_factor};

KIND(constant, "the same rate all the time")
KIND(time_decay, "rate / (1 + d n)")
KIND(step, "drops by a factor every so many units")
KIND(cosine, "half a cosine from 1 down to `final`")
KIND(exponential, "a fixed factor every unit")
KIND(one_cycle, "up to the rate and down again, one time")
