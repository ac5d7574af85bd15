/* Words of a VNN-LIB file, from a reader piece by piece or from memory. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/exchange/vnnlib_parts.h"

static lip_status fail_at(lip_lex *lex, lip_status code, size_t line, size_t column, const char *what) {
  if (lex->status == LIP_OK)
    lex->status = lip_fail(lex->err, code, "%s: line %zu, column %zu: %s", lex->name, line, column, what);
  return lex->status;
}

lip_status lip_lex_fail(lip_lex *lex, lip_status code, const char *fmt, ...) {
  char what[300];
  va_list args;
  lip_number_enter();
  va_start(args, fmt);
  vsnprintf(what, sizeof what, fmt, args);
  va_end(args);
  lip_number_leave();
  return fail_at(lex, code, lex->word_line, lex->word_column, what);
}

/* The next byte without taking it; -1: the end, or a failure. */
static int peek(lip_lex *lex) {
  if (lex->at < lex->n) return (unsigned char)lex->bytes[lex->at];
  if (!lex->reader || lex->status) return -1;
  lex->at = 0;
  lip_status status = lip_reader_read(lex->reader, lex->buffer, LIP_LEX_BUFFER, &lex->n, lex->err);
  if (status) {
    lex->status = status;
    lex->n = 0;
    return -1;
  }
  lex->total += lex->n;
  if (lex->total > LIP_VNNLIB_BYTES) {
    fail_at(lex, LIP_UNSUPPORTED, lex->line, lex->column,
            "the file has more than 256 MB (unpacked): such queries are not read");
    return -1;
  }
  return lex->n > 0 ? (unsigned char)lex->bytes[0] : -1;
}

static void take(lip_lex *lex) {
  bool line = lex->bytes[lex->at++] == '\n';
  lex->line += line;
  lex->column = line ? 1 : lex->column + 1;
}

static bool is_space(int c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_part_of_name(int c) {
  return c > ' ' && c < 127 && !strchr("()[],;\"", c);
}

static void pass_space(lip_lex *lex) {
  int c = peek(lex);
  while (c >= 0 && (is_space(c) || c == ';')) {
    if (c == ';')
      for (; c >= 0 && c != '\n'; c = peek(lex)) take(lex);
    else
      take(lex);
    c = peek(lex);
  }
}

/* Adds the next byte to the word. */
static void keep(lip_lex *lex) {
  if (lex->length == LIP_WORD_MOST)
    lip_lex_fail(lex, LIP_FORMAT, "a word of more than %d characters", LIP_WORD_MOST);
  else
    lex->text[lex->length++] = lex->bytes[lex->at];
  take(lex);
}

static void read_text(lip_lex *lex) {
  take(lex);
  int c = peek(lex);
  while (c >= ' ' && c != '"' && c != 127 && lex->status == LIP_OK) {
    keep(lex);
    c = peek(lex);
  }
  if (c == '"')
    take(lex);
  else
    lip_lex_fail(lex, LIP_FORMAT, "a text in quotes that does not end on its line");
}

bool lip_lex_next(lip_lex *lex) {
  static const char marks[] = "()[],";
  static const lip_word words[] = {LIP_WORD_OPEN, LIP_WORD_CLOSE, LIP_WORD_LEFT, LIP_WORD_RIGHT,
                                   LIP_WORD_COMMA};
  pass_space(lex);
  lex->length = 0;
  lex->word = LIP_WORD_END;
  lex->word_line = lex->line;
  lex->word_column = lex->column;
  int c = peek(lex);
  const char *mark = c > 0 ? strchr(marks, c) : NULL;
  if (mark) {
    lex->word = words[mark - marks];
    take(lex);
  } else if (c == '"') {
    lex->word = LIP_WORD_TEXT;
    read_text(lex);
  } else if (c >= 0 && is_part_of_name(c)) {
    lex->word = LIP_WORD_NAME;
    for (; c >= 0 && is_part_of_name(c) && lex->status == LIP_OK; c = peek(lex)) keep(lex);
  } else if (c >= 0) {
    lip_lex_fail(lex, LIP_FORMAT, "byte %d does not belong into a VNN-LIB file", c);
  }
  lex->text[lex->length] = 0;
  return lex->status == LIP_OK;
}

bool lip_lex_is(const lip_lex *lex, const char *name) {
  return lex->word == LIP_WORD_NAME && strcmp(lex->text, name) == 0;
}

const char *lip_lex_shown(const lip_lex *lex, char *to, size_t size) {
  static const char *const marks[] = {"the end of the file", "'('", "')'", "'['", "']'", "','"};
  if (lex->word == LIP_WORD_NAME)
    lip_snprintf(to, size, "'%.40s'", lex->text);
  else
    lip_snprintf(to, size, "%s", lex->word == LIP_WORD_TEXT ? "a text in quotes" : marks[lex->word]);
  return to;
}

bool lip_lex_pass(lip_lex *lex, lip_word word, const char *what) {
  char shown[64];
  if (lex->status) return false;
  if (lex->word != word) {
    lip_lex_fail(lex, LIP_FORMAT, "%s expected, got %s", what, lip_lex_shown(lex, shown, sizeof shown));
    return false;
  }
  return lip_lex_next(lex);
}

bool lip_vnnlib_room(void **block, size_t *room, size_t n, size_t more, size_t size) {
  if (*block && *room - n >= more) return true;
  size_t want = n + more + (n + more) / 2 + 16;
  void *grown = *block ? lip_realloc(*block, want, size) : lip_alloc(want, size);
  if (!grown) return false;
  *block = grown;
  *room = want;
  return true;
}

lip_status lip_vnnlib_no_memory(lip_vnnlib_parser *p) {
  return lip_lex_fail(&p->lex, LIP_MEMORY, "out of memory");
}
