/* Private to vnnlib*.c: the words of a file, and what the parts of the reader share. */
#ifndef LIP_EXCHANGE_VNNLIB_PARTS_H
#define LIP_EXCHANGE_VNNLIB_PARTS_H

#include "core/data/gz.h"
#include "core/exchange/vnnlib.h"
#include "core/exchange/vnnlib_decimal.h"

/* ---- words (vnnlib_lex.c) ---- */

typedef enum lip_word {
  LIP_WORD_END,
  LIP_WORD_OPEN,
  LIP_WORD_CLOSE,
  LIP_WORD_LEFT,  /* [ */
  LIP_WORD_RIGHT, /* ] */
  LIP_WORD_COMMA,
  LIP_WORD_TEXT, /* "..." */
  LIP_WORD_NAME  /* names, operators and numbers */
} lip_word;

enum { LIP_WORD_MOST = 4096, LIP_LEX_BUFFER = 1 << 16 };

typedef struct lip_lex {
  const char *name;   /* of the file */
  lip_reader *reader; /* NULL: all of it is in memory */
  const char *bytes;  /* (n), the next one is bytes[at] */
  size_t at, n, total;
  size_t line, column; /* of the next byte, from 1 on */
  char *buffer;        /* (LIP_LEX_BUFFER), of a reader */
  /* the word */
  lip_word word;
  size_t word_line, word_column, length;
  char text[LIP_WORD_MOST + 1];
  lip_status status; /* LIP_OK, or why there are no more words */
  lip_err *err;
} lip_lex;

/* Fails at the word, once: later failures change nothing. Returns lex->status. */
lip_status lip_lex_fail(lip_lex *lex, lip_status code, const char *fmt, ...) LIP_PRINTF(3, 4);
/* The next word; false after a failure. */
bool lip_lex_next(lip_lex *lex);
/* Whether the word is this name. */
bool lip_lex_is(const lip_lex *lex, const char *name);
/* The word for a message: 'X_0', "(", or the end of the file. */
const char *lip_lex_shown(const lip_lex *lex, char *to, size_t size);
/* The word must be of this kind, and the next is read; `what` says what was expected. */
bool lip_lex_pass(lip_lex *lex, lip_word word, const char *what);

/* ---- arrays ---- */

/* Room for `more` elements of `size` bytes behind n in a block from lip_alloc; false: no memory. */
bool lip_vnnlib_room(void **block, size_t *room, size_t n, size_t more, size_t size);
#define LIP_VNNLIB_ROOM(v, field, more)                                                                      \
  lip_vnnlib_room((void **)&(v)->field, &(v)->field##_room, (v)->n_##field, (more), sizeof *(v)->field)

/* ---- the reader ---- */

/* A term on the stack: digits in `pool`. */
typedef struct lip_part {
  uint32_t variable; /* LIP_VNNLIB_NONE: a constant */
  bool negative;
  int32_t n, exponent;
  size_t at;
} lip_part;

typedef struct lip_vnnlib_parser {
  lip_lex lex;
  lip_vnnlib *v;
  size_t n_part, part_room; /* terms of the inequality that is being read */
  lip_part *part;
  size_t n_pool, pool_room;
  char *pool;
  double work; /* digits that were multiplied or added */
  /* version 1: what has been declared, a bit each */
  uint64_t *seen[2];
  size_t seen_words[2], declared[2], beyond[2]; /* inputs, outputs; beyond: the largest number + 1 */
} lip_vnnlib_parser;

lip_status lip_vnnlib_no_memory(lip_vnnlib_parser *p);

/* vnnlib_declare.c: the word is the name of the command. */
void lip_vnnlib_declare_const(lip_vnnlib_parser *p);
void lip_vnnlib_declare_network(lip_vnnlib_parser *p);
/* Version 1: nothing is left out; names X and Y. */
void lip_vnnlib_declared(lip_vnnlib_parser *p);
/* The word is a variable: its number, and the word after it is next. */
uint32_t lip_vnnlib_variable(lip_vnnlib_parser *p);

/* vnnlib_sum.c: reads a sum and pushes its terms; then what stands from `from` on, as rows. */
void lip_vnnlib_sum(lip_vnnlib_parser *p, int depth);
/* Reads the two sides of a comparison. The parts are left - right, each variable once, the constant apart in *bound. */
void lip_vnnlib_sides(lip_vnnlib_parser *p, int depth, lip_decimal *bound);
/* Appends the row parts <= bound (or <), or -parts <= -bound; its number. */
uint32_t lip_vnnlib_row_of(lip_vnnlib_parser *p, const lip_decimal *bound, bool turned, bool strict);

/* A number of the file as a decimal. */
void lip_vnnlib_decimal(const lip_vnnlib *v, uint32_t number, lip_decimal *d);

#endif
