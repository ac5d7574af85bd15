/* The functions that emitted source is made of beside those with sizes in them (c_product.c): each is written once and
 * called by every step that needs it. Their arithmetic is that of the layers' own: what `deviate` states holds. */
#include "core/exchange/c_parts.h"

static const char copy[] = "static void @_copy(float *y, const float *x, size_t n)\n"
                           "{\n"
                           "  size_t i;\n"
                           "  for (i = 0U; i < n; i++) {\n"
                           "    y[i] = x[i];\n"
                           "  }\n"
                           "}\n";

static const char patch[] =
    "/* What place (r, q) sees of every channel, zeros around the image. */\n"
    "static void @_patch(float *to, const float *x, const @_window *g, size_t channels,\n"
    "  size_t r, size_t q)\n"
    "{\n"
    "  size_t c;\n"
    "  size_t k;\n"
    "  size_t l;\n"
    "  size_t n = 0U;\n"
    "  for (c = 0U; c < channels; c++) {\n"
    "    for (k = 0U; k < g->kernel_h; k++) {\n"
    "      const size_t row = (r * g->stride_h) + (k * g->step_h);\n"
    "      const bool in_row = (row >= g->pad_h) && (row < (g->pad_h + g->h));\n"
    "      const size_t first = ((c * g->h) + (in_row ? (row - g->pad_h) : 0U)) * g->w;\n"
    "      for (l = 0U; l < g->kernel_w; l++) {\n"
    "        const size_t at = (q * g->stride_w) + (l * g->step_w);\n"
    "        const bool in = in_row && (at >= g->pad_w) && (at < (g->pad_w + g->w));\n"
    "        to[n] = in ? x[first + (at - g->pad_w)] : 0.0F;\n"
    "        n++;\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n";

#define EACH(name, arguments, value)                                                                         \
  "static void @_" name "(float *y, const float *x, size_t n" arguments ")\n"                                \
  "{\n"                                                                                                      \
  "  size_t i;\n"                                                                                            \
  "  for (i = 0U; i < n; i++) {\n"                                                                           \
  "    y[i] = " value ";\n"                                                                                  \
  "  }\n"                                                                                                    \
  "}\n"

static const char relu[] = EACH("relu", "", "(x[i] <= 0.0F) ? 0.0F : x[i]");
static const char leaky[] = EACH("leaky_relu", ", float slope", "(x[i] > 0.0F) ? x[i] : (slope * x[i])");
static const char absolute[] = EACH("abs", "", "(x[i] < 0.0F) ? -x[i] : x[i]");

/* Errors of the smooth functions were measured over all float32 numbers, for a program without any fused operation and for
 * this one with all of them fused (core/tensor/smooth.h): a compiler that may choose for itself is not left the choice. */
static const char mac[] =
    "/* a b + c. Where the processor fuses it, it is fused here, so that no compiler decides from place to "
    "place. */\n"
    "static float @_mac(float a, float b, float c)\n"
    "{\n"
    "#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__FMA4__) || defined(__ARM_FEATURE_FMA)\n"
    "  return fmaf(a, b, c);\n"
    "#elif (defined(__GNUC__) && !defined(__clang__)) || defined(__i386__) || defined(__x86_64__) || "
    "defined(__arm__)\n"
    "  return (a * b) + c;\n"
    "#else\n"
    "  return fmaf(a, b, c);\n"
    "#endif\n"
    "}\n";

static const char exponential[] =
    "/* e^x for x <= 0: 2^k e^r by a polynomial, 2^k in two halves. NaN stays. */\n"
    "static float @_exp(float x)\n"
    "{\n"
    "  const float t = @_mac(x, 0x1.715476p+0F, 0x1.8p+23F); /* x / ln 2 as a whole number in the low bits "
    "*/\n"
    "  const float k = t - 0x1.8p+23F;\n"
    "  const float r = @_mac(-k, -0x1.bd0106p-13F, @_mac(-k, 0x1.63p-1F, x));\n"
    "  float p = 0x1.a01a02p-13F;\n"
    "  @_bits low;\n"
    "  @_bits high;\n"
    "  low.f = t;\n"
    "  high.u = (low.u - 0x4b400000U) + 256U; /* k + 256 */\n"
    "  low.u = ((high.u >> 1U) - 1U) << 23U;\n"
    "  high.u = (high.u - (high.u >> 1U) - 1U) << 23U;\n"
    "  p = @_mac(p, r, 0x1.6c16c2p-10F);\n"
    "  p = @_mac(p, r, 0x1.111112p-7F);\n"
    "  p = @_mac(p, r, 0x1.555556p-5F);\n"
    "  p = @_mac(p, r, 0x1.555556p-3F);\n"
    "  p = @_mac(p, r, 0.5F);\n"
    "  p = @_mac(p * r, r, r) + 1.0F;\n"
    "  return (k < -151.0F) ? 0.0F : ((p * low.f) * high.f);\n"
    "}\n";

static const char hyperbolic[] = "static void @_tanh(float *y, const float *x, size_t n)\n"
                                 "{\n"
                                 "  size_t i;\n"
                                 "  for (i = 0U; i < n; i++) {\n"
                                 "    const float v = x[i];\n"
                                 "    const float a = (v < 0.0F) ? -v : v;\n"
                                 "    const float z = v * v;\n"
                                 "    const float e = @_exp(-2.0F * a);\n"
                                 "    const float large = (1.0F - e) / (1.0F + e);\n"
                                 "    float p = -0x1.75dddp-8F;\n"
                                 "    p = @_mac(p, z, 0x1.5225cp-6F);\n"
                                 "    p = @_mac(p, z, -0x1.b83c3ap-5F);\n"
                                 "    p = @_mac(p, z, 0x1.110726p-3F);\n"
                                 "    p = @_mac(p, z, -0x1.555532p-2F);\n"
                                 "    if (a < 0.625F) {\n"
                                 "      y[i] = @_mac(v, z * p, v);\n"
                                 "    } else {\n"
                                 "      y[i] = (v < 0.0F) ? -large : large;\n"
                                 "    }\n"
                                 "  }\n"
                                 "}\n";

static const char logistic[] = "static void @_sigmoid(float *y, const float *x, size_t n)\n"
                               "{\n"
                               "  size_t i;\n"
                               "  for (i = 0U; i < n; i++) {\n"
                               "    const float e = @_exp((x[i] < 0.0F) ? x[i] : -x[i]);\n"
                               "    y[i] = ((x[i] < 0.0F) ? e : 1.0F) / (1.0F + e);\n"
                               "  }\n"
                               "}\n";

static const char softplus[] = "/* log(1 + e^(beta x)) / beta */\n"
                               "static void @_softplus(float *y, const float *x, size_t n, float beta)\n"
                               "{\n"
                               "  size_t i;\n"
                               "  for (i = 0U; i < n; i++) {\n"
                               "    const float v = x[i];\n"
                               "    const float b = beta * v;\n"
                               "    const float e = @_exp((b < 0.0F) ? b : -b);\n"
                               "    const float s = e / (2.0F + e);\n"
                               "    const float z = s * s;\n"
                               "    float p = 0x1.1ed986p-3F;\n"
                               "    p = @_mac(p, z, 0x1.1ebcb8p-3F);\n"
                               "    p = @_mac(p, z, 0x1.99d20cp-3F);\n"
                               "    p = @_mac(p, z, 0x1.555502p-2F);\n"
                               "    y[i] = ((v > 0.0F) ? v : 0.0F) + ((2.0F * @_mac(s, z * p, s)) / beta);\n"
                               "  }\n"
                               "}\n";

static const char load[] = "static void @_load(float *y, const float *v, size_t n)\n"
                           "{\n"
                           "  size_t i;\n"
                           "  for (i = 0U; i < n; i++) {\n"
                           "    y[i] = ^v[i];\n"
                           "  }\n"
                           "}\n";

static const char affine[] =
    "/* a (x - m) + b, channel by channel */\n"
    "static void @_affine(float *y, const float *x, const float *a, const float *m, const float *b,\n"
    "  size_t channels, size_t n)\n"
    "{\n"
    "  size_t c;\n"
    "  size_t i;\n"
    "  for (c = 0U; c < channels; c++) {\n"
    "    const float slope = (a != NULL) ? ^a[c] : 1.0F;\n"
    "    const float mean = (m != NULL) ? ^m[c] : 0.0F;\n"
    "    const float offset = (b != NULL) ? ^b[c] : 0.0F;\n"
    "    for (i = c * n; i < ((c + 1U) * n); i++) {\n"
    "      y[i] = (slope * (x[i] - mean)) + offset;\n"
    "    }\n"
    "  }\n"
    "}\n";

/* Loops over all windows; `start`, `each` (of pixel v) and `end` make up what is taken of one. */
#define WINDOWS(name, arguments, start, each, end)                                                           \
  "static void @_" name "(float *y, const float *x, const @_window *g, size_t channels" arguments ")\n"      \
  "{\n"                                                                                                      \
  "  size_t n = 0U;\n"                                                                                       \
  "  size_t c;\n"                                                                                            \
  "  size_t r;\n"                                                                                            \
  "  size_t q;\n"                                                                                            \
  "  size_t k;\n"                                                                                            \
  "  size_t l;\n"                                                                                            \
  "  for (c = 0U; c < channels; c++) {\n"                                                                    \
  "    for (r = 0U; r < g->out_h; r++) {\n"                                                                  \
  "      for (q = 0U; q < g->out_w; q++) {\n" start "        for (k = 0U; k < g->kernel_h; k++) {\n"         \
  "          const size_t row = (r * g->stride_h) + k;\n"                                                    \
  "          for (l = 0U; l < g->kernel_w; l++) {\n"                                                         \
  "            const size_t at = (q * g->stride_w) + l;\n"                                                   \
  "            if ((row >= g->pad_h) && (row < (g->pad_h + g->h)) && (at >= g->pad_w) &&\n"                  \
  "                (at < (g->pad_w + g->w))) {\n"                                                            \
  "              const float v = x[(((c * g->h) + (row - g->pad_h)) * g->w) + (at - g->pad_w)];\n" each      \
  "            }\n"                                                                                          \
  "          }\n"                                                                                            \
  "        }\n" end "        n++;\n"                                                                         \
  "      }\n"                                                                                                \
  "    }\n"                                                                                                  \
  "  }\n"                                                                                                    \
  "}\n"

static const char max_pool[] = WINDOWS("max_pool", "",
                                       "        bool none = true;\n"
                                       "        float most = 0.0F;\n",
                                       "              if (none || (v > most) || (v != v)) { /* NaN stays */\n"
                                       "                most = v;\n"
                                       "              }\n"
                                       "              none = false;\n",
                                       "        y[n] = most;\n");

static const char mean_pool[] = WINDOWS("mean_pool", ", float weight", "        float sum = 0.0F;\n",
                                        "              sum += v;\n", "        y[n] = weight * sum;\n");

/* In parts of the largest, so that no square overflows or vanishes: kernel kernel / 2 + 3 roundings as the layer states, a
 * quotient taking one, a square one more, both halved by the root, and the root and the last product one each. */
static const char l2_pool[] =
    "static void @_l2_pool(float *y, const float *x, const @_window *g, size_t channels)\n"
    "{\n"
    "  size_t n = 0U;\n"
    "  size_t c;\n"
    "  size_t r;\n"
    "  size_t q;\n"
    "  size_t k;\n"
    "  size_t l;\n"
    "  int pass;\n"
    "  for (c = 0U; c < channels; c++) {\n"
    "    for (r = 0U; r < g->out_h; r++) {\n"
    "      for (q = 0U; q < g->out_w; q++) {\n"
    "        float most = 0.0F;\n"
    "        float sum = 0.0F;\n"
    "        for (pass = 0; pass < 2; pass++) { /* the largest first, then squares in parts of it */\n"
    "          for (k = 0U; k < g->kernel_h; k++) {\n"
    "            const size_t row = (r * g->stride_h) + k;\n"
    "            for (l = 0U; l < g->kernel_w; l++) {\n"
    "              const size_t at = (q * g->stride_w) + l;\n"
    "              if ((row >= g->pad_h) && (row < (g->pad_h + g->h)) && (at >= g->pad_w) &&\n"
    "                  (at < (g->pad_w + g->w))) {\n"
    "                const float v = x[(((c * g->h) + (row - g->pad_h)) * g->w) + (at - g->pad_w)];\n"
    "                const float a = (v < 0.0F) ? -v : v;\n"
    "                if (pass == 0) {\n"
    "                  most = ((a > most) || (a != a)) ? a : most;\n"
    "                } else {\n"
    "                  const float part = a / most;\n"
    "                  sum += part * part;\n"
    "                }\n"
    "              }\n"
    "            }\n"
    "          }\n"
    "        }\n"
    "        y[n] = (most == 0.0F) ? 0.0F : (most * sqrtf(sum));\n"
    "        n++;\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n";

#define SORT(name, wrong)                                                                                    \
  "/* Groups of `size` neighbouring channels of n numbers each, place by place. NaN moves nothing. */\n"     \
  "static void @_" name "(float *y, size_t groups, size_t size, size_t n)\n"                                 \
  "{\n"                                                                                                      \
  "  size_t g;\n"                                                                                            \
  "  size_t k;\n"                                                                                            \
  "  size_t l;\n"                                                                                            \
  "  size_t i;\n"                                                                                            \
  "  for (g = 0U; g < groups; g++) {\n"                                                                      \
  "    for (k = 1U; k < size; k++) {\n"                                                                      \
  "      for (l = 0U; l < (size - k); l++) {\n"                                                              \
  "        float *first = &y[((g * size) + l) * n];\n"                                                       \
  "        float *second = &y[((g * size) + l + 1U) * n];\n"                                                 \
  "        for (i = 0U; i < n; i++) {\n"                                                                     \
  "          const float a = first[i];\n"                                                                    \
  "          const float b = second[i];\n"                                                                   \
  "          first[i] = (" wrong ") ? b : a;\n"                                                              \
  "          second[i] = (" wrong ") ? a : b;\n"                                                             \
  "        }\n"                                                                                              \
  "      }\n"                                                                                                \
  "    }\n"                                                                                                  \
  "  }\n"                                                                                                    \
  "}\n"

static const char sort_up[] = SORT("sort_up", "a > b");
static const char sort_down[] = SORT("sort_down", "a < b");

static const char move[] = "static void @_move(float *y, const float *x, const @_place *from, size_t n)\n"
                           "{\n"
                           "  size_t i;\n"
                           "  for (i = 0U; i < n; i++) {\n"
                           "    const @_place at = ~from[i];\n"
                           "    y[i] = (at != $_NOWHERE) ? x[at] : 0.0F;\n"
                           "  }\n"
                           "}\n";

static const char scale[] = "static void @_scale(float *y, const float *x, float weight, size_t n)\n"
                            "{\n"
                            "  size_t i;\n"
                            "  for (i = 0U; i < n; i++) {\n"
                            "    y[i] = weight * x[i];\n"
                            "  }\n"
                            "}\n";

static const char add[] = "static void @_add(float *y, const float *x, float weight, size_t n)\n"
                          "{\n"
                          "  size_t i;\n"
                          "  for (i = 0U; i < n; i++) {\n"
                          "    y[i] += weight * x[i];\n"
                          "  }\n"
                          "}\n";

static const char *const text[LIP_C_HELPERS] = {[LIP_C_COPY] = copy,         [LIP_C_LOAD] = load,
                                                [LIP_C_PATCH] = patch,       [LIP_C_RELU] = relu,
                                                [LIP_C_LEAKY] = leaky,       [LIP_C_ABS] = absolute,
                                                [LIP_C_MAC] = mac,           [LIP_C_EXP] = exponential,
                                                [LIP_C_TANH] = hyperbolic,   [LIP_C_SIGMOID] = logistic,
                                                [LIP_C_SOFTPLUS] = softplus, [LIP_C_AFFINE] = affine,
                                                [LIP_C_MAX] = max_pool,      [LIP_C_MEAN] = mean_pool,
                                                [LIP_C_ROOT] = l2_pool,      [LIP_C_UP] = sort_up,
                                                [LIP_C_DOWN] = sort_down,    [LIP_C_MOVE] = move,
                                                [LIP_C_SCALE] = scale,       [LIP_C_ADD] = add};

void lip_c_types(const lip_c *c, lip_str *to) {
  if (c->needs[LIP_C_EXP])
    lip_c_put(
        c, to,
        "/* A float32 number and its bits. */\ntypedef union {\n  float f;\n  uint32_t u;\n} @_bits;\n\n");
  if (c->needs[LIP_C_MOVE])
    lip_c_putf(c, to,
               "/* Which number of the value before; NOWHERE: none, but 0. */\ntypedef uint%d_t @_place;\n"
               "#define $_NOWHERE %luU\n\n",
               c->narrow ? 16 : 32, c->narrow ? (unsigned long)UINT16_MAX : (unsigned long)UINT32_MAX);
  if (c->windows)
    lip_c_put(
        c, to,
        "/* Windows: image and outputs, kernel, stride, zeros around the image, step between pixels. */\n"
        "typedef struct {\n"
        "  size_t h;\n  size_t w;\n  size_t out_h;\n  size_t out_w;\n  size_t kernel_h;\n  size_t kernel_w;\n"
        "  size_t stride_h;\n  size_t stride_w;\n  size_t pad_h;\n  size_t pad_w;\n  size_t step_h;\n"
        "  size_t step_w;\n} @_window;\n\n");
}

void lip_c_helpers(const lip_c *c, lip_str *to) {
  for (int i = 0; i < LIP_C_HELPERS; i++)
    if (c->needs[i]) {
      lip_c_put(c, to, text[i]);
      lip_str_puts(to, "\n");
    }
}
