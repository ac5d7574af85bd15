/* Constants: shapes checked against the bytes that are there, numbers as float32 or int64. */
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_parts.h"

typedef LipOnnx__TensorProto proto;

/* Element types by ONNX's numbers. What has no bytes is not read. */
typedef enum kind { FLOATING, SIGNED, UNSIGNED, TRUTH } kind;

static const struct {
  const char *name;
  uint8_t bytes;
  kind as;
} types[] = {{"undefined", 0, FLOATING},
             {"float32", 4, FLOATING},
             {"uint8", 1, UNSIGNED},
             {"int8", 1, SIGNED},
             {"uint16", 2, UNSIGNED},
             {"int16", 2, SIGNED},
             {"int32", 4, SIGNED},
             {"int64", 8, SIGNED},
             {"string", 0, FLOATING},
             {"bool", 1, TRUTH},
             {"float16", 2, FLOATING},
             {"float64", 8, FLOATING},
             {"uint32", 4, UNSIGNED},
             {"uint64", 8, UNSIGNED},
             {"complex64", 0, FLOATING},
             {"complex128", 0, FLOATING},
             {"bfloat16", 2, FLOATING},
             {"float8e4m3fn", 0, FLOATING},
             {"float8e4m3fnuz", 0, FLOATING},
             {"float8e5m2", 0, FLOATING},
             {"float8e5m2fnuz", 0, FLOATING},
             {"uint4", 0, FLOATING},
             {"int4", 0, FLOATING},
             {"float4e2m1", 0, FLOATING}};
enum { FLOAT = 1, INT64 = 7, FLOAT16 = 10, DOUBLE = 11, UINT32 = 12, UINT64 = 13, BFLOAT16 = 16 };

const char *lip_graph_job_text(const lip_graph_source *s, const lip_graph_job *job,
                               char text[LIP_GRAPH_TENSOR_TEXT]) {
  char node[LIP_GRAPH_NODE_TEXT];
  if (job->node)
    snprintf(text, LIP_GRAPH_TENSOR_TEXT, "a constant of %s", lip_graph_node_text(s->g, job->node, node));
  else
    snprintf(text, LIP_GRAPH_TENSOR_TEXT, "constant '%.100s'", job->from->name ? job->from->name : "");
  return text;
}

static lip_status refuse(const lip_graph_source *s, const lip_graph_job *job, lip_status code,
                         const char *what) {
  char text[LIP_GRAPH_TENSOR_TEXT];
  return lip_fail(s->err, code, "%.100s: %s %s", s->path, lip_graph_job_text(s, job, text), what);
}

/* ---- shapes ---- */

lip_status lip_graph_measure(const lip_graph_source *s, lip_graph_job *job) {
  const proto *p = job->from;
  lip_graph_tensor *t = job->to;
  int32_t type = p->has_data_type ? p->data_type : 0;
  bool known = type >= 0 && (size_t)type < sizeof types / sizeof *types;
  char what[160];
  if (!known || types[type].bytes == 0) {
    snprintf(what, sizeof what,
             "has elements of type %d (%s); float32, float64, float16, bfloat16, whole numbers of "
             "8 to 64 bits and bool are read",
             type, known ? types[type].name : "unknown");
    return refuse(s, job, LIP_UNSUPPORTED, what);
  }
  if (p->n_dims > LIP_GRAPH_DIMS) {
    snprintf(what, sizeof what, "has %zu dimensions; up to %d are read", p->n_dims, LIP_GRAPH_DIMS);
    return refuse(s, job, LIP_UNSUPPORTED, what);
  }
  t->ndim = (int)p->n_dims;
  t->n = 1;
  for (int d = 0; d < t->ndim; d++) {
    t->dim[d] = p->dims[d];
    if (p->dims[d] < 0) return refuse(s, job, LIP_FORMAT, "has a negative dimension");
    if (!lip_mul_fits(t->n, (size_t)p->dims[d], &t->n))
      return refuse(s, job, LIP_FORMAT, "has more numbers than memory can address");
  }
  if (!lip_mul_fits(t->n, types[type].bytes, &job->bytes))
    return refuse(s, job, LIP_FORMAT, "has more numbers than memory can address");
  return LIP_OK;
}

/* ---- numbers ---- */

/* Where the numbers are: bytes as they stand in a file, or one of the message's arrays. */
typedef struct numbers {
  const unsigned char *raw;
  const float *f;
  const double *d;
  const int32_t *i32;
  const int64_t *i64;
  const uint64_t *u64;
} numbers;

static uint64_t bits_at(const unsigned char *raw, size_t bytes) {
  uint64_t v = 0;
  for (size_t b = bytes; b-- > 0;) v = v << 8 | raw[b];
  return v;
}

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* IEEE 754 binary16; exact. */
static float half_of(uint32_t bits) {
  uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
  if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) {
    float tiny = (float)fraction * 0x1p-24f;
    return sign ? -tiny : tiny;
  }
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

static double real_at(const numbers *from, int32_t type, size_t k) {
  uint64_t bits;
  double d;
  switch (type) {
  case FLOAT: return from->raw ? float_of((uint32_t)bits_at(from->raw + 4 * k, 4)) : from->f[k];
  case DOUBLE:
    if (!from->raw) return from->d[k];
    bits = bits_at(from->raw + 8 * k, 8);
    memcpy(&d, &bits, sizeof d);
    return d;
  default: break;
  }
  uint32_t narrow = from->raw ? (uint32_t)bits_at(from->raw + 2 * k, 2) : (uint32_t)from->i32[k] & 0xffff;
  return type == FLOAT16 ? half_of(narrow) : float_of(narrow << 16);
}

static lip_status take_reals(const lip_graph_source *s, const lip_graph_job *job, const numbers *from,
                             int32_t type) {
  lip_graph_tensor *t = job->to;
  char what[160];
  for (size_t k = 0; k < t->n; k++) {
    double v = real_at(from, type, k);
    float near = (float)v;
    t->f[k] = near;
    if (!isfinite(v) || (s->round && !isfinite(near))) {
      snprintf(what, sizeof what, "has %s at place %zu; a net's numbers must be finite float32 numbers",
               isnan(v)      ? "NaN"
               : isfinite(v) ? "a number beyond float32"
                             : "an infinite number",
               k);
      return refuse(s, job, LIP_FORMAT, what);
    }
    if ((double)near == v) continue;
    t->rounded = true;
    if (!s->round)
      return refuse(s, job, LIP_UNSUPPORTED,
                    "has float64 numbers that are no float32 numbers; give round = true to "
                    "have the nearest ones");
  }
  return LIP_OK;
}

/* False: no int64, or outside of its own type. */
static bool whole_at(const numbers *from, int32_t type, size_t k, int64_t *v) {
  size_t bytes = types[type].bytes;
  kind as = types[type].as;
  uint64_t u, top = UINT64_C(1) << (8 * bytes - 1), mask = top | (top - 1);
  if (from->raw) {
    u = bits_at(from->raw + bytes * k, bytes);
    /* two's complement */
    *v = as == SIGNED && (u & top) ? -(int64_t)((~u & mask)) - 1 : (int64_t)(u & INT64_MAX);
    return as == SIGNED || u <= INT64_MAX;
  }
  if (from->u64) {
    u = from->u64[k];
    *v = (int64_t)(u & INT64_MAX);
    return u <= (mask & INT64_MAX);
  }
  *v = from->i64 ? from->i64[k] : from->i32[k];
  if (bytes == 8) return true;
  if (as == SIGNED) return *v >= -(int64_t)top && *v < (int64_t)top;
  return *v >= 0 && (uint64_t)*v <= mask;
}

static lip_status take_wholes(const lip_graph_source *s, const lip_graph_job *job, const numbers *from,
                              int32_t type) {
  lip_graph_tensor *t = job->to;
  for (size_t k = 0; k < t->n; k++) {
    if (!whole_at(from, type, k, &t->i[k]))
      return refuse(s, job, LIP_FORMAT, "has a number outside of its type, or above those of int64");
    if (types[type].as == TRUTH) t->i[k] = t->i[k] != 0;
  }
  return LIP_OK;
}

/* Which of the message's arrays belongs to the type, and how many it has. */
static size_t typed(const proto *p, int32_t type, numbers *from) {
  switch (type) {
  case FLOAT: from->f = p->float_data; return p->n_float_data;
  case DOUBLE: from->d = p->double_data; return p->n_double_data;
  case INT64: from->i64 = p->int64_data; return p->n_int64_data;
  case UINT32:
  case UINT64: from->u64 = p->uint64_data; return p->n_uint64_data;
  default: from->i32 = p->int32_data; return p->n_int32_data;
  }
}

static lip_status find_numbers(const lip_graph_source *s, const lip_graph_job *job, numbers *from) {
  const proto *p = job->from;
  size_t inside = typed(p, p->data_type, from);
  char what[160];
  if (!p->has_raw_data || (p->raw_data.len == 0 && inside > 0)) {
    if (inside == job->to->n) return LIP_OK;
    snprintf(what, sizeof what, "holds %zu numbers, %zu by its shape: the file is cut or damaged", inside,
             job->to->n);
    return refuse(s, job, LIP_FORMAT, what);
  }
  *from = (numbers){.raw = p->raw_data.data};
  if (inside > 0) return refuse(s, job, LIP_FORMAT, "has its numbers twice: raw and typed");
  if (p->raw_data.len == job->bytes) return LIP_OK;
  snprintf(what, sizeof what, "holds %zu bytes, %zu by its shape: the file is cut or damaged",
           p->raw_data.len, job->bytes);
  return refuse(s, job, LIP_FORMAT, what);
}

lip_status lip_graph_decode(const lip_graph_source *s, const lip_graph_job *job, const unsigned char *bytes) {
  int32_t type = job->from->data_type;
  lip_graph_tensor *t = job->to;
  numbers from = {.raw = bytes};
  lip_status code = bytes ? LIP_OK : find_numbers(s, job, &from);
  if (code) return code;
  size_t room = t->n ? t->n : 1; /* what it is must be seen of an empty one, too */
  if (types[type].as == FLOATING) {
    t->f = lip_graph_take(s->blocks, room, sizeof *t->f);
    return t->f ? take_reals(s, job, &from, type)
                : refuse(s, job, LIP_MEMORY, "has more numbers than memory");
  }
  t->i = lip_graph_take(s->blocks, room, sizeof *t->i);
  return t->i ? take_wholes(s, job, &from, type) : refuse(s, job, LIP_MEMORY, "has more numbers than memory");
}
