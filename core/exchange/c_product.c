/* Dense and convolutional steps. Each has a function of its own with its constants in it: loop bounds stand in the
 * source, and compilers that see them make vector code already at -O2. Weights stand input by input, so that the inner
 * loop runs over outputs, which are independent of each other: no sum has to be reordered. Four inputs at a time save
 * three of four passes over y. A convolution gathers what one place sees and multiplies it likewise. */
#include "core/base/mem.h"
#include "core/exchange/c_parts.h"

/* Weights (m, n) as (n, m), as table `what` i; `of` groups one after the other. LIP_MEMORY. */
static lip_status turn(lip_c *c, size_t i, const float *W, size_t of, size_t m, size_t n, lip_err *err) {
  float *turned = lip_alloc(of * n * m, sizeof *turned);
  if (!turned) return lip_fail(err, LIP_MEMORY, "out of memory for the C source");
  for (size_t g = 0; g < of; g++)
    for (size_t j = 0; j < m; j++)
      for (size_t k = 0; k < n; k++) turned[(g * n + k) * m + j] = W[(g * m + j) * n + k];
  lip_c_floats(c, "w", i, turned, of * n * m);
  lip_free(turned);
  return LIP_OK;
}

/* The function y = w x + b of step i, from n to m numbers; where there are several groups, of group g. It names its tables
 * itself: compilers see that nothing it writes is read through them, without `restrict` (MISRA C 8.14). */
static void product(lip_c *c, size_t i, size_t n, size_t m, bool bias, bool grouped) {
  lip_str *to = &c->functions;
  const size_t whole = n - n % 4;
  const char *group = grouped ? " + first" : "";
  lip_c_putf(c, to, "/* %zu to %zu */\nstatic void @_dense%zu(float *y, const float *x%s)\n{\n", n, m, i,
             grouped ? ", size_t g" : "");
  if (grouped) lip_c_putf(c, to, "  const size_t first = g * %zuU;\n", n * m);
  lip_c_put(c, to, "  size_t i;\n  size_t j;\n");
  lip_c_putf(c, to, "  for (j = 0U; j < %zuU; j++) {\n", m);
  if (bias && grouped)
    lip_c_putf(c, to, "    y[j] = ^@_b%zu[(g * %zuU) + j];\n  }\n", i, m);
  else if (bias)
    lip_c_putf(c, to, "    y[j] = ^@_b%zu[j];\n  }\n", i);
  else
    lip_c_put(c, to, "    y[j] = 0.0F;\n  }\n");
  if (whole > 0) {
    lip_c_putf(c, to, "  for (i = 0U; i < %zuU; i += 4U) {\n", whole);
    for (int k = 0; k < 4; k++) lip_c_putf(c, to, "    const float x%d = x[i + %dU];\n", k, k);
    for (int k = 0; k < 4; k++)
      lip_c_putf(c, to, "    const float *w%d = &@_w%zu[((i + %dU) * %zuU)%s];\n", k, i, k, m, group);
    lip_c_putf(
        c, to,
        "    for (j = 0U; j < %zuU; j++) {\n"
        "      y[j] += ((^w0[j] * x0) + (^w1[j] * x1)) + ((^w2[j] * x2) + (^w3[j] * x3));\n    }\n  }\n",
        m);
  }
  if (whole < n)
    lip_c_putf(c, to,
               "  for (i = %zuU; i < %zuU; i++) {\n    const float xi = x[i];\n"
               "    const float *wi = &@_w%zu[(i * %zuU)%s];\n"
               "    for (j = 0U; j < %zuU; j++) {\n      y[j] += ^wi[j] * xi;\n    }\n  }\n",
               whole, n, i, m, group, m);
  lip_c_put(c, to, "}\n\n");
}

lip_status lip_c_dense(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  const size_t n = c->plan.value[s->x[0]].size, m = c->plan.value[i].size;
  char y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
  lip_status status = turn(c, i, s->u.dense.W, 1, m, n, err);
  if (status) return status;
  if (s->u.dense.b) lip_c_floats(c, "b", i, s->u.dense.b, m);
  product(c, i, n, m, s->u.dense.b, false);
  lip_c_putf(c, &c->body, "  @_dense%zu(%s, %s);\n", i, lip_c_at(c, i, y), lip_c_at(c, s->x[0], x));
  return LIP_OK;
}

/* y: all places of all groups, one after the other; `patch` holds what one of them sees. */
static void convolution(lip_c *c, size_t i, size_t groups, const size_t in[3], const size_t out[3]) {
  const size_t m = out[0] / groups, per = in[0] / groups, places = out[1] * out[2];
  lip_str *to = &c->functions;
  lip_c_putf(c, to,
             "static void @_conv%zu(float *y, const float *x, float *patch, float *sum)\n{\n"
             "  size_t g;\n  size_t r;\n  size_t q;\n  size_t j;\n"
             "  for (g = 0U; g < %zuU; g++) {\n    for (r = 0U; r < %zuU; r++) {\n      for (q = 0U; q < "
             "%zuU; q++) {\n"
             "        float *to = &y[(g * %zuU) + (r * %zuU) + q];\n",
             i, groups, out[1], out[2], m * places, out[2]);
  lip_c_putf(c, to,
             "        @_patch(patch, &x[g * %zuU], &@_g%zu, %zuU, r, q);\n"
             "        @_dense%zu(sum, patch%s);\n"
             "        for (j = 0U; j < %zuU; j++) {\n          to[j * %zuU] = sum[j];\n        }\n      }\n  "
             "  }\n  }\n}\n\n",
             per * in[1] * in[2], i, per, i, groups > 1 ? ", g" : "", m, places);
}

lip_status lip_c_conv(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  size_t in[3], out[3];
  lip_c_image(&c->emit.step[s->x[0]].out, in);
  lip_c_image(&s->out, out);
  const size_t groups = s->u.conv.groups, m = out[0] / groups;
  const size_t n = in[0] / groups * s->u.conv.kernel[0] * s->u.conv.kernel[1];
  char y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
  lip_status status = turn(c, i, s->u.conv.W, groups, m, n, err);
  if (status) return status;
  if (s->u.conv.b) lip_c_floats(c, "b", i, s->u.conv.b, out[0]);
  lip_c_window(c, i, in, out,
               &(lip_c_steps){s->u.conv.kernel, s->u.conv.stride, s->u.conv.padding, s->u.conv.dilation});
  c->needs[LIP_C_PATCH] = true;
  if (n > c->patch) c->patch = n;
  if (m > c->sum) c->sum = m;
  product(c, i, n, m, s->u.conv.b, groups > 1);
  convolution(c, i, groups, in, out);
  lip_c_putf(c, &c->body, "  @_conv%zu(%s, %s, s->patch, s->sum);\n", i, lip_c_at(c, i, y),
             lip_c_at(c, s->x[0], x));
  return LIP_OK;
}
