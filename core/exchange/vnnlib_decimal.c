#include "core/exchange/vnnlib_decimal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/number.h"

/* ---- texts ---- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* The number of digits and points from `at` on; *digits counts the digits alone. */
static size_t pass_digits(const char *text, size_t n, size_t at, size_t *digits) {
  bool point = false;
  *digits = 0;
  for (; at < n && (is_digit(text[at]) || (text[at] == '.' && !point)); at++) {
    point = point || text[at] == '.';
    *digits += text[at] != '.';
  }
  return at;
}

bool lip_decimal_is(const char *text, size_t n) {
  size_t digits, at = n > 0 && (text[0] == '-' || text[0] == '+');
  at = pass_digits(text, n, at, &digits);
  if (digits == 0) return false;
  if (at < n && (text[at] == 'e' || text[at] == 'E')) {
    at++;
    if (at < n && (text[at] == '-' || text[at] == '+')) at++;
    size_t first = at;
    while (at < n && is_digit(text[at])) at++;
    if (at == first) return false;
  }
  return at == n;
}

/* Takes zeros off both ends; false beyond the limits. */
static bool settle(lip_decimal *d) {
  int first = 0;
  while (first < d->n && d->digit[first] == 0) first++;
  d->n -= first;
  if (first > 0) memmove(d->digit, d->digit + first, (size_t)d->n);
  while (d->n > 0 && d->digit[d->n - 1] == 0) d->n--, d->exponent++;
  if (d->n == 0) d->negative = false, d->exponent = 0;
  return d->exponent >= -LIP_DECIMAL_EXPONENT && d->exponent + d->n <= LIP_DECIMAL_EXPONENT;
}

static int read_exponent(const char *text, size_t n, size_t at) {
  bool negative = at < n && text[at] == '-';
  int e = 0;
  for (at += at < n && !is_digit(text[at]); at < n; at++)
    if (e < 100000) e = 10 * e + (text[at] - '0');
  return negative ? -e : e;
}

bool lip_decimal_read(lip_decimal *d, const char *text, size_t n) {
  d->negative = n > 0 && text[0] == '-';
  d->n = d->exponent = 0;
  bool point = false;
  size_t at = n > 0 && (text[0] == '-' || text[0] == '+');
  for (; at < n && text[at] != 'e' && text[at] != 'E'; at++) {
    if (text[at] == '.') {
      point = true;
      continue;
    }
    d->exponent -= point;
    if (d->n == 0 && text[at] == '0') continue;
    if (d->n == LIP_DECIMAL_DIGITS) return false;
    d->digit[d->n++] = (char)(text[at] - '0');
  }
  if (at < n) d->exponent += read_exponent(text, n, at + 1);
  return settle(d);
}

void lip_decimal_set(lip_decimal *d, bool negative, const char *digit, int n, int exponent) {
  d->negative = negative;
  d->n = n;
  d->exponent = exponent;
  if (n > 0) memcpy(d->digit, digit, (size_t)n);
}

void lip_decimal_write(const lip_decimal *d, lip_str *to) {
  char whole[LIP_DECIMAL_DIGITS];
  for (int i = 0; i < d->n; i++) whole[i] = (char)('0' + d->digit[i]);
  int before = d->n + d->exponent; /* digits before the point */
  if (d->negative) lip_str_puts(to, "-");
  if (before <= 0)
    lip_str_puts(to, "0");
  else
    lip_str_add(to, whole, (size_t)(before < d->n ? before : d->n));
  for (int i = d->n; i < before; i++) lip_str_puts(to, "0");
  lip_str_puts(to, ".");
  if (d->n == 0 || d->exponent >= 0) {
    lip_str_puts(to, "0");
    return;
  }
  for (int i = before; i < 0; i++) lip_str_puts(to, "0");
  int first = before > 0 ? before : 0;
  lip_str_add(to, whole + first, (size_t)(d->n - first));
}

/* ---- arithmetic ---- */

/* Digit at place e (10^e). */
static int at_place(const lip_decimal *d, int e) {
  int i = d->exponent + d->n - 1 - e;
  return i >= 0 && i < d->n ? d->digit[i] : 0;
}

static int compare_sizes(const lip_decimal *a, const lip_decimal *b) {
  int top = a->exponent + a->n, other = b->exponent + b->n;
  if (a->n == 0 || b->n == 0) return (a->n > 0) - (b->n > 0);
  if (top != other) return top > other ? 1 : -1;
  int low = a->exponent < b->exponent ? a->exponent : b->exponent;
  for (int e = top - 1; e >= low; e--) {
    int x = at_place(a, e), y = at_place(b, e);
    if (x != y) return x > y ? 1 : -1;
  }
  return 0;
}

int lip_decimal_compare(const lip_decimal *a, const lip_decimal *b) {
  if (a->negative != b->negative) return a->negative ? -1 : 1;
  int c = compare_sizes(a, b);
  return a->negative ? -c : c;
}

bool lip_decimal_add(lip_decimal *to, const lip_decimal *a, const lip_decimal *b) {
  if (a->n == 0 || b->n == 0) {
    if (to != (a->n == 0 ? b : a)) *to = a->n == 0 ? *b : *a;
    return true;
  }
  if (compare_sizes(a, b) < 0) {
    const lip_decimal *t = a;
    a = b;
    b = t;
  }
  int low = a->exponent < b->exponent ? a->exponent : b->exponent;
  int n = a->exponent + a->n + 1 - low, carry = 0;
  if (n > LIP_DECIMAL_DIGITS) return false;
  int sign = a->negative == b->negative ? 1 : -1;
  lip_decimal sum = {.negative = a->negative, .n = n, .exponent = low};
  for (int i = n - 1; i >= 0; i--) {
    int e = low + n - 1 - i, v = at_place(a, e) + sign * at_place(b, e) + carry;
    carry = v < 0 ? -1 : v > 9;
    sum.digit[i] = (char)(v - 10 * carry);
  }
  bool ok = settle(&sum);
  *to = sum;
  return ok;
}

bool lip_decimal_multiply(lip_decimal *to, const lip_decimal *a, const lip_decimal *b) {
  int n = a->n + b->n;
  if (n > LIP_DECIMAL_DIGITS) return false;
  int place[LIP_DECIMAL_DIGITS] = {0}; /* each at most 9 9 1100 */
  for (int i = 0; i < a->n; i++)
    for (int j = 0; j < b->n; j++) place[i + j + 1] += a->digit[i] * b->digit[j];
  lip_decimal product = {.negative = a->negative != b->negative, .n = n};
  product.exponent = a->exponent + b->exponent;
  int carry = 0;
  for (int i = n - 1; i >= 0; i--) {
    int v = place[i] + carry;
    product.digit[i] = (char)(v % 10);
    carry = v / 10;
  }
  bool ok = settle(&product);
  *to = product;
  return ok;
}

/* ---- doubles ---- */

void lip_decimal_of(lip_decimal *d, double v) {
  char text[LIP_DECIMAL_DIGITS];
  int n = lip_snprintf(text, sizeof text, "%.770e", v); /* 767 digits say any double exactly */
  lip_decimal_read(d, text, (size_t)n);
}

double lip_decimal_nearest(const lip_decimal *d) {
  char text[LIP_DECIMAL_DIGITS + 32];
  size_t at = 0;
  if (d->negative) text[at++] = '-';
  for (int i = 0; i < d->n; i++) text[at++] = (char)('0' + d->digit[i]);
  if (d->n == 0) text[at++] = '0';
  lip_snprintf(text + at, sizeof text - at, "e%d", d->exponent);
  lip_number_enter();
  double v = strtod(text, NULL);
  lip_number_leave();
  return v;
}

void lip_decimal_enclose(const lip_decimal *d, double *down, double *up) {
  lip_decimal exact;
  double v = lip_decimal_nearest(d);
  *down = *up = v;
  if (isinf(v)) { /* no decimal is one */
    *down = v > 0 ? DBL_MAX : v;
    *up = v > 0 ? v : -DBL_MAX;
    return;
  }
  if (d->exponent >= 0 && d->n + d->exponent <= 15) return; /* a whole number below 2^53 */
  /* The side is decided exactly, and so nothing rests on the last bit of strtod. */
  lip_decimal_of(&exact, v);
  int side = lip_decimal_compare(d, &exact);
  if (side == 0) return;
  double other = nextafter(v, side > 0 ? INFINITY : -INFINITY);
  *(side > 0 ? up : down) = other;
}
