#include "core/data/csv.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/data/gz.h"

enum { MAX_NUMBER = 63 }; /* characters of a field that may be a number */

/* One field, lent from the text: blanks around it and quotes are left out; a doubled quote inside is still doubled. */
typedef struct field {
  const char *p;
  size_t n;
  bool quoted;
} field;

/* The place in the text. `line` counts from 1, `column` is the 0-based number of the field read last. */
typedef struct scan {
  const char *p, *end;
  const char *path;
  char separator;
  size_t line, column;
  size_t record_line; /* the line on which the record under way began */
  bool first;         /* the next field begins a record */
  bool minus, other;  /* labels so far: -1, and others than -1 and 1 */
  lip_err *err;
} scan;

static lip_status fault(const scan *s, const field *f, const char *what) {
  int n = f->n < 40 ? (int)f->n : 40;
  return lip_fail(s->err, LIP_FORMAT, "%s, line %zu, column %zu: '%.*s' %s", s->path, s->line, s->column + 1,
                  n, f->p, what);
}

static bool at_break(const scan *s) {
  return *s->p == '\n' || *s->p == '\r';
}

/* Over one LF, CR or CRLF. */
static void skip_break(scan *s) {
  if (*s->p == '\r' && s->p + 1 < s->end && s->p[1] == '\n') s->p++;
  s->p++;
  s->line++;
}

static bool blank(const scan *s, char c) {
  return (c == ' ' || c == '\t') && c != s->separator;
}

static void skip_blanks(scan *s) {
  while (s->p < s->end && blank(s, *s->p)) s->p++;
}

/* Goes to the next record that is not a blank line; false at the end of the text. */
static bool next_record(scan *s) {
  for (;;) {
    skip_blanks(s);
    if (s->p >= s->end) return false;
    if (!at_break(s)) break;
    skip_break(s);
  }
  s->first = true;
  s->record_line = s->line;
  return true;
}

static lip_status quoted_field(scan *s, field *f) {
  size_t opened = s->line;
  f->quoted = true;
  f->p = ++s->p;
  for (;; s->p++) {
    if (s->p >= s->end)
      return lip_fail(s->err, LIP_FORMAT, "%s, line %zu, column %zu: a quote is opened and never closed",
                      s->path, opened, s->column + 1);
    if (*s->p == '\n') s->line++;
    if (*s->p != '"') continue;
    if (s->p + 1 < s->end && s->p[1] == '"')
      s->p++;
    else
      break;
  }
  f->n = (size_t)(s->p++ - f->p);
  skip_blanks(s);
  if (s->p < s->end && *s->p != s->separator && !at_break(s))
    return fault(s, f, "is followed by text after its quote");
  return LIP_OK;
}

/* The next field of the record; *more tells whether another one follows. */
static lip_status next_field(scan *s, field *f, bool *more) {
  lip_status code = LIP_OK;
  s->column = s->first ? 0 : s->column + 1;
  s->first = false;
  skip_blanks(s);
  *f = (field){s->p, 0, false};
  if (s->p < s->end && *s->p == '"') {
    code = quoted_field(s, f);
    if (code) return code;
  } else {
    while (s->p < s->end && *s->p != s->separator && !at_break(s)) s->p++;
    f->n = (size_t)(s->p - f->p);
    while (f->n > 0 && blank(s, f->p[f->n - 1])) f->n--;
  }
  *more = s->p < s->end && *s->p == s->separator;
  if (*more)
    s->p++;
  else if (s->p < s->end)
    skip_break(s);
  return LIP_OK;
}

static bool missing(const field *f) {
  static const char *const words[] = {"", "na", "n/a", "nan", "null", "?"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t k = 0;
    while (k < f->n && words[i][k] && tolower((unsigned char)f->p[k]) == words[i][k]) k++;
    if (k == f->n && !words[i][k]) return true;
  }
  return false;
}

/* A finite decimal number that fills the field; the C locale is in force. */
static bool number(const field *f, double *v) {
  char text[MAX_NUMBER + 1], *end;
  if (f->n == 0 || f->n > MAX_NUMBER) return false;
  for (size_t i = 0; i < f->n; i++)
    if (!memchr("0123456789+-.eE", f->p[i], 15)) return false;
  memcpy(text, f->p, f->n);
  text[f->n] = '\0';
  *v = strtod(text, &end);
  return *end == '\0' && isfinite((float)*v);
}

/* ---- the plan: which column goes where ---- */

enum { FEATURE, LABEL, TARGET };

typedef struct plan {
  size_t columns, rows;
  bool header;
  bool counted;  /* the first line, read as a sample, counts its columns as written names of columns do */
  uint8_t *role; /* (columns) */
  size_t *slot;  /* (columns) index among the features or targets */
  size_t features;
} plan;

/* Compares a field with a name; a doubled quote in the field stands for one. */
static bool named(const field *f, const char *name) {
  size_t i = 0;
  for (; i < f->n && *name; i++, name++) {
    if (f->p[i] != *name) return false;
    if (f->quoted && f->p[i] == '"') i++;
  }
  return i == f->n && *name == '\0';
}

/* Counts records and proves that all have the same number of fields. Decides about the header. */
static lip_status measure(scan s, const lip_csv_conf *conf, plan *p) {
  size_t records = 0;
  size_t from = 0;
  bool text = false, counted = true, more;
  while (next_record(&s)) {
    field f;
    double v;
    do {
      lip_status code = next_field(&s, &f, &more);
      if (code) return code;
      if (records > 0) continue;
      bool value = number(&f, &v);
      if (!missing(&f) && !value) text = true;
      /* an index's column has an empty name; those behind it count from 0 all the same */
      if (s.column == 0 && missing(&f)) from = 1;
      counted = counted && (value ? v == (double)s.column - (double)from : s.column == 0 && from == 1);
    } while (more);
    if (records == 0) p->columns = s.column + 1;
    if (s.column + 1 != p->columns)
      return lip_fail(s.err, LIP_FORMAT, "%s, line %zu: %zu fields where the first line has %zu", s.path,
                      s.record_line, s.column + 1, p->columns);
    records++;
  }
  if (records == 0) return lip_fail(s.err, LIP_FORMAT, "%s: no data", s.path);
  p->header = conf->header == LIP_CSV_YES || (conf->header == LIP_CSV_GUESS && text);
  p->counted = conf->header == LIP_CSV_GUESS && !text && counted && p->columns > 1 + from;
  p->rows = records - p->header;
  if (p->rows == 0) return lip_fail(s.err, LIP_FORMAT, "%s: a header, but no data", s.path);
  return LIP_OK;
}

static lip_status find_column(scan s, const plan *p, const lip_csv_column *c, size_t *index) {
  if (!c->name) {
    *index = c->index;
    if (c->index < p->columns) return LIP_OK;
    return lip_fail(s.err, LIP_ARGUMENT, "%s: no column %zu, there are %zu", s.path, c->index + 1,
                    p->columns);
  }
  if (!p->header)
    return lip_fail(s.err, LIP_ARGUMENT, "%s: column '%s' is asked for by name, but there is no header line",
                    s.path, c->name);
  bool more = next_record(&s);
  const char *line = s.p;
  int n = 0;
  while (n < 80 && line + n < s.end && line[n] != '\n' && line[n] != '\r') n++;
  while (more) {
    field f;
    lip_status code = next_field(&s, &f, &more);
    if (code) return code;
    *index = s.column;
    if (named(&f, c->name)) return LIP_OK;
  }
  return lip_fail(s.err, LIP_ARGUMENT, "%s: the header has no column '%s': it is %.*s", s.path, c->name, n,
                  line);
}

static lip_status assign(const scan *s, plan *p, const lip_csv_column *c, uint8_t role, size_t slot) {
  size_t index = 0;
  lip_status code = find_column(*s, p, c, &index);
  if (code) return code;
  if (p->role[index] != FEATURE)
    return lip_fail(s->err, LIP_ARGUMENT, "%s: column %zu is asked for twice", s->path, index + 1);
  p->role[index] = role;
  p->slot[index] = slot;
  return LIP_OK;
}

static lip_status make_plan(const scan *s, const lip_csv_conf *conf, plan *p) {
  lip_status code = measure(*s, conf, p);
  if (code) return code;
  p->role = lip_alloc(p->columns, sizeof *p->role);
  p->slot = lip_alloc(p->columns, sizeof *p->slot);
  if (!p->role || !p->slot) return lip_fail(s->err, LIP_MEMORY, "%s: out of memory", s->path);
  if (conf->label) code = assign(s, p, conf->label, LABEL, 0);
  for (size_t i = 0; code == LIP_OK && i < conf->target_count; i++)
    code = assign(s, p, &conf->targets[i], TARGET, i);
  for (size_t i = 0; i < p->columns; i++)
    if (p->role[i] == FEATURE) p->slot[i] = p->features++;
  if (code == LIP_OK && p->features == 0)
    return lip_fail(s->err, LIP_ARGUMENT, "%s: no column is left as a feature", s->path);
  return code;
}

/* ---- the values ---- */

static lip_status store(scan *s, const lip_csv_conf *conf, const plan *p, const field *f, lip_dataset *d,
                        size_t row) {
  uint8_t role = p->role[s->column];
  size_t slot = p->slot[s->column];
  double v = 0;
  if (missing(f)) {
    if (!conf->fill || role != FEATURE) return fault(s, f, "is a missing value");
    v = (double)conf->fill_value;
  } else if (!number(f, &v)) {
    return fault(s, f, "is not a number that float32 can hold");
  }
  if (role == FEATURE) d->values[row * p->features + slot] = (float)v;
  if (role == TARGET) d->targets[row * d->target_width + slot] = (float)v;
  if (role == LABEL) {
    s->minus = s->minus || v == -1;
    s->other = s->other || fabs(v) != 1;
    if (!(v >= -1 && v < LIP_MAX_CLASSES && v == floor(v)) || (s->minus && s->other))
      return fault(s, f, "is not a label (0, 1, 2, ..., or -1 and 1 alone)");
    d->labels[row] = (int32_t)v;
  }
  return LIP_OK;
}

static lip_status read_rows(scan s, const lip_csv_conf *conf, const plan *p, lip_dataset *d) {
  bool skip = p->header;
  for (size_t row = 0; next_record(&s);) {
    bool more = true, header = skip;
    while (more) {
      field f;
      size_t line = s.line;
      lip_status code = next_field(&s, &f, &more);
      scan at = s; /* the message names the line on which the field began */
      at.line = line;
      if (code == LIP_OK && !header) code = store(&at, conf, p, &f, d, row);
      if (code) return code;
      s.minus = at.minus;
      s.other = at.other;
    }
    skip = false;
    if (!header) row++;
  }
  return LIP_OK;
}

static lip_status parse(const char *name, scan *s, const lip_csv_conf *conf, lip_dataset **out) {
  plan p = {0};
  lip_status code = make_plan(s, conf, &p);
  if (code == LIP_OK) code = lip_dataset_new(name, p.rows, 1, &p.features, out, s->err);
  if (code == LIP_OK) code = lip_dataset_alloc(*out, false, conf->label != NULL, conf->target_count, s->err);
  if (code == LIP_OK) code = read_rows(*s, conf, &p, *out);
  if (code == LIP_OK) code = lip_dataset_count_classes(*out, 0, s->err);
  if (code == LIP_OK && p.counted) {
    char note[256];
    lip_snprintf(
        note, sizeof note,
        "%.100s: its first line counts 0, 1, 2, ... like names of columns and is read as a sample: say "
        "header = true or header = false",
        s->path);
    lip_dataset_note(*out, note);
  }
  lip_free(p.role);
  lip_free(p.slot);
  return code;
}

lip_status lip_csv_load(const char *name, const char *path, const lip_csv_conf *conf, lip_dataset **out,
                        lip_err *err) {
  uint8_t digest[LIP_SHA256_BYTES];
  char *text;
  size_t n;
  lip_dataset *d = NULL;
  *out = NULL;
  lip_status code = lip_read_file(path, SIZE_MAX / 4, &text, &n, digest, err);
  if (code) return code;
  scan s = {.p = text,
            .end = text + n,
            .path = path,
            .separator = conf->separator ? conf->separator : ',',
            .line = 1,
            .record_line = 1,
            .first = true,
            .err = err};
  if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) s.p += 3; /* byte order mark of UTF-8 */
  lip_number_enter();
  code = parse(name, &s, conf, &d);
  lip_number_leave();
  lip_free(text);
  if (code) {
    lip_dataset_free(d);
    return code;
  }
  lip_dataset_set_digest(d, digest, 1);
  *out = d;
  return LIP_OK;
}
