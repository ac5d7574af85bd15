/* The three files: what stands around the steps. */
#include "core/exchange/c_source.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/atomic.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/data/sha256.h"
#include "core/exchange/c_parts.h"
#include "core/exchange/c_radius.h"
#include "core/exchange/replace.h"
#include "core/io/params.h"

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for the C source");
}

/* ---- the header ---- */

/* Of all arrays of the net in the order in which it is saved. */
static lip_status hash_weights(const lip_c *c, char text[65], lip_err *err) {
  lip_named *list;
  size_t n_param, n;
  lip_status status = lip_params_list(c->net->root, &list, &n_param, &n, err);
  if (status) return status;
  lip_sha256 h;
  uint8_t digest[LIP_SHA256_BYTES];
  lip_sha256_init(&h);
  for (size_t i = 0; i < n_param; i++) {
    const lip_param *p = list[i].param;
    lip_sha256_add(&h, p->value, lip_param_size(p) * sizeof *p->value);
  }
  lip_sha256_end(&h, digest);
  lip_sha256_hex(digest, text);
  lip_free(list);
  return LIP_OK;
}

static lip_status write_header(const lip_c *c, const lip_c_radius *radius, lip_str *to, lip_err *err) {
  char sha256[65], path[64];
  lip_status status = hash_weights(c, sha256, err);
  if (status) return status;
  lip_c_put(c, to,
            LIP_C_MARK ". Arithmetic is IEEE float32 rounded to nearest, denormal numbers kept, products "
                       "and sums fused\n"
                       " * or not; nothing is allocated, no function calls itself, every loop has "
                       "fixed bounds. */\n"
                       "#ifndef $_H\n#define $_H\n\n#include <stddef.h>\n\n"
                       "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
  lip_c_putf(c, to, "#define $_N %zuU /* inputs */\n#define $_M %zuU /* outputs */\n", c->net->root->n_in,
             c->net->root->n_out);
  lip_c_putf(c, to, "#define $_NORM \"%s\" /* of inputs, and of outputs behind the arrow */\n",
             lip_path_text(&c->net->conf.path, path, sizeof path));
  if (isfinite(c->net->conf.budget)) {
    lip_c_put(c, to, "#define $_BUDGET ");
    lip_c_double(to, c->net->conf.budget);
    lip_c_put(c, to, " /* Lipschitz constant the net was held to in training */\n");
  }
  lip_c_putf(
      c, to,
      "/* SHA-256 of all arrays of the net, float32, little-endian, in the order in which it is saved */\n"
      "#define $_WEIGHTS_SHA256 \\\n  \"%s\"\n\n",
      sha256);
  lip_c_putf(c, to, "#define $_BOUND \"%s\" /* method of the constants that radii rest on */\n",
             c->conf->method ? c->conf->method : "product");
  if (c->conf->certificate)
    lip_c_putf(c, to,
               "/* SHA-256 of the certificate file they were read from */\n"
               "#define $_CERTIFICATE_SHA256 \\\n  \"%s\"\n\n",
               c->conf->certificate);
  lip_c_putf(c, to,
             "/* Working memory, of the caller; what is in it before a run does not matter. */\n"
             "typedef struct @_scratch {\n  float room[%zuU];\n",
             c->plan.room > 0 ? c->plan.room : 1);
  if (c->patch > 0)
    lip_c_putf(c, to,
               "  float patch[%zuU]; /* what one place of a convolution sees, and what it makes of that */\n"
               "  float sum[%zuU];\n",
               c->patch, c->sum);
  lip_c_put(c, to, "} @_scratch;\n\n");
  lip_c_put(c, to,
            "/* y = net(x); arrays may not overlap. 0, or 1 when an output is NaN or infinite. */\n"
            "int @_run(const float x[$_N], float y[$_M], @_scratch *s);\n");
  lip_c_put(c, to,
            c->net->root->n_out > 1
                ? "/* The lowest index among the largest outputs; -1 when one is NaN. */\n"
                : "/* 1 when the output is positive, else 0; -1 when it is NaN. */\n");
  lip_c_put(c, to, "int @_label(const float y[$_M]);\n");
  lip_c_radius_declare(radius, c, to);
  lip_c_put(
      c, to,
      "/* 0 when this program computes what lipwb does: inputs whose outputs are known are run again. Else\n"
      " * 1: floats do not round to nearest, or denormal ones are lost; 2: an output is not finite; 3: "
      "another label;\n"
      " * 4: outputs are outside of the allowance; 5: a radius is. */\n"
      "int @_selftest(@_scratch *s);\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
  return LIP_OK;
}

/* ---- the source ---- */

static void write_checks(const lip_c *c, lip_str *to) {
  lip_c_put(c, to,
            LIP_C_MARK "; @.h says what is in it. */\n"
                       "#include \"@.h\"\n\n#include <float.h>\n");
  if (c->needs[LIP_C_MAC] || c->needs[LIP_C_ROOT]) lip_c_put(c, to, "#include <math.h>\n");
  lip_c_put(c, to, "#include <stdbool.h>\n#include <stdint.h>\n");
  if (c->conf->progmem) lip_c_put(c, to, "\n#include <avr/pgmspace.h>\n");
  lip_c_put(c, to,
            "\n"
            "/* What is proved of the net holds for IEEE float32, in any order of sums: */\n"
            "#if defined(__FAST_MATH__)\n"
            "#error \"@: not with -ffast-math or -Ofast: its radii would not be proved\"\n"
            "#endif\n"
            "#if defined(__FINITE_MATH_ONLY__)\n"
            "#if __FINITE_MATH_ONLY__ > 0\n"
            "#error \"@: not with -ffinite-math-only: NaN must be seen\"\n"
            "#endif\n"
            "#endif\n"
            "#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)\n"
            "#error \"@: not with -funsafe-math-optimizations: its radii would not be proved\"\n"
            "#endif\n"
            "#if (FLT_RADIX != 2) || (FLT_MANT_DIG != 24) || (FLT_MAX_EXP != 128) || (FLT_MIN_EXP != -125)\n"
            "#error \"@: float is not IEEE float32\"\n"
            "#endif\n"
            "#if !defined(FLT_EVAL_METHOD)\n"
            "#error \"@: compile as C99 (-std=c99) or later\"\n"
            "#elif FLT_EVAL_METHOD != 0\n"
            "#error \"@: float is computed in another precision (on x86: -msse2 -mfpmath=sse)\"\n"
            "#endif\n\n");
}

static void write_run(const lip_c *c, lip_str *to) {
  lip_c_put(c, to,
            "int @_run(const float x[$_N], float y[$_M], @_scratch *s)\n{\n"
            "  size_t j;\n  int result = 0;\n");
  if (c->plan.room == 0 && c->patch == 0) lip_c_put(c, to, "  (void)s;\n");
  if (c->body.text) lip_str_add(to, c->body.text, c->body.len);
  if (c->plan.copied) lip_c_put(c, to, "  @_copy(y, x, $_M);\n");
  lip_c_put(c, to,
            "  for (j = 0U; j < $_M; j++) {\n"
            "    if (!((y[j] - y[j]) == 0.0F)) { /* NaN or infinite */\n"
            "      result = 1;\n"
            "    }\n"
            "  }\n"
            "  return result;\n}\n\n");
}

static void write_label(const lip_c *c, lip_str *to) {
  lip_c_put(c, to, "int @_label(const float y[$_M])\n{\n");
  if (c->net->root->n_out == 1)
    lip_c_put(c, to,
              "  int label = 0;\n"
              "  if (y[0] > 0.0F) {\n    label = 1;\n  }\n"
              "  if (y[0] != y[0]) {\n    label = -1;\n  }\n");
  else
    lip_c_put(c, to,
              "  size_t j;\n  size_t best = 0U;\n  int label = 0;\n"
              "  for (j = 0U; j < $_M; j++) {\n"
              "    if (y[j] > y[best]) {\n      best = j;\n    }\n"
              "  }\n"
              "  label = (int)best;\n"
              "  for (j = 0U; j < $_M; j++) {\n"
              "    if (y[j] != y[j]) {\n      label = -1;\n    }\n"
              "  }\n");
  lip_c_put(c, to, "  return label;\n}\n\n");
}

static lip_status write_source(lip_c *c, const lip_c_radius *radius, lip_str *to, lip_err *err) {
  for (size_t i = 1; i < c->emit.n; i++) {
    if (!c->plan.value[i].used) continue;
    lip_status status = lip_c_step(c, i, err);
    if (status) return status;
    if (!c->finite)
      return lip_fail(err, LIP_NOT_FINITE,
                      "%s: some of its numbers are NaN or infinite, which C source cannot have",
                      c->emit.step[i].layer->kind->desc.name);
  }
  c->needs[LIP_C_COPY] |= c->plan.copied;
  lip_str tests = {0};
  lip_status status = lip_c_selftest(c, radius, &tests, err);
  write_checks(c, to);
  lip_c_types(c, to);
  if (c->tables.text) lip_str_add(to, c->tables.text, c->tables.len);
  lip_str_puts(to, "\n");
  lip_c_helpers(c, to);
  if (c->functions.text) lip_str_add(to, c->functions.text, c->functions.len);
  write_run(c, to);
  write_label(c, to);
  lip_c_radius_write(radius, c, to);
  if (tests.text) lip_str_add(to, tests.text, tests.len);
  if (!status && c->conf->progmem && c->constants > LIP_C_PROGMEM)
    status = lip_fail(
        err, LIP_UNSUPPORTED,
        "weights = \"progmem\": %zu bytes of constants, more than the %d that AVR's near pointers reach; "
        "a smaller net, or weights = \"const\" on another processor",
        c->constants, LIP_C_PROGMEM);
  if (tests.failed || c->tables.failed || c->functions.failed || c->body.failed) to->failed = true;
  lip_str_free(&tests);
  return status;
}

/* ---- files ---- */

typedef struct output {
  const char *ending;
  lip_str text;
  lip_atomic *file;
} output;

static lip_status open_folder(const char *folder, lip_err *err) {
  if (mkdir(folder, 0777) && errno != EEXIST) return lip_file_refuse(folder, "make the folder", errno, err);
  return LIP_OK;
}

static lip_status write_files(const lip_c_conf *conf, output *out, size_t n, lip_err *err) {
  lip_status status = open_folder(conf->folder, err);
  for (size_t i = 0; !status && i < n; i++) {
    lip_str path = {0};
    lip_str_printf(&path, "%s/%s%s", conf->folder, conf->name, out[i].ending);
    status = path.failed ? no_memory(err) : lip_replace_text(path.text, LIP_C_MARK, err);
    if (!status) status = lip_atomic_open(path.text, &out[i].file, err);
    lip_str_free(&path);
    if (!status) lip_atomic_write(out[i].file, out[i].text.text, out[i].text.len);
  }
  for (size_t i = 0; !status && i < n; i++) status = lip_atomic_finish(out[i].file, err);
  for (size_t i = 0; i < n; i++) {
    if (status)
      lip_atomic_abandon(out[i].file);
    else
      status = lip_atomic_commit(out[i].file, err);
  }
  return status;
}

static lip_status write_all(lip_c *c, lip_err *err) {
  output out[] = {{".h", {0}, NULL}, {".c", {0}, NULL}, {"_test.c", {0}, NULL}};
  const size_t n = sizeof out / sizeof *out;
  lip_c_radius radius;
  lip_status status = lip_c_radius_init(&radius, c->net, c->conf->pairs, err);
  if (!status) status = write_source(c, &radius, &out[1].text, err);
  if (!status) status = write_header(c, &radius, &out[0].text, err);
  if (!status) lip_c_test(c, &out[2].text);
  for (size_t i = 0; !status && i < n; i++)
    if (out[i].text.failed) status = no_memory(err);
  if (!status) status = write_files(c->conf, out, n, err);
  for (size_t i = 0; i < n; i++) lip_str_free(&out[i].text);
  lip_c_radius_free(&radius);
  return status;
}

lip_status lip_c_write(lip_net *net, const lip_c_conf *conf, lip_err *err) {
  lip_c c = {.net = net, .conf = conf, .finite = true, .narrow = true};
  lip_status status = lip_c_name(conf->name, err);
  if (status) return status;
  status = lip_emit_init(&c.emit, net->root, err);
  if (!status) status = lip_c_plan_init(&c.plan, &c.emit, err);
  for (size_t i = 0; !status && i < c.emit.n; i++)
    if (c.plan.value[i].size >= UINT16_MAX) c.narrow = false;
  if (!status) status = write_all(&c, err);
  lip_str_free(&c.tables);
  lip_str_free(&c.functions);
  lip_str_free(&c.body);
  lip_c_plan_free(&c.plan);
  lip_emit_free(&c.emit);
  return status;
}
