/* Sums of a VNN-LIB file: terms with decimal coefficients on a stack, of which products and signs change what has just been
 * pushed. */
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib_parts.h"

static bool good(const lip_vnnlib_parser *p) {
  return p->lex.status == LIP_OK;
}

static bool too_long(lip_vnnlib_parser *p) {
  lip_lex_fail(&p->lex, LIP_UNSUPPORTED, "numbers of more than %d digits, or beyond 1e%d or 1e-%d",
               LIP_DECIMAL_DIGITS, LIP_DECIMAL_EXPONENT, LIP_DECIMAL_EXPONENT);
  return false;
}

/* ---- the stack ---- */

/* Long numbers times long sums could take hours and all memory: what the size of the file does not warrant is refused. */
static bool may_work(lip_vnnlib_parser *p, double digits) {
  p->work += digits;
  if (p->work < 1e7 + 2000.0 * (double)p->lex.total && p->n_pool <= ((size_t)1 << 20) + 64 * p->lex.total)
    return true;
  lip_lex_fail(&p->lex, LIP_UNSUPPORTED,
               "products of long numbers that take far more work than the file is long");
  return false;
}

static void decimal_of(const lip_vnnlib_parser *p, const lip_part *part, lip_decimal *d) {
  lip_decimal_set(d, part->negative, p->pool + part->at, part->n, part->exponent);
}

/* Gives the part this coefficient; its old digits are lost. */
static void set_part(lip_vnnlib_parser *p, lip_part *part, const lip_decimal *d) {
  size_t n = (size_t)d->n;
  if (!lip_vnnlib_room((void **)&p->pool, &p->pool_room, p->n_pool, n, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  if (n > 0) memcpy(p->pool + p->n_pool, d->digit, n);
  part->negative = d->negative;
  part->n = d->n;
  part->exponent = d->exponent;
  part->at = p->n_pool;
  p->n_pool += n;
}

static void push(lip_vnnlib_parser *p, uint32_t variable, const lip_decimal *d) {
  if (!LIP_VNNLIB_ROOM(p, part, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  p->part[p->n_part] = (lip_part){.variable = variable};
  set_part(p, &p->part[p->n_part++], d);
}

static bool is_constant(const lip_vnnlib_parser *p, size_t from, size_t to) {
  for (; from < to; from++)
    if (p->part[from].variable != LIP_VNNLIB_NONE) return false;
  return true;
}

/* The sum of the coefficients from .. to - 1. */
static void total(lip_vnnlib_parser *p, size_t from, size_t to, lip_decimal *sum) {
  lip_decimal next;
  sum->negative = false;
  sum->n = sum->exponent = 0;
  for (; from < to && good(p); from++) {
    decimal_of(p, &p->part[from], &next);
    if (!may_work(p, sum->n + next.n)) return;
    if (!lip_decimal_add(sum, sum, &next)) too_long(p);
  }
}

static void scale(lip_vnnlib_parser *p, size_t from, const lip_decimal *by) {
  lip_decimal d;
  if (by->n == 1 && by->digit[0] == 1) { /* a power of ten */
    for (; from < p->n_part && good(p); from++) {
      lip_part *part = &p->part[from];
      if (part->n == 0) continue;
      part->negative = part->negative != by->negative;
      part->exponent += by->exponent;
      if (abs(part->exponent) + part->n > LIP_DECIMAL_EXPONENT) too_long(p);
    }
    return;
  }
  for (; from < p->n_part && good(p); from++) {
    decimal_of(p, &p->part[from], &d);
    if (!may_work(p, (double)d.n * by->n + 1)) return;
    if (!lip_decimal_multiply(&d, &d, by))
      too_long(p);
    else
      set_part(p, &p->part[from], &d);
  }
}

static void negate(lip_vnnlib_parser *p, size_t from) {
  for (; from < p->n_part; from++) {
    lip_part *part = &p->part[from];
    part->negative = part->n > 0 && !part->negative;
  }
}

/* ---- reading ---- */

/* Behind "(*": one factor after the other, of which one may have variables. */
static void read_product(lip_vnnlib_parser *p, int depth) {
  lip_decimal by;
  size_t from = p->n_part;
  lip_vnnlib_sum(p, depth);
  while (good(p) && p->lex.word != LIP_WORD_CLOSE) {
    size_t mark = p->n_part;
    lip_vnnlib_sum(p, depth);
    if (!good(p)) return;
    if (is_constant(p, mark, p->n_part)) {
      total(p, mark, p->n_part, &by);
      p->n_part = mark;
    } else if (is_constant(p, from, mark)) {
      total(p, from, mark, &by);
      memmove(p->part + from, p->part + mark, (p->n_part - mark) * sizeof *p->part);
      p->n_part -= mark - from;
    } else {
      lip_lex_fail(&p->lex, LIP_UNSUPPORTED, "a product of variables: only linear inequalities are read");
    }
    if (good(p)) scale(p, from, &by);
  }
}

/* Behind "(" of a sum. */
static void read_operation(lip_vnnlib_parser *p, int depth) {
  char shown[64], op = 0;
  if (p->lex.word == LIP_WORD_NAME && p->lex.length == 1 && strchr("+-*", p->lex.text[0]))
    op = p->lex.text[0];
  if (!op) {
    lip_lex_fail(&p->lex, LIP_FORMAT, "one of + - * expected, got %s",
                 lip_lex_shown(&p->lex, shown, sizeof shown));
    return;
  }
  if (!lip_lex_next(&p->lex)) return;
  size_t from = p->n_part;
  if (op == '*') {
    read_product(p, depth);
  } else {
    lip_vnnlib_sum(p, depth);
    size_t mark = p->n_part;
    bool alone = p->lex.word == LIP_WORD_CLOSE;
    while (good(p) && p->lex.word != LIP_WORD_CLOSE) lip_vnnlib_sum(p, depth);
    if (op == '-' && good(p)) negate(p, alone ? from : mark);
  }
  lip_lex_pass(&p->lex, LIP_WORD_CLOSE, "')'");
}

void lip_vnnlib_sum(lip_vnnlib_parser *p, int depth) {
  static const lip_decimal one = {.n = 1, .digit = {1}};
  lip_decimal d;
  char shown[64];
  lip_lex *lex = &p->lex;
  if (!good(p)) return;
  if (lex->word == LIP_WORD_OPEN) {
    if (depth >= LIP_VNNLIB_DEPTH) {
      lip_lex_fail(lex, LIP_UNSUPPORTED, "brackets are nested deeper than %d", LIP_VNNLIB_DEPTH);
      return;
    }
    if (lip_lex_next(lex)) read_operation(p, depth + 1);
    return;
  }
  if (lex->word != LIP_WORD_NAME) {
    lip_lex_fail(lex, LIP_FORMAT, "a number, a variable or a sum expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  if (!lip_decimal_is(lex->text, lex->length)) {
    uint32_t variable = lip_vnnlib_variable(p);
    if (good(p)) push(p, variable, &one);
    return;
  }
  if (!lip_decimal_read(&d, lex->text, lex->length)) {
    too_long(p);
    return;
  }
  push(p, LIP_VNNLIB_NONE, &d);
  lip_lex_next(lex);
}

/* ---- rows ---- */

static int by_variable(const void *a, const void *b) {
  const lip_part *x = a, *y = b;
  return x->variable != y->variable ? (x->variable > y->variable ? 1 : -1) : 0;
}

/* Sorted, each variable once, none with 0; the constants are summed into *constant. */
static void collect(lip_vnnlib_parser *p, lip_decimal *constant) {
  lip_decimal sum;
  size_t n = p->n_part, left = 0;
  qsort(p->part, n, sizeof *p->part, by_variable);
  constant->negative = false;
  constant->n = constant->exponent = 0;
  for (size_t i = 0, j; i < n && good(p); i = j) {
    for (j = i + 1; j < n && p->part[j].variable == p->part[i].variable; j++) {
    }
    lip_part part = p->part[i];
    if (part.variable == LIP_VNNLIB_NONE) {
      total(p, i, j, constant);
      break;
    }
    if (j > i + 1) {
      total(p, i, j, &sum);
      set_part(p, &part, &sum);
    }
    if (part.n > 0) p->part[left++] = part;
  }
  p->n_part = left;
}

void lip_vnnlib_sides(lip_vnnlib_parser *p, int depth, lip_decimal *bound) {
  p->n_part = p->n_pool = 0;
  lip_vnnlib_sum(p, depth);
  size_t mark = p->n_part;
  lip_vnnlib_sum(p, depth);
  if (!good(p)) return;
  negate(p, mark);
  collect(p, bound);
  bound->negative = bound->n > 0 && !bound->negative;
}

static bool same_number(const lip_vnnlib *v, const lip_vnnlib_number *a, const lip_decimal *d) {
  return a->negative == d->negative && a->n == d->n && a->exponent == d->exponent &&
         memcmp(v->digit + a->at, d->digit, (size_t)d->n) == 0;
}

/* The number of a decimal in the table: the first few (1, -1 and 0 mostly) and the last one are not stored again. */
static uint32_t number_of(lip_vnnlib_parser *p, const lip_decimal *d) {
  lip_vnnlib *v = p->v;
  for (size_t i = 0; i < v->n_number && i < 4; i++)
    if (same_number(v, &v->number[i], d)) return (uint32_t)i;
  if (v->n_number > 0 && same_number(v, &v->number[v->n_number - 1], d)) return (uint32_t)(v->n_number - 1);
  if (!LIP_VNNLIB_ROOM(v, number, 1) || !LIP_VNNLIB_ROOM(v, digit, (size_t)d->n)) {
    lip_vnnlib_no_memory(p);
    return 0;
  }
  lip_vnnlib_number *number = &v->number[v->n_number];
  *number =
      (lip_vnnlib_number){.at = v->n_digit, .n = d->n, .exponent = d->exponent, .negative = d->negative};
  lip_decimal_enclose(d, &number->down, &number->up);
  if (d->n > 0) memcpy(v->digit + v->n_digit, d->digit, (size_t)d->n);
  v->n_digit += (size_t)d->n;
  return (uint32_t)v->n_number++;
}

uint32_t lip_vnnlib_row_of(lip_vnnlib_parser *p, const lip_decimal *bound, bool turned, bool strict) {
  lip_vnnlib *v = p->v;
  lip_decimal d;
  if (!good(p)) return 0;
  if (!LIP_VNNLIB_ROOM(v, row, 1) || !LIP_VNNLIB_ROOM(v, term, p->n_part)) {
    lip_vnnlib_no_memory(p);
    return 0;
  }
  lip_vnnlib_row *row = &v->row[v->n_row];
  *row = (lip_vnnlib_row){.first = v->n_term, .n = (uint32_t)p->n_part, .strict = strict};
  for (size_t i = 0; i < p->n_part; i++) {
    decimal_of(p, &p->part[i], &d);
    d.negative = d.negative != turned;
    v->term[v->n_term + i] = (lip_vnnlib_term){p->part[i].variable, number_of(p, &d)};
  }
  lip_decimal_set(&d, bound->n > 0 && bound->negative != turned, bound->digit, bound->n, bound->exponent);
  row->bound = number_of(p, &d);
  v->n_term += p->n_part;
  return (uint32_t)v->n_row++;
}

void lip_vnnlib_decimal(const lip_vnnlib *v, uint32_t number, lip_decimal *d) {
  const lip_vnnlib_number *n = &v->number[number];
  lip_decimal_set(d, n->negative, v->digit + n->at, n->n, n->exponent);
}
