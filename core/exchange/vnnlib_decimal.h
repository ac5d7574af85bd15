/* Decimal numbers as texts have them, exactly: sums and products of decimals are decimals again, so that what is read from
 * a file is rounded once at the end, outwards, or never. */
#ifndef LIP_EXCHANGE_VNNLIB_DECIMAL_H
#define LIP_EXCHANGE_VNNLIB_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/str.h"

enum {
  LIP_DECIMAL_DIGITS = 1100,  /* more than any double has (767) */
  LIP_DECIMAL_EXPONENT = 2000 /* of the first and of the last digit, either sign */
};

/* The whole number of n digits (the first and the last are not 0; none: zero) times 10^exponent. */
typedef struct lip_decimal {
  bool negative;
  int n, exponent;
  char digit[LIP_DECIMAL_DIGITS]; /* 0 to 9, the first is worth most */
} lip_decimal;

/* All functions that give a bool: false where the result has too many digits or too large an exponent. */

/* Whether a text looks like a number: an optional sign, digits with or without a point, an optional exponent. */
bool lip_decimal_is(const char *text, size_t n);
bool lip_decimal_read(lip_decimal *d, const char *text, size_t n);
void lip_decimal_set(lip_decimal *d, bool negative, const char *digit, int n, int exponent);
/* Exactly v, which is finite. */
void lip_decimal_of(lip_decimal *d, double v);
/* `to` may be a or b. */
bool lip_decimal_add(lip_decimal *to, const lip_decimal *a, const lip_decimal *b);
bool lip_decimal_multiply(lip_decimal *to, const lip_decimal *a, const lip_decimal *b);
/* -1, 0, 1 */
int lip_decimal_compare(const lip_decimal *a, const lip_decimal *b);
/* The nearest double; an infinity beyond them. */
double lip_decimal_nearest(const lip_decimal *d);
/* The largest double that is no more and the least that is no less: the same one where d is a double. */
void lip_decimal_enclose(const lip_decimal *d, double *down, double *up);
/* Appends it with a point and without an exponent: "-0.05", "12.0". */
void lip_decimal_write(const lip_decimal *d, lip_str *to);

#endif
