/* Declarations of a VNN-LIB file, and the variables that they declare. */
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib_parts.h"

/* ---- version 1: X_i and Y_j ---- */

/* A whole number below LIP_VNNLIB_MOST, written without needless zeros; false: it is none. */
static bool whole(const char *text, uint32_t *value) {
  uint32_t v = 0;
  if (text[0] == 0 || (text[0] == '0' && text[1] != 0)) return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    v = 10 * v + (uint32_t)(*text - '0');
    if (v >= LIP_VNNLIB_MOST) return false;
  }
  *value = v;
  return true;
}

/* X_12 or Y_3: which kind, and the number; false: it is neither. */
static bool is_variable(const char *text, int *kind, uint32_t *number) {
  if ((text[0] != 'X' && text[0] != 'Y') || text[1] != '_') return false;
  *kind = text[0] == 'Y';
  return whole(text + 2, number);
}

static bool seen(const lip_vnnlib_parser *p, int kind, uint32_t i) {
  return i / 64 < p->seen_words[kind] && (p->seen[kind][i / 64] >> (i % 64) & 1);
}

static void see(lip_vnnlib_parser *p, int kind, uint32_t i) {
  if (i / 64 >= p->seen_words[kind]) {
    size_t want = i / 32 + 16;
    void *grown = p->seen[kind] ? lip_realloc(p->seen[kind], want, 8) : lip_alloc(want, 8);
    if (!grown) {
      lip_vnnlib_no_memory(p);
      return;
    }
    p->seen[kind] = grown;
    p->seen_words[kind] = want;
  }
  p->seen[kind][i / 64] |= (uint64_t)1 << (i % 64);
  p->declared[kind]++;
  if (i + 1 > p->beyond[kind]) p->beyond[kind] = i + 1;
}

/* (declare-const NAME Real) or (declare-fun NAME () Real), behind the command. */
void lip_vnnlib_declare_const(lip_vnnlib_parser *p) {
  lip_lex *lex = &p->lex;
  char shown[64];
  int kind;
  uint32_t number;
  bool function = lip_lex_is(lex, "declare-fun");
  if (p->v->version != 1) {
    lip_lex_fail(lex, LIP_FORMAT, "%s belongs to version 1, this file is of version 2 (declare-network)",
                 lex->text);
    return;
  }
  if (!lip_lex_next(lex)) return;
  if (lex->word != LIP_WORD_NAME || !is_variable(lex->text, &kind, &number)) {
    lip_lex_fail(lex, LIP_FORMAT,
                 "a variable X_i (input) or Y_i (output) with i from 0 to %u expected, got %s",
                 LIP_VNNLIB_MOST - 1, lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  if (seen(p, kind, number)) {
    lip_lex_fail(lex, LIP_FORMAT, "%.40s is declared twice", lex->text);
    return;
  }
  see(p, kind, number);
  if (!lip_lex_next(lex)) return;
  if (function && !(lip_lex_pass(lex, LIP_WORD_OPEN, "'()'") && lip_lex_pass(lex, LIP_WORD_CLOSE, "'()'")))
    return;
  if (!lip_lex_is(lex, "Real")) {
    lip_lex_fail(lex, LIP_UNSUPPORTED, "the type Real expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  lip_lex_next(lex);
}

static void add_tensor(lip_vnnlib_parser *p, const char *name, bool output, size_t n) {
  lip_vnnlib *v = p->v;
  if (!LIP_VNNLIB_ROOM(v, tensor, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  lip_vnnlib_tensor *t = &v->tensor[v->n_tensor++];
  *t = (lip_vnnlib_tensor){.output = output, .ndim = 1, .dim = {(uint32_t)n}, .n = (uint32_t)n};
  t->name = lip_strdup(name);
  t->type = lip_strdup("float32");
  if (!t->name || !t->type) lip_vnnlib_no_memory(p);
}

void lip_vnnlib_declared(lip_vnnlib_parser *p) {
  lip_vnnlib *v = p->v;
  for (int kind = 0; kind < 2; kind++)
    if (p->declared[kind] != p->beyond[kind]) {
      uint32_t i = 0;
      while (seen(p, kind, i)) i++;
      lip_lex_fail(&p->lex, LIP_FORMAT, "%c_%u is not declared, but %c_%zu is", "XY"[kind], i, "XY"[kind],
                   p -> beyond[kind] - 1);
      return;
    }
  v->n_x = p->beyond[0];
  v->n_y = p->beyond[1];
  if (!LIP_VNNLIB_ROOM(v, network, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  v->network[v->n_network++] =
      (lip_vnnlib_network){.equal_to = LIP_VNNLIB_NONE, .isomorphic_to = LIP_VNNLIB_NONE};
  add_tensor(p, "X", false, v->n_x);
  if (p->lex.status == LIP_OK) add_tensor(p, "Y", true, v->n_y);
}

/* ---- version 2: networks with tensors ---- */

enum { TENSORS = 1024 }; /* names are looked up one by one */

static bool is_name(const char *text) {
  for (const char *c = text; *c; c++) {
    bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
    bool later = (*c >= '0' && *c <= '9') || *c == '_';
    if (!letter && !(later && c > text)) return false;
  }
  return text[0] != 0;
}

static const lip_vnnlib_tensor *find_tensor(const lip_vnnlib *v, const char *name) {
  for (size_t i = v->n_tensor; i-- > 0;)
    if (v->tensor[i].name && strcmp(v->tensor[i].name, name) == 0) return &v->tensor[i];
  return NULL;
}

static uint32_t find_network(const lip_vnnlib *v, const char *name) {
  for (size_t i = 0; i < v->n_network; i++)
    if (v->network[i].name && strcmp(v->network[i].name, name) == 0) return (uint32_t)i;
  return LIP_VNNLIB_NONE;
}

/* Takes a name that nothing has yet; a copy. */
static char *new_name(lip_vnnlib_parser *p, const char *what) {
  lip_lex *lex = &p->lex;
  char shown[64];
  if (lex->status) return NULL;
  if (lex->word != LIP_WORD_NAME || !is_name(lex->text))
    lip_lex_fail(lex, LIP_FORMAT, "the name of %s expected (letters, digits, _), got %s", what,
                 lip_lex_shown(lex, shown, sizeof shown));
  else if (find_tensor(p->v, lex->text) || find_network(p->v, lex->text) != LIP_VNNLIB_NONE)
    lip_lex_fail(lex, LIP_FORMAT, "the name %.40s is used twice", lex->text);
  else if (p->v->n_tensor + p->v->n_network > TENSORS)
    lip_lex_fail(lex, LIP_UNSUPPORTED, "more than %d networks and tensors", TENSORS);
  if (lex->status) return NULL;
  char *name = lip_strdup(lex->text);
  if (!name) lip_vnnlib_no_memory(p);
  lip_lex_next(lex);
  return name;
}

static void read_type(lip_vnnlib_parser *p, lip_vnnlib_tensor *t) {
  static const char *const known[] = {"Real",           "float16",      "float32",        "float64",
                                      "bfloat16",       "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
                                      "float8e5m2fnuz", "float4e2m1",   "int8",           "int16",
                                      "int32",          "int64",        "uint8",          "uint16",
                                      "uint32",         "uint64",       "real",           NULL};
  lip_lex *lex = &p->lex;
  char shown[64];
  size_t i = 0;
  while (known[i] && !lip_lex_is(lex, known[i])) i++;
  if (!known[i]) {
    lip_lex_fail(lex, LIP_UNSUPPORTED,
                 "a type of real numbers expected (float32, float64, Real, ...), got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
    return;
  }
  t->type = lip_strdup(known[i]);
  if (!t->type) lip_vnnlib_no_memory(p);
  lip_lex_next(lex);
}

/* A whole number from 0 on, and the word behind it is next. */
static bool pass_whole(lip_lex *lex, uint32_t *value) {
  char shown[64];
  if (lex->status) return false;
  if (lex->word != LIP_WORD_NAME || !whole(lex->text, value)) {
    lip_lex_fail(lex, LIP_FORMAT, "a whole number from 0 to %u expected, got %s", LIP_VNNLIB_MOST - 1,
                 lip_lex_shown(lex, shown, sizeof shown));
    return false;
  }
  return lip_lex_next(lex);
}

static void read_shape(lip_vnnlib_parser *p, lip_vnnlib_tensor *t) {
  lip_lex *lex = &p->lex;
  if (!lip_lex_pass(lex, LIP_WORD_LEFT, "a shape, '[1,5]' say,")) return;
  t->n = 1;
  while (lex->status == LIP_OK && lex->word != LIP_WORD_RIGHT) {
    uint32_t d;
    if (t->ndim > 0 && !lip_lex_pass(lex, LIP_WORD_COMMA, "',' or ']'")) return;
    if (t->ndim == LIP_VNNLIB_DIMS) {
      lip_lex_fail(lex, LIP_UNSUPPORTED, "a tensor of more than %d dimensions", LIP_VNNLIB_DIMS);
      return;
    }
    if (!pass_whole(lex, &d)) return;
    if (d == 0 || d > LIP_VNNLIB_MOST / t->n) {
      lip_lex_fail(lex, LIP_UNSUPPORTED, "a tensor of no numbers, or of more than %u", LIP_VNNLIB_MOST);
      return;
    }
    t->dim[t->ndim++] = d;
    t->n *= d;
  }
  lip_lex_pass(lex, LIP_WORD_RIGHT, "']'");
}

/* Behind "(declare-input" or "(declare-output". */
static void read_tensor(lip_vnnlib_parser *p, bool output) {
  lip_vnnlib *v = p->v;
  if (!LIP_VNNLIB_ROOM(v, tensor, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  size_t *n = output ? &v->n_y : &v->n_x;
  char *name = new_name(p, "a tensor");
  lip_vnnlib_tensor *t = &v->tensor[v->n_tensor++];
  *t = (lip_vnnlib_tensor){.name = name, .output = output, .first = (uint32_t)*n};
  t->network = (uint32_t)v->n_network - 1;
  if (p->lex.status == LIP_OK) read_type(p, t);
  if (p->lex.status == LIP_OK) read_shape(p, t);
  if (p->lex.status) return;
  if (*n + t->n > LIP_VNNLIB_MOST) {
    lip_lex_fail(&p->lex, LIP_UNSUPPORTED, "more than %u numbers of %s", LIP_VNNLIB_MOST,
                 output ? "outputs" : "inputs");
    return;
  }
  *n += t->n;
  if (p->lex.word != LIP_WORD_TEXT) return;
  t->onnx = lip_strdup(p->lex.text);
  if (!t->onnx) lip_vnnlib_no_memory(p);
  lip_lex_next(&p->lex);
}

/* (equal-to N) or (isomorphic-to N), behind the command. */
static void read_relation(lip_vnnlib_parser *p, bool equal) {
  lip_lex *lex = &p->lex;
  lip_vnnlib_network *net = &p->v->network[p->v->n_network - 1];
  char shown[64];
  uint32_t other = lex->word == LIP_WORD_NAME ? find_network(p->v, lex->text) : LIP_VNNLIB_NONE;
  if (net->equal_to != LIP_VNNLIB_NONE || net->isomorphic_to != LIP_VNNLIB_NONE)
    lip_lex_fail(lex, LIP_FORMAT, "network %.40s is said to be like another one twice", net->name);
  else if (other == LIP_VNNLIB_NONE || other == p->v->n_network - 1)
    lip_lex_fail(lex, LIP_FORMAT, "the name of a network declared before expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
  *(equal ? &net->equal_to : &net->isomorphic_to) = other;
  if (lex->status == LIP_OK) lip_lex_next(lex);
}

/* One bracket inside of declare-network; `stage`: 0 relations, 1 inputs, 2 outputs come in this order. */
static void read_part(lip_vnnlib_parser *p, int *stage) {
  static const char *const commands[] = {"equal-to", "isomorphic-to", "declare-input", "declare-output"};
  lip_lex *lex = &p->lex;
  char shown[64];
  int which = 0;
  while (which < 4 && !lip_lex_is(lex, commands[which])) which++;
  int own = which < 2 ? 0 : which - 1;
  if (lip_lex_is(lex, "declare-hidden"))
    lip_lex_fail(lex, LIP_UNSUPPORTED,
                 "hidden tensors are not read: state the property in inputs and outputs alone");
  else if (which == 4)
    lip_lex_fail(lex, LIP_FORMAT, "equal-to, isomorphic-to, declare-input or declare-output expected, got %s",
                 lip_lex_shown(lex, shown, sizeof shown));
  else if (own < *stage || (own == 2 && *stage == 0))
    lip_lex_fail(lex, LIP_FORMAT, "%s at a wrong place: first equal-to, then inputs, then outputs",
                 lex->text);
  if (lex->status) return;
  *stage = own;
  if (!lip_lex_next(lex)) return;
  if (which < 2)
    read_relation(p, which == 0);
  else
    read_tensor(p, which == 3);
}

/* Networks said to be alike have tensors of the same shapes. */
static bool alike(const lip_vnnlib *v, uint32_t a, uint32_t b) {
  size_t i = 0, j = 0;
  for (;; i++, j++) {
    while (i < v->n_tensor && v->tensor[i].network != a) i++;
    while (j < v->n_tensor && v->tensor[j].network != b) j++;
    if (i == v->n_tensor || j == v->n_tensor) return i == v->n_tensor && j == v->n_tensor;
    const lip_vnnlib_tensor *s = &v->tensor[i], *t = &v->tensor[j];
    if (s->output != t->output || s->ndim != t->ndim || memcmp(s->dim, t->dim, sizeof s->dim) != 0)
      return false;
  }
}

void lip_vnnlib_declare_network(lip_vnnlib_parser *p) {
  lip_vnnlib *v = p->v;
  lip_lex *lex = &p->lex;
  if (p->declared[0] + p->declared[1] > 0 || v->n_row > 0) {
    lip_lex_fail(lex, LIP_FORMAT,
                 "declare-network comes before assertions, and not together with declare-const");
    return;
  }
  v->version = 2;
  if (!LIP_VNNLIB_ROOM(v, network, 1)) {
    lip_vnnlib_no_memory(p);
    return;
  }
  lip_lex_next(lex);
  char *name = new_name(p, "a network");
  v->network[v->n_network++] =
      (lip_vnnlib_network){.name = name, .equal_to = LIP_VNNLIB_NONE, .isomorphic_to = LIP_VNNLIB_NONE};
  int stage = 0;
  while (lex->status == LIP_OK && lex->word == LIP_WORD_OPEN) {
    if (lip_lex_next(lex)) read_part(p, &stage);
    lip_lex_pass(lex, LIP_WORD_CLOSE, "')'");
  }
  if (lex->status) return;
  const lip_vnnlib_network *net = &v->network[v->n_network - 1];
  uint32_t self = (uint32_t)v->n_network - 1;
  uint32_t other = net->equal_to != LIP_VNNLIB_NONE ? net->equal_to : net->isomorphic_to;
  if (stage != 2)
    lip_lex_fail(lex, LIP_FORMAT, "network %.40s needs declare-input and declare-output", net->name);
  else if (other != LIP_VNNLIB_NONE && !alike(v, self, other))
    lip_lex_fail(lex, LIP_FORMAT, "networks %.40s and %.40s are said to be alike, but their tensors differ",
                 net->name, v->network[other].name);
}

/* ---- variables in sums ---- */

/* [0,3] of a tensor: the variable. */
static uint32_t read_index(lip_vnnlib_parser *p, const lip_vnnlib_tensor *t) {
  lip_lex *lex = &p->lex;
  uint32_t at = 0;
  if (!lip_lex_pass(lex, LIP_WORD_LEFT, "'[' and an index")) return 0;
  for (int i = 0; i < t->ndim; i++) {
    uint32_t k;
    if (i > 0 && !lip_lex_pass(lex, LIP_WORD_COMMA, "',' and one index for each dimension")) return 0;
    if (!pass_whole(lex, &k)) return 0;
    if (k >= t->dim[i]) {
      lip_lex_fail(lex, LIP_FORMAT, "index %u of %.40s: that dimension has %u (from 0 on)", k, t->name,
                   t->dim[i]);
      return 0;
    }
    at = at * t->dim[i] + k;
  }
  lip_lex_pass(lex, LIP_WORD_RIGHT, "']' behind one index for each dimension");
  return at;
}

uint32_t lip_vnnlib_variable(lip_vnnlib_parser *p) {
  lip_lex *lex = &p->lex;
  uint32_t number;
  int kind;
  if (p->v->version == 1) {
    if (!is_variable(lex->text, &kind, &number) || !seen(p, kind, number)) {
      lip_lex_fail(lex, LIP_FORMAT, "'%.40s' is no number and no variable declared before", lex->text);
      return 0;
    }
    lip_lex_next(lex);
    return kind ? number | LIP_VNNLIB_OUTPUT : number;
  }
  const lip_vnnlib_tensor *t = find_tensor(p->v, lex->text);
  if (!t) {
    lip_lex_fail(lex, LIP_FORMAT, "'%.40s' is no number and no tensor declared before", lex->text);
    return 0;
  }
  if (!lip_lex_next(lex)) return 0;
  number = t->first + (t->ndim > 0 ? read_index(p, t) : 0);
  if (t->ndim == 0 && lex->word == LIP_WORD_LEFT)
    lip_lex_fail(lex, LIP_FORMAT, "%.40s is one number, without an index", t->name);
  return t->output ? number | LIP_VNNLIB_OUTPUT : number;
}
