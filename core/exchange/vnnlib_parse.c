/* VNN-LIB files: the commands, and the assertions as trees. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib_parts.h"
#include "core/norm/round.h"

static bool good(const lip_vnnlib_parser *p) {
  return p->lex.status == LIP_OK;
}

/* ---- trees ---- */

/* Appends a node; its number. */
static size_t add_node(lip_vnnlib_parser *p, lip_vnnlib_kind kind, uint32_t n) {
  if (!good(p)) return 0;
  if (!LIP_VNNLIB_ROOM(p->v, node, 1)) {
    lip_vnnlib_no_memory(p);
    return 0;
  }
  p->v->node[p->v->n_node] = (lip_vnnlib_node){kind, n};
  return p->v->n_node++;
}

static void drop_node(lip_vnnlib *v, size_t i) {
  memmove(v->node + i, v->node + i + 1, (v->n_node - i - 1) * sizeof *v->node);
  v->n_node--;
}

static void read_condition(lip_vnnlib_parser *p, int depth, bool turned);

/* A condition below node `parent` (of that kind): of the same kind it is no node of its own. */
static void read_child(lip_vnnlib_parser *p, int depth, bool turned, lip_vnnlib_kind kind) {
  size_t at = p->v->n_node;
  read_condition(p, depth, turned);
  if (good(p) && p->v->node[at].kind == kind) drop_node(p->v, at);
}

/* Behind "(and" or "(or". */
static void read_connective(lip_vnnlib_parser *p, int depth, bool turned, lip_vnnlib_kind kind) {
  size_t at = add_node(p, kind, 0), n = 0;
  for (; good(p) && (n == 0 || p->lex.word != LIP_WORD_CLOSE); n++) read_child(p, depth, turned, kind);
  if (!good(p)) return;
  p->v->node[at].n = (uint32_t)(p->v->n_node - at - 1);
  const lip_vnnlib_node *first = &p->v->node[at + 1];
  bool alone = n == 1 && p->v->node[at].n == (first->kind == LIP_VNNLIB_ROW ? 1 : first->n + 1);
  if (alone) drop_node(p->v, at);
}

typedef enum relation { LE, GE, LT, GT, EQ, NE, NONE } relation;

static relation relation_of(const lip_lex *lex) {
  static const char *const names[] = {"<=", ">=", "<", ">", "==", "!=", "="};
  static const relation relations[] = {LE, GE, LT, GT, EQ, NE, EQ};
  for (int i = 0; i < 7; i++)
    if (lip_lex_is(lex, names[i])) return relations[i];
  return NONE;
}

/* Behind the relation: one row, or the two of (and <= >=) or (or < >). */
static void read_comparison(lip_vnnlib_parser *p, int depth, relation r) {
  lip_decimal bound;
  lip_vnnlib_sides(p, depth, &bound);
  if (r != EQ && r != NE) {
    add_node(p, LIP_VNNLIB_ROW, lip_vnnlib_row_of(p, &bound, r == GE || r == GT, r == LT || r == GT));
    return;
  }
  add_node(p, r == EQ ? LIP_VNNLIB_AND : LIP_VNNLIB_OR, 2);
  for (int turned = 0; turned < 2; turned++)
    add_node(p, LIP_VNNLIB_ROW, lip_vnnlib_row_of(p, &bound, turned, r == NE));
}

/* A condition, or (turned) what it is not. */
static void read_condition(lip_vnnlib_parser *p, int depth, bool turned) {
  static const relation opposite[] = {GT, LT, GE, LE, NE, EQ, NONE};
  lip_lex *lex = &p->lex;
  char shown[64];
  if (good(p) && depth >= LIP_VNNLIB_DEPTH)
    lip_lex_fail(lex, LIP_UNSUPPORTED, "brackets are nested deeper than %d", LIP_VNNLIB_DEPTH);
  if (!lip_lex_pass(lex, LIP_WORD_OPEN, "a condition, '(<= ...' say,")) return;
  relation r = relation_of(lex);
  bool both = lip_lex_is(lex, "and"), either = lip_lex_is(lex, "or"), not = lip_lex_is(lex, "not");
  if (r == NONE && !both && !either && !not ) {
    lip_lex_fail(lex, LIP_FORMAT, "and, or, not, <=, >=, <, >, == or != expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  if (!lip_lex_next(lex)) return;
  if (r != NONE)
    read_comparison(p, depth + 1, turned ? opposite[r] : r);
  else if (not )
    read_condition(p, depth + 1, !turned);
  else
    read_connective(p, depth + 1, turned, both != turned ? LIP_VNNLIB_AND : LIP_VNNLIB_OR);
  lip_lex_pass(lex, LIP_WORD_CLOSE, "')'");
}

/* ---- commands ---- */

/* Behind "(vnnlib-version": <2.0>, the first command of its file. */
static void read_version(lip_vnnlib_parser *p, bool first) {
  lip_lex *lex = &p->lex;
  char shown[64];
  if (!first) {
    lip_lex_fail(lex, LIP_FORMAT, "vnnlib-version is not the first command");
    return;
  }
  if (!lip_lex_next(lex)) return;
  bool one = lip_lex_is(lex, "<1.0>"), two = lex->word == LIP_WORD_NAME && strncmp(lex->text, "<2.", 3) == 0;
  if (!one && !two) {
    lip_lex_fail(lex, LIP_UNSUPPORTED, "version <1.0> or <2.0> expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  p->v->version = two ? 2 : 1;
  lip_lex_next(lex);
}

static void read_command(lip_vnnlib_parser *p, bool first) {
  lip_lex *lex = &p->lex;
  char shown[64];
  if (!lip_lex_pass(lex, LIP_WORD_OPEN, "a command in brackets")) return;
  if (lip_lex_is(lex, "assert")) {
    if (lip_lex_next(lex)) read_child(p, 1, false, LIP_VNNLIB_AND);
  } else if (lip_lex_is(lex, "declare-const") || lip_lex_is(lex, "declare-fun")) {
    lip_vnnlib_declare_const(p);
  } else if (lip_lex_is(lex, "declare-network")) {
    lip_vnnlib_declare_network(p);
  } else if (lip_lex_is(lex, "vnnlib-version")) {
    read_version(p, first);
  } else {
    lip_lex_fail(lex, LIP_FORMAT,
                 "assert, declare-const (version 1), declare-network or vnnlib-version (version 2) expected, "
                 "got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
  }
  lip_lex_pass(lex, LIP_WORD_CLOSE, "')'");
}

static void read_file(lip_vnnlib_parser *p) {
  lip_vnnlib *v = p->v;
  v->version = 1;
  lip_lex_next(&p->lex);
  for (bool first = true; good(p) && p->lex.word != LIP_WORD_END; first = false) read_command(p, first);
  if (good(p) && v->version == 1) lip_vnnlib_declared(p);
  if (good(p) && (v->n_x == 0 || v->n_y == 0))
    lip_lex_fail(&p->lex, LIP_FORMAT, "the file declares no %s", v->n_x == 0 ? "inputs" : "outputs");
}

static lip_status parse(const char *name, lip_reader *reader, const char *text, size_t n, lip_vnnlib **out,
                        lip_err *err) {
  *out = NULL;
  lip_vnnlib_parser *p = lip_alloc(1, sizeof *p);
  char *buffer = p && reader ? lip_alloc(LIP_LEX_BUFFER, 1) : NULL;
  lip_vnnlib *v = p ? lip_alloc(1, sizeof *v) : NULL;
  lip_status status = LIP_MEMORY;
  if (!v || (reader && !buffer)) {
    lip_fail(err, LIP_MEMORY, "out of memory for '%s'", name);
  } else {
    fenv_t saved; /* denormal numbers count */
    lip_ieee_enter(&saved);
    p->v = v;
    p->lex = (lip_lex){.name = name, .reader = reader, .line = 1, .column = 1, .buffer = buffer, .err = err};
    p->lex.bytes = reader ? buffer : text;
    p->lex.n = p->lex.total = n;
    read_file(p);
    status = p->lex.status;
    lip_ieee_leave(&saved);
  }
  if (p) {
    lip_free(p->part);
    lip_free(p->pool);
    lip_free(p->seen[0]);
    lip_free(p->seen[1]);
  }
  lip_free(p);
  lip_free(buffer);
  if (status)
    lip_vnnlib_free(v);
  else
    *out = v;
  return status;
}

lip_status lip_vnnlib_load(const char *path, lip_vnnlib **out, lip_err *err) {
  lip_reader *reader;
  *out = NULL;
  lip_status status = lip_reader_open(path, &reader, err);
  if (status) return status;
  status = parse(path, reader, NULL, 0, out, err);
  lip_reader_close(reader);
  return status;
}

lip_status lip_vnnlib_read(const char *name, const char *text, size_t n, lip_vnnlib **out, lip_err *err) {
  return parse(name, NULL, text, n, out, err);
}

void lip_vnnlib_free(lip_vnnlib *v) {
  if (!v) return;
  for (size_t i = 0; i < v->n_network; i++) lip_free(v->network[i].name);
  for (size_t i = 0; i < v->n_tensor; i++) {
    lip_free(v->tensor[i].name);
    lip_free(v->tensor[i].type);
    lip_free(v->tensor[i].onnx);
  }
  lip_free(v->network);
  lip_free(v->tensor);
  lip_free(v->node);
  lip_free(v->row);
  lip_free(v->term);
  lip_free(v->number);
  lip_free(v->digit);
  lip_free(v);
}
