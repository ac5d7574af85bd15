/* The functions that emitted source is made of, each written once and called by every step that needs it: code stays
 * small, and loops that C compilers turn into vector code without being told that sums may be reordered. */
#include "core/exchange/c_parts.h"

/* Weights stand input by input, so that the inner loop runs over outputs, which are independent of each other; four
 * inputs at a time save three of four passes over y. */
static const char dense[] =
    "/* y = w x + b; w holds the m weights of the first input, then those of the second, ... */\n"
    "static void @_dense(float *restrict y, const float *restrict x, const float *restrict w,\n"
    "                    const float *restrict b, size_t n, size_t m)\n"
    "{\n"
    "  const size_t whole = n - (n % 4U);\n"
    "  size_t i;\n"
    "  size_t j;\n"
    "  for (j = 0U; j < m; j++) {\n"
    "    y[j] = (b != NULL) ? ^b[j] : 0.0F;\n"
    "  }\n"
    "  for (i = 0U; i < whole; i += 4U) {\n"
    "    const float x0 = x[i];\n"
    "    const float x1 = x[i + 1U];\n"
    "    const float x2 = x[i + 2U];\n"
    "    const float x3 = x[i + 3U];\n"
    "    const float *w0 = &w[i * m];\n"
    "    const float *w1 = &w[(i + 1U) * m];\n"
    "    const float *w2 = &w[(i + 2U) * m];\n"
    "    const float *w3 = &w[(i + 3U) * m];\n"
    "    for (j = 0U; j < m; j++) {\n"
    "      y[j] += ((^w0[j] * x0) + (^w1[j] * x1)) + ((^w2[j] * x2) + (^w3[j] * x3));\n"
    "    }\n"
    "  }\n"
    "  for (i = whole; i < n; i++) {\n"
    "    const float x0 = x[i];\n"
    "    const float *w0 = &w[i * m];\n"
    "    for (j = 0U; j < m; j++) {\n"
    "      y[j] += ^w0[j] * x0;\n"
    "    }\n"
    "  }\n"
    "}\n";

static const char copy[] = "static void @_copy(float *y, const float *x, size_t n)\n"
                           "{\n"
                           "  size_t i;\n"
                           "  for (i = 0U; i < n; i++) {\n"
                           "    y[i] = x[i];\n"
                           "  }\n"
                           "}\n";

static const char relu[] = "static void @_relu(float *y, const float *x, size_t n)\n"
                           "{\n"
                           "  size_t i;\n"
                           "  for (i = 0U; i < n; i++) {\n"
                           "    y[i] = (x[i] <= 0.0F) ? 0.0F : x[i]; /* NaN stays */\n"
                           "  }\n"
                           "}\n";

static const char *const text[LIP_C_HELPERS] = {
    [LIP_C_COPY] = copy, [LIP_C_DENSE] = dense, [LIP_C_RELU] = relu};

void lip_c_helpers(const lip_c *c, lip_str *to) {
  for (int i = 0; i < LIP_C_HELPERS; i++)
    if (c->needs[i]) {
      lip_c_put(c, to, text[i]);
      lip_str_puts(to, "\n");
    }
}
