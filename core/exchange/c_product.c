/* Dense and convolutional steps. Every size has a function of its own with its constants in it: loop bounds stand in the
 * source, and compilers that see them make vector code already at -O2. Weights stand input by input, so that the inner
 * loop runs over outputs, which are independent of each other: no sum has to be reordered. Four inputs at a time save
 * three of four passes over y. A convolution gathers what one place sees and multiplies it likewise. */
#include <stdio.h>
#include <string.h>

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

/* The function y = w x + b from n to m, unless it is there already. */
static void product(lip_c *c, size_t n, size_t m) {
  lip_str *to = &c->functions, *head = &(lip_str){0};
  lip_c_putf(c, head, "static void @_dense_%zu_%zu(", n, m);
  const bool there = to->text && head->text && strstr(to->text, head->text);
  if (!there && head->text) lip_str_puts(to, head->text);
  if (!head->text) to->failed = true;
  lip_str_free(head);
  if (there) return;
  const size_t whole = n - n % 4;
  lip_c_put(c, to,
            "float *restrict y, const float *restrict x,\n"
            "  const float *restrict w, const float *restrict b)\n{\n  size_t j;\n");
  if (n > 1) lip_c_put(c, to, "  size_t i;\n");
  lip_c_putf(c, to, "  for (j = 0U; j < %zuU; j++) {\n    y[j] = (b != NULL) ? ^b[j] : 0.0F;\n  }\n", m);
  if (whole > 0) {
    lip_c_putf(c, to, "  for (i = 0U; i < %zuU; i += 4U) {\n", whole);
    for (int k = 0; k < 4; k++)
      lip_c_putf(c, to, "    const float x%d = x[i + %dU];\n    const float *w%d = &w[(i + %dU) * %zuU];\n",
                 k, k, k, k, m);
    lip_c_putf(
        c, to,
        "    for (j = 0U; j < %zuU; j++) {\n"
        "      y[j] += ((^w0[j] * x0) + (^w1[j] * x1)) + ((^w2[j] * x2) + (^w3[j] * x3));\n    }\n  }\n",
        m);
  }
  if (whole < n && n > 1)
    lip_c_putf(
        c, to,
        "  for (i = %zuU; i < %zuU; i++) {\n    const float xi = x[i];\n    const float *wi = &w[i * %zuU];\n"
        "    for (j = 0U; j < %zuU; j++) {\n      y[j] += ^wi[j] * xi;\n    }\n  }\n",
        whole, n, m, m);
  if (n == 1) lip_c_putf(c, to, "  for (j = 0U; j < %zuU; j++) {\n    y[j] += ^w[j] * x[0];\n  }\n", m);
  lip_c_put(c, to, "}\n\n");
}

/* The bias as table i, if there is one; its name, or NULL, in text. */
static const char *bias_of(lip_c *c, const float *b, size_t i, size_t n, char text[48]) {
  snprintf(text, 48, "NULL");
  if (b) {
    lip_c_floats(c, "b", i, b, n);
    snprintf(text, 48, "%s_b%zu", c->conf->name, i);
  }
  return text;
}

lip_status lip_c_dense(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  const size_t n = c->plan.value[s->x[0]].size, m = c->plan.value[i].size;
  char bias[48], y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
  lip_status status = turn(c, i, s->u.dense.W, 1, m, n, err);
  if (status) return status;
  bias_of(c, s->u.dense.b, i, m, bias);
  product(c, n, m);
  lip_c_putf(c, &c->body, "  @_dense_%zu_%zu(%s, %s, @_w%zu, %s);\n", n, m, lip_c_at(c, i, y),
             lip_c_at(c, s->x[0], x), i, bias);
  return LIP_OK;
}

/* y: all places of all groups, one after the other; `patch` holds what one of them sees. */
static void convolution(lip_c *c, size_t i, size_t groups, const size_t in[3], const size_t out[3],
                        size_t n) {
  const size_t m = out[0] / groups, image = in[1] * in[2], per = in[0] / groups, places = out[1] * out[2];
  lip_str *to = &c->functions;
  lip_c_putf(c, to,
             "static void @_conv%zu(float *restrict y, const float *restrict x, const float *restrict w,\n"
             "  const float *restrict b, float *restrict patch, float *restrict sum)\n{\n"
             "  size_t g;\n  size_t r;\n  size_t q;\n  size_t j;\n",
             i);
  lip_c_putf(c, to,
             "  for (g = 0U; g < %zuU; g++) {\n    for (r = 0U; r < %zuU; r++) {\n      for (q = 0U; q < "
             "%zuU; q++) {\n"
             "        float *to = &y[(g * %zuU) + (r * %zuU) + q];\n"
             "        @_patch(patch, &x[g * %zuU], &@_g%zu, %zuU, r, q);\n"
             "        @_dense_%zu_%zu(sum, patch, &w[g * %zuU], (b != NULL) ? &b[g * %zuU] : NULL);\n",
             groups, out[1], out[2], m * places, out[2], per * image, i, per, n, m, n * m, m);
  lip_c_putf(c, to,
             "        for (j = 0U; j < %zuU; j++) {\n          to[j * %zuU] = sum[j];\n        }\n      }\n  "
             "  }\n  }\n}\n\n",
             m, places);
}

lip_status lip_c_conv(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  size_t in[3], out[3];
  lip_c_image(&c->emit.step[s->x[0]].out, in);
  lip_c_image(&s->out, out);
  const size_t groups = s->u.conv.groups, m = out[0] / groups;
  const size_t n = in[0] / groups * s->u.conv.kernel[0] * s->u.conv.kernel[1];
  char bias[48], y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
  lip_status status = turn(c, i, s->u.conv.W, groups, m, n, err);
  if (status) return status;
  bias_of(c, s->u.conv.b, i, out[0], bias);
  lip_c_window(c, i, in, out,
               &(lip_c_steps){s->u.conv.kernel, s->u.conv.stride, s->u.conv.padding, s->u.conv.dilation});
  c->needs[LIP_C_PATCH] = true;
  if (n > c->patch) c->patch = n;
  if (m > c->sum) c->sum = m;
  product(c, n, m);
  convolution(c, i, groups, in, out, n);
  lip_c_putf(c, &c->body, "  @_conv%zu(%s, %s, @_w%zu, %s, s->patch, s->sum);\n", i, lip_c_at(c, i, y),
             lip_c_at(c, s->x[0], x), i, bias);
  return LIP_OK;
}
