/* The self-test that an emitted net carries, and the program that runs it. */
#include <float.h>
#include <math.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/exchange/c_parts.h"
#include "core/exchange/c_radius.h"
#include "core/net/wide.h"

/* How many inputs that were made up are kept. */
enum { KEPT = 3 };

/* Inputs, what the net makes of them, and how far a run in float32 may be from that. */
typedef struct samples {
  size_t n, kept;
  size_t *pick; /* (kept) of the n, owned */
  float *x;     /* (n, n_in) owned */
  double *y;    /* (n, n_out) owned */
  double allow; /* infinite where the net does not say */
  int *label;   /* (n) owned; -2: another order of sums may have another one */
} samples;

static void samples_free(samples *s) {
  lip_free(s->pick);
  lip_free(s->x);
  lip_free(s->y);
  lip_free(s->label);
}

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for the self-test");
}

/* Outputs as executed in double where every layer can: 2^-29 of the error. Else in float32, and off counts twice. */
static lip_status evaluate(lip_c *c, samples *s, lip_err *err) {
  const lip_layer *root = c->net->root;
  const bool wide = !lip_wide_missing(c->net);
  if (wide) {
    lip_status status = lip_wide_forward(c->net, s->x, s->n, s->y, err);
    if (status) return status;
  } else {
    lip_status status = lip_net_reserve(c->net, s->n, err);
    if (status) return status;
    lip_net_forward(c->net, s->x, s->n, false);
    for (size_t i = 0; i < s->n * root->n_out; i++) s->y[i] = (double)c->net->logits[i];
  }
  /* of the largest input: norms of every layer are found anew each time */
  lip_deviation d = {0, 0};
  for (size_t i = 0; i < s->n; i++)
    d.size =
        fmax(d.size, lip_norm_upper(s->x + i * root->n_in, root->n_in, lip_path_at(&c->net->conf.path, 0)));
  lip_chain_deviate(root, &d);
  s->allow = wide ? d.off * (1 + 0x1p-20) : 2 * d.off;
  return LIP_OK;
}

/* The label, if none within the allowance has another one. */
static int label_of(const double *y, size_t n, double allow) {
  if (n == 1) return y[0] > allow ? 1 : y[0] < -allow ? 0 : -2;
  size_t best = 0;
  for (size_t j = 1; j < n; j++)
    if (y[j] > y[best]) best = j;
  for (size_t j = 0; j < n; j++)
    if (j != best && !(y[best] - y[j] > 2 * allow)) return -2;
  return (int)best;
}

/* Those that are kept: first the ones whose labels are certain. */
static void choose(samples *s, size_t most) {
  for (int certain = 1; certain >= 0; certain--)
    for (size_t i = 0; i < s->n && s->kept < most; i++)
      if ((s->label[i] >= 0) == certain) s->pick[s->kept++] = i;
}

static lip_status samples_init(lip_c *c, samples *s, lip_err *err) {
  const size_t n_in = c->net->root->n_in, n_out = c->net->root->n_out;
  const bool given = c->conf->n_sample > 0;
  *s = (samples){.n = given ? c->conf->n_sample : LIP_C_SAMPLES};
  s->x = lip_alloc(s->n * n_in, sizeof *s->x);
  s->y = lip_alloc(s->n * n_out, sizeof *s->y);
  s->label = lip_alloc(s->n, sizeof *s->label);
  s->pick = lip_alloc(s->n, sizeof *s->pick);
  if (!s->x || !s->y || !s->label || !s->pick) return no_memory(err);
  lip_rng rng = lip_rng_at(1, 0, 0);
  for (size_t i = 0; i < s->n * n_in; i++)
    s->x[i] = given ? c->conf->sample[i] : (float)lip_rng_below(&rng, 256) / 256;
  lip_status status = evaluate(c, s, err);
  if (status) return status;
  for (size_t i = 0; i < s->n; i++) s->label[i] = label_of(s->y + i * n_out, n_out, s->allow);
  choose(s, given ? s->n : KEPT);
  return LIP_OK;
}

/* ---- text ---- */

/* At least what a run may differ by from y as a float32 number, the difference itself being rounded. */
static float allowance(const double *y, size_t n, double off) {
  double most = 0;
  for (size_t j = 0; j < n; j++) most = fmax(most, fabs(y[j]));
  const double allow = (off + most * 0x1p-23 + 0x1p-126) * (1 + 0x1p-20);
  return allow < (double)FLT_MAX ? nextafterf((float)allow, FLT_MAX) : FLT_MAX;
}

/* Between which numbers a radius is, and none is asked for below the first where double is too short for any. */
static lip_status write_radii(lip_c *c, const samples *s, const lip_c_radius *radius, lip_err *err) {
  float *bounds = lip_alloc(2 * s->kept, sizeof *bounds);
  lip_status status = bounds ? LIP_OK : no_memory(err);
  for (size_t k = 0; !status && k < s->kept; k++)
    status = lip_c_radius_bounds(radius, s->x + s->pick[k] * c->net->root->n_in, bounds + 2 * k, err);
  if (!status) lip_c_floats(c, "test_radius", 0, bounds, 2 * s->kept);
  lip_free(bounds);
  return status;
}

static lip_status write_tables(lip_c *c, const samples *s, lip_err *err) {
  const size_t n = c->net->root->n_in, m = c->net->root->n_out, K = s->kept;
  float *x = lip_alloc(K * n, sizeof *x), *y = lip_alloc(K * m, sizeof *y),
        *allow = lip_alloc(K, sizeof *allow);
  lip_status status = x && y && allow ? LIP_OK : no_memory(err);
  for (size_t k = 0; !status && k < K; k++) {
    const size_t i = s->pick[k];
    for (size_t j = 0; j < n; j++) x[k * n + j] = s->x[i * n + j];
    for (size_t j = 0; j < m; j++) y[k * m + j] = (float)s->y[i * m + j];
    allow[k] = allowance(s->y + i * m, m, s->allow);
  }
  if (!status) {
    lip_c_put(
        c, &c->tables,
        "/* inputs of the self-test, their outputs, how far a run may be from these, labels (-2: any) */\n");
    lip_c_floats(c, "test_x", 0, x, K * n);
    lip_c_floats(c, "test_y", 0, y, K * m);
    lip_c_floats(c, "test_allow", 0, allow, K);
    lip_c_putf(c, &c->tables, "static const int @_test_label[%zuU] = {", K);
    for (size_t k = 0; k < K; k++) lip_c_putf(c, &c->tables, "%s%d", k > 0 ? ", " : "", s->label[s->pick[k]]);
    lip_str_puts(&c->tables, "};\n");
    if (!c->finite)
      status = lip_fail(err, LIP_NOT_FINITE,
                        "the inputs of the self-test, or what the net makes of them, are NaN or "
                        "infinite; give others (inputs)");
  }
  lip_free(x);
  lip_free(y);
  lip_free(allow);
  return status;
}

static const char arithmetic[] =
    "/* Whether sums round to nearest, ties to even, and denormal numbers are kept. */\n"
    "static bool @_exact(void)\n"
    "{\n"
    "  volatile float one = 1.0F;\n"
    "  volatile float half = 0x1p-24F; /* half of what follows 1 */\n"
    "  volatile float more = 0x1.8p-24F;\n"
    "  volatile float tiny = 0x1p-126F;\n"
    "  volatile float denormal = tiny * 0.5F;\n"
    "  float a = one + half;\n"
    "  float b = one + more;\n"
    "  float c = -one - half;\n"
    "  float d = -one - more;\n"
    "  return (a == 1.0F) && (b == 0x1.000002p+0F) && (c == -1.0F) && (d == -0x1.000002p+0F) &&\n"
    "          (denormal != 0.0F) && ((denormal * 2.0F) == tiny);\n"
    "}\n\n";

static void write_function(const lip_c *c, size_t K, lip_str *to) {
  lip_c_put(c, to, arithmetic);
  lip_c_putf(c, to,
             "int @_selftest(@_scratch *s)\n{\n"
             "  size_t k;\n  size_t j;\n  int fault = 0;\n  float radius;\n  float y[$_M];\n%s"
             "  if (!@_exact()) {\n    fault = 1;\n  }\n"
             "  for (k = 0U; (k < %zuU) && (fault == 0); k++) {\n",
             c->conf->progmem ? "  float x[$_N];\n" : "", K);
  if (c->conf->progmem)
    lip_c_put(c, to, "    for (j = 0U; j < $_N; j++) {\n      x[j] = ^@_test_x0[(k * $_N) + j];\n    }\n");
  else
    lip_c_put(c, to, "    const float *x = &@_test_x0[k * $_N];\n");
  lip_c_put(c, to,
            "    if (@_run(x, y, s) != 0) {\n      fault = 2;\n"
            "    } else if ((@_test_label[k] != -2) && (@_label(y) != @_test_label[k])) {\n      fault = 3;\n"
            "    } else {\n"
            "      for (j = 0U; j < $_M; j++) {\n"
            "        const float off = y[j] - ^@_test_y0[(k * $_M) + j];\n"
            "        const float allow = ^@_test_allow0[k];\n"
            "        if (!((off <= allow) && (off >= -allow))) {\n          fault = 4;\n        }\n"
            "      }\n"
            "      radius = @_radius(x, y);\n"
            "      if ((radius < 0.0F) || (radius > ^@_test_radius0[(2U * k) + 1U]) ||\n"
            "          ((radius < ^@_test_radius0[2U * k]) && (DBL_MANT_DIG >= 53))) {\n        fault = 5;\n "
            "     }\n"
            "    }\n  }\n  return fault;\n}\n");
}

lip_status lip_c_selftest(lip_c *c, const lip_c_radius *radius, lip_str *to, lip_err *err) {
  samples s;
  lip_status status = samples_init(c, &s, err);
  if (!status) status = write_tables(c, &s, err);
  if (!status) status = write_radii(c, &s, radius, err);
  if (!status) write_function(c, s.kept, to);
  samples_free(&s);
  return status;
}

void lip_c_test(const lip_c *c, lip_str *to) {
  lip_c_put(
      c, to,
      LIP_C_MARK
      ": runs the self-test of @.c and takes the time of a run. With the name of a "
      "file of inputs (float32\n"
      " * in this machine's order of bytes) it prints of each the label, its radius and the outputs. */\n"
      "#include <stdio.h>\n#include <time.h>\n\n#include \"@.h\"\n\n"
      "static @_scratch scratch;\nstatic float x[$_N];\nstatic float y[$_M];\n\n"
      "static int show(const char *path)\n{\n"
      "  size_t j;\n"
      "  FILE *f = fopen(path, \"rb\");\n"
      "  if (f == NULL) {\n    perror(path);\n    return 1;\n  }\n"
      "  while (fread(x, sizeof x[0], $_N, f) == $_N) {\n"
      "    (void)@_run(x, y, &scratch);\n"
      "    printf(\"%d %.9g\", @_label(y), (double)@_radius(x, y));\n"
      "    for (j = 0U; j < $_M; j++) {\n      printf(\" %.9g\", (double)y[j]);\n    }\n"
      "    printf(\"\\n\");\n  }\n"
      "  (void)fclose(f);\n  return 0;\n}\n\n"
      "int main(int argc, char **argv)\n{\n"
      "  long runs = 0;\n  double seconds = 0.0;\n  int fault;\n"
      "  if (argc > 1) {\n    return show(argv[1]);\n  }\n"
      "  fault = @_selftest(&scratch);\n"
      "  printf(\"@: self-test %s (%d)\\n\", (fault == 0) ? \"passed\" : \"FAILED\", fault);\n"
      "  if (fault == 0) {\n"
      "    const clock_t start = clock();\n"
      "    while ((seconds < 0.2) && (runs < 100000)) {\n"
      "      (void)@_run(x, y, &scratch);\n      runs++;\n"
      "      seconds = (double)(clock() - start) / (double)CLOCKS_PER_SEC;\n    }\n"
      "    printf(\"@: %.3f us a run\\n\", (1e6 * seconds) / (double)runs);\n"
      "  }\n  return fault;\n}\n");
}
