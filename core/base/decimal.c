/* The nearest text is one of the two neighbours; where it is the wrong one, the other is a unit of its last digit away. That
 * sum is off by a rounding or two, far less than half a unit with 15 digits, so that the nearest text of it is the one. With
 * 15 decimals there may be more digits than that. */
#include "core/base/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/number.h"

enum { MOST = 15, ROOM = 400 };

static double read_back(const char *fmt, int digits, double v) {
  char text[ROOM];
  snprintf(text, sizeof text, fmt, digits, v);
  return strtod(text, NULL);
}

/* 10^e to the nearest double. */
static double power_of_ten(int e) {
  char text[16];
  snprintf(text, sizeof text, "1e%d", e);
  return strtod(text, NULL);
}

static int exponent_of(double v) {
  char text[ROOM];
  snprintf(text, sizeof text, "%.*e", MOST - 1, v);
  const char *e = text;
  while (*e && *e != 'e') e++;
  return *e ? atoi(e + 1) : 0;
}

double lip_digits_up(double v, int digits) {
  if (!isfinite(v) || v == 0) return v;
  digits = digits < 1 ? 1 : digits > MOST ? MOST : digits;
  lip_number_enter();
  double at = read_back("%.*e", digits - 1, v);
  if (!(at >= v)) {
    int e = exponent_of(isinf(at) ? v : at);
    /* towards 0 from a power of ten digits are finer */
    double power = power_of_ten(e), unit = power_of_ten(e + 1 - digits - (v < 0 && at == -power));
    at = read_back("%.*e", digits - 1, isinf(at) ? v + unit / 2 : at + unit);
  }
  lip_number_leave();
  return at;
}

double lip_digits_down(double v, int digits) {
  return -lip_digits_up(-v, digits);
}

double lip_decimals_up(double v, int decimals) {
  decimals = decimals < 0 ? 0 : decimals > MOST ? MOST : decimals;
  if (!isfinite(v)) return v;
  lip_number_enter();
  double unit = power_of_ten(-decimals), at = read_back("%.*f", decimals, v);
  /* a unit of the last decimal may be hardly more than one of the double */
  for (double next = at; !(at >= v); at = read_back("%.*f", decimals, next))
    next = fmax(next + unit, nextafter(next, INFINITY));
  lip_number_leave();
  return at;
}

double lip_decimals_down(double v, int decimals) {
  return -lip_decimals_up(-v, decimals);
}
