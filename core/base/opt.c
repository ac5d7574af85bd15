#include "core/base/opt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"

static void *member(const lip_opt *o, void *conf) {
  return (char *)conf + o->offset;
}

static const void *member_const(const lip_opt *o, const void *conf) {
  return (const char *)conf + o->offset;
}

size_t lip_opt_count(const lip_desc *desc) {
  size_t n = 0;
  if (desc->opts)
    while (desc->opts[n].name) n++;
  return n;
}

const lip_opt *lip_opt_find(const lip_desc *desc, const char *name) {
  for (const lip_opt *o = desc->opts; o && o->name; o++)
    if (strcmp(o->name, name) == 0) return o;
  return NULL;
}

void *lip_conf_new(const lip_desc *desc) {
  void *conf = lip_alloc(1, desc->conf_size);
  if (!conf) return NULL;
  for (const lip_opt *o = desc->opts; o && o->name; o++) {
    void *m = member(o, conf);
    switch (o->type) {
    case LIP_OPT_SIZE: *(size_t *)m = (size_t)o->def; break;
    case LIP_OPT_REAL: *(double *)m = o->def; break;
    case LIP_OPT_BOOL: *(bool *)m = o->def != 0; break;
    case LIP_OPT_ENUM: *(int *)m = (int)o->def; break;
    case LIP_OPT_REALS: break;
    }
  }
  return conf;
}

void lip_conf_free(const lip_desc *desc, void *conf) {
  if (!conf) return;
  for (const lip_opt *o = desc->opts; o && o->name; o++)
    if (o->type == LIP_OPT_REALS) lip_free(((lip_reals *)member(o, conf))->v);
  lip_free(conf);
}

static bool reals_assign(lip_reals *to, const double *v, size_t n) {
  double *copy = lip_alloc(n, sizeof *copy);
  if (!copy) return false;
  if (n) memcpy(copy, v, n * sizeof *copy);
  lip_free(to->v);
  to->v = copy;
  to->n = n;
  return true;
}

void *lip_conf_copy(const lip_desc *desc, const void *conf) {
  void *copy = lip_alloc(1, desc->conf_size);
  if (!copy) return NULL;
  if (desc->conf_size) memcpy(copy, conf, desc->conf_size);
  for (const lip_opt *o = desc->opts; o && o->name; o++)
    if (o->type == LIP_OPT_REALS) *(lip_reals *)member(o, copy) = (lip_reals){0};
  for (const lip_opt *o = desc->opts; o && o->name; o++) {
    if (o->type != LIP_OPT_REALS) continue;
    const lip_reals *from = member_const(o, conf);
    if (from->n && !reals_assign(member(o, copy), from->v, from->n)) {
      lip_conf_free(desc, copy);
      return NULL;
    }
  }
  return copy;
}

/* "a, b, c" into a fixed buffer, cut where it is full. */
static void join(char *out, size_t size, const char *word) {
  size_t n = strlen(out);
  if (n < size) snprintf(out + n, size - n, "%s%s", n ? ", " : "", word);
}

enum { MAX_WORD = 60 };

/* Edit distance (Levenshtein 1966), a row at a time; two neighbours exchanged count two. b has up to MAX_WORD letters. */
static size_t distance(const char *a, const char *b) {
  size_t row[MAX_WORD + 1];
  const size_t n = strlen(b);
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (; *a; a++) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= n; j++) {
      size_t best = diagonal + (*a != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[n];
}

static void nearer(const char *name, const char *known, const char **best, size_t *least) {
  if (strlen(known) > MAX_WORD) return;
  const size_t d = distance(name, known);
  if (*best && d >= *least) return;
  *best = known;
  *least = d;
}

const char *lip_opt_nearest(const lip_desc *desc, const char *const *more, const char *name) {
  const size_t n = strlen(name), enough = n / 3 > 2 ? n / 3 : 2;
  const char *best = NULL;
  size_t least = 0;
  if (n > MAX_WORD) return NULL;
  for (const lip_opt *o = desc ? desc->opts : NULL; o && o->name; o++) nearer(name, o->name, &best, &least);
  for (; more && *more; more++) nearer(name, *more, &best, &least);
  return best && least < n && least <= enough ? best : NULL;
}

lip_status lip_opt_unknown(const lip_desc *desc, const char *const *more, const char *name, lip_err *err) {
  char known[240] = "", hint[MAX_WORD + 20] = "";
  for (const lip_opt *o = desc->opts; o && o->name; o++) join(known, sizeof known, o->name);
  for (const char *const *m = more; m && *m; m++) join(known, sizeof known, *m);
  const char *near = lip_opt_nearest(desc, more, name);
  if (near) snprintf(hint, sizeof hint, ", did you mean '%s'?", near);
  return lip_fail(err, LIP_OPTION, "%s: unknown option '%.60s'%s (known: %s)", desc->name, name, hint,
                  known[0] ? known : "none");
}

static const char *type_text(const lip_opt *o, char *buf, size_t size) {
  static const char *const plain[] = {"a whole number", "a number", "true or false", "", "a list of numbers"};
  if (o->type != LIP_OPT_ENUM) return plain[o->type];
  buf[0] = '\0';
  for (const char *const *w = o->names; *w; w++) join(buf, size, *w);
  return buf;
}

lip_status lip_opt_wrong_type(const lip_desc *desc, const lip_opt *o, const char *got, lip_err *err) {
  char buf[200];
  return lip_fail(err, LIP_OPTION, "%s: option '%s' expects %s%s, got %.80s", desc->name, o->name,
                  o->type == LIP_OPT_ENUM ? "one of " : "", type_text(o, buf, sizeof buf), got);
}

static lip_status check_range(const lip_desc *desc, const lip_opt *o, double v, lip_err *err) {
  bool any = o->low == 0 && o->high == 0;
  bool ok = any ? isfinite(v) : v >= o->low && v <= o->high; /* false for NaN */
  if (ok && o->type == LIP_OPT_SIZE) ok = v == floor(v) && v >= 0 && v <= 0x1p52;
  if (ok) return LIP_OK;
  if (o->type == LIP_OPT_SIZE && any)
    return lip_fail(err, LIP_OPTION, "%s: option '%s' expects a whole number >= 0, got %.17g", desc->name,
                    o->name, lip_plain(v));
  if (any)
    return lip_fail(err, LIP_OPTION, "%s: option '%s' expects a finite number, got %g", desc->name, o->name,
                    lip_plain(v));
  return lip_fail(err, LIP_OPTION, "%s: option '%s' expects %s in [%g, %g], got %.17g", desc->name, o->name,
                  o->type == LIP_OPT_SIZE ? "a whole number" : "a number", o->low, o->high, lip_plain(v));
}

lip_status lip_conf_set_number(const lip_desc *desc, void *conf, const char *name, double v, lip_err *err) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (!o) return lip_opt_unknown(desc, NULL, name, err);
  if (o->type == LIP_OPT_REALS) return lip_conf_set_reals(desc, conf, name, &v, 1, err);
  if (o->type == LIP_OPT_ENUM) { /* {1, 2, "inf"} is natural for norms */
    char word[32];
    lip_snprintf(word, sizeof word, isinf(v) && v > 0 ? "inf" : "%.17g", lip_plain(v));
    return lip_conf_set_text(desc, conf, name, word, err);
  }
  if (o->type != LIP_OPT_SIZE && o->type != LIP_OPT_REAL) {
    char got[40];
    lip_snprintf(got, sizeof got, "the number %g", lip_plain(v));
    return lip_opt_wrong_type(desc, o, got, err);
  }
  if (check_range(desc, o, v, err)) return err ? err->code : LIP_OPTION;
  if (o->type == LIP_OPT_SIZE)
    *(size_t *)member(o, conf) = (size_t)v;
  else
    *(double *)member(o, conf) = v;
  return LIP_OK;
}

lip_status lip_conf_set_bool(const lip_desc *desc, void *conf, const char *name, bool v, lip_err *err) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (!o) return lip_opt_unknown(desc, NULL, name, err);
  if (o->type != LIP_OPT_BOOL) return lip_opt_wrong_type(desc, o, v ? "true" : "false", err);
  *(bool *)member(o, conf) = v;
  return LIP_OK;
}

lip_status lip_conf_set_text(const lip_desc *desc, void *conf, const char *name, const char *v,
                             lip_err *err) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (!o) return lip_opt_unknown(desc, NULL, name, err);
  if (o->type == LIP_OPT_ENUM)
    for (int i = 0; o->names[i]; i++)
      if (strcmp(o->names[i], v) == 0) {
        *(int *)member(o, conf) = i;
        return LIP_OK;
      }
  char got[80];
  snprintf(got, sizeof got, "\"%.60s\"", v);
  return lip_opt_wrong_type(desc, o, got, err);
}

lip_status lip_conf_set_reals(const lip_desc *desc, void *conf, const char *name, const double *v, size_t n,
                              lip_err *err) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (!o) return lip_opt_unknown(desc, NULL, name, err);
  if (o->type != LIP_OPT_REALS) return lip_opt_wrong_type(desc, o, "a list", err);
  for (size_t i = 0; i < n; i++)
    if (check_range(desc, o, v[i], err)) return err ? err->code : LIP_OPTION;
  if (!reals_assign(member(o, conf), v, n))
    return lip_fail(err, LIP_MEMORY, "%s: no memory for option '%s'", desc->name, name);
  return LIP_OK;
}

lip_status lip_conf_complete(const lip_desc *desc, const bool *given, lip_err *err) {
  size_t i = 0;
  for (const lip_opt *o = desc->opts; o && o->name; o++, i++)
    if (o->required && !given[i])
      return lip_fail(err, LIP_OPTION, "%s: option '%s' is required: %s", desc->name, o->name, o->help);
  return LIP_OK;
}

static bool is_default(const lip_opt *o, const void *conf) {
  const char *m = (const char *)conf + o->offset;
  if (o->type == LIP_OPT_REAL) return *(const double *)(const void *)m == o->def;
  return o->type == LIP_OPT_SIZE && (double)*(const size_t *)(const void *)m == o->def;
}

lip_status lip_conf_relevant(const lip_desc *desc, const void *conf, const bool *given, lip_err *err) {
  size_t i = 0;
  for (const lip_opt *o = desc->opts; o && o->name; o++, i++) {
    if (!given[i] || o->type == LIP_OPT_ENUM || !o->names || is_default(o, conf)) continue;
    const lip_opt *other = lip_opt_find(desc, o->names[0]);
    const char *word = other->names[*(const int *)(const void *)((const char *)conf + other->offset)];
    char words[200] = "";
    bool fits = false;
    for (const char *const *w = o->names + 1; *w; w++) {
      char quoted[40];
      snprintf(quoted, sizeof quoted, "\"%.30s\"", *w);
      join(words, sizeof words, quoted);
      fits = fits || strcmp(word, *w) == 0;
    }
    if (!fits)
      return lip_fail(err, LIP_OPTION, "%s: option '%s' is for %s = %s, and means nothing with \"%s\"",
                      desc->name, o->name, other->name, words, word);
  }
  return LIP_OK;
}
