/* A radius for the program as it runs, never above the one that lip_certify gives for the same input.
 *
 * Let z' be the program's outputs at x, z those of lip_certify, y the label, m'_j = z'_y - z'_j and m_j likewise. Both are
 * passes in float32, so each m is within a of the exact margin, a = lip_certifier_allowance of ||x|| and of the number of
 * inputs that are not zero; let A(s) >= a be that of a size and any number. Hence with
 *   r_j(R) = (m'_j - 3 a - A(||x|| + R)) / L_yj,   r = min(R, min_j r_j(R)),
 * (1) r is certified for the program: m'_j - a is below the exact margin at x, A(||x|| + R) is what any pass on the
 *     ball of radius R may be off by (certify.c), and 2 a is taken off for nothing but (2);
 * (2) m'_j - 3 a <= m_j - a, which is what lip_certify has left before it takes off the passes on its ball: r is no more than
 *     what it finds for any ball that R covers. Its first ball is R0 = min_j m_j / L_yj, and
 *     low = min_j (m'_j - 2 a) / L_yj <= R0 <= high = min_j (m'_j + 2 a) / L_yj. If that gives less than R0 / 2 it goes on with
 *     R0 / 4^k, until it has found R0 / 4^k / 2. Here the k-th try takes off A(||x|| + high / 4^k), and gives at most
 *     low / 4^k: either lip_certify has made that try, or it has stopped before it with something larger.
 * If the labels differ, m'_j <= 2 a for the class j that is the label there, and r is 0. So is it if lip_certify finds no
 * margin at x itself: then m_j <= a + A(||x||) for some j, and m'_j <= 3 a + A(||x||).
 *
 * Of the input only its norm and its zeros are looked at: A is a table of sizes, eight to a factor of two, and a / A another. A
 * processor that takes denormal inputs for zeros does not count them, and (2) fails where lipwb has; (1) holds. In the program, in double:
 * every sum, product and quotient is off by a factor within 1 +- 2^-53 (some of them fused or not), of a difference the
 * terms. a, high and the size of x are made larger by 2^-20 of themselves, constants by the rounding to float32 (2^-24); what is
 * left of a margin is made smaller by 2^-50 of the outputs it came from, and the quotient by 2^-41. No operand but 0
 * is below 2^-126, or it has been raised by 2^-100, so that no double is denormal; outputs and inputs that are, and are
 * taken for 0, are within what allowance and size were raised by. */
#include "core/exchange/c_radius.h"

#include <float.h>
#include <math.h>

#include "core/base/mem.h"

/* Sizes reach from 2^FIRST to 2^LAST times the norm of an input of ones. */
enum { PER_OCTAVE = 8, FIRST = -6, LAST = 10, SIZES = (LAST - FIRST) * PER_OCTAVE, PARTS = 16, TRIES = 48 };
#define SMALLEST 0x1p-100 /* smaller constants and radii are not told in float32 */
#define LARGEST 0x1p100   /* radius that certify stops at */
#define UNKNOWN 0x1p200   /* more than any margin */

/* ---- tables ---- */

/* The next float32 number at or above v >= 0. */
static float up(double v) {
  const float f = (float)v;
  return (double)f >= v ? f : nextafterf(f, INFINITY);
}

static void fill_pairs(lip_c_radius *r) {
  const double *pairs = lip_certifier_pairs(r->certifier);
  for (size_t i = 0; i < r->C; i++)
    for (size_t j = 0; j < r->C; j++) {
      const double L = i == j ? 0 : pairs[i * r->C + j];
      const float rounded = up(L);
      const bool fits = L == 0 || (L >= SMALLEST && rounded <= (float)LARGEST);
      r->pair[i * r->C + j] = fits ? rounded : -1;
    }
}

static bool has_constants(const lip_c_radius *r) {
  bool some = false;
  for (size_t i = 0; i < r->C * r->C; i++) some = some || (i % (r->C + 1) != 0 && r->pair[i] >= 0);
  return some;
}

/* a, raised by more than what is lost on the way to the program's. */
static double allowance(const lip_c_radius *r, double size, size_t nonzero) {
  return (lip_certifier_allowance(r->certifier, size, nonzero) + 0x1p-100) * (1 + 0x1p-20);
}

static void fill_sizes(lip_c_radius *r, size_t n_in) {
  const double ones = r->p == LIP_PINF ? 1 : r->p == LIP_P1 ? (double)n_in : sqrt((double)n_in);
  for (size_t k = 0; k < SIZES; k++) {
    const float size = up(ones * exp2(FIRST + (double)(k + 1) / PER_OCTAVE));
    const double allow = allowance(r, (double)size, n_in);
    if (!(allow < 0x1p100)) break;
    r->size[k] = size;
    r->allow[k] = up(allow);
    r->n = k + 1;
  }
}

/* The largest part within each octave, which the smaller sizes of it need not have. */
static void fill_parts(lip_c_radius *r, size_t n_in) {
  r->octaves = (r->n + PER_OCTAVE - 1) / PER_OCTAVE;
  r->width = (n_in + PARTS - 1) / PARTS;
  r->parts = (n_in + r->width - 1) / r->width;
  bool some = false;
  for (size_t k = 0; k < r->n; k++)
    for (size_t i = 0; i + 1 < r->parts; i++) {
      float *to = &r->part[k / PER_OCTAVE * r->parts + i];
      const float part =
          up(allowance(r, (double)r->size[k], (i + 1) * r->width) / (double)r->allow[k] * (1 + 0x1p-40));
      *to = fminf(fmaxf(*to, part), 1);
      some = some || part < 0.99F;
    }
  if (!some) r->parts = 1;
  for (size_t o = 0; o < r->octaves; o++) r->part[o * r->parts + r->parts - 1] = 1;
}

lip_status lip_c_radius_init(lip_c_radius *r, lip_net *net, const double *pairs, lip_err *err) {
  *r = (lip_c_radius){.net = net,
                      .n_in = net->root->n_in,
                      .n_out = net->root->n_out,
                      .p = lip_path_at(&net->conf.path, 0),
                      .C = lip_net_classes(net)};
  const lip_certify_conf conf = {.pairs = pairs};
  lip_status status = lip_certifier_new(net, &conf, &r->certifier, err);
  if (status) return status;
  r->pair = lip_alloc(r->C * r->C, sizeof *r->pair);
  r->size = lip_alloc(SIZES, sizeof *r->size);
  r->allow = lip_alloc(SIZES, sizeof *r->allow);
  r->part = lip_alloc((size_t)(LAST - FIRST) * PARTS, sizeof *r->part);
  if (!r->pair || !r->size || !r->allow || !r->part)
    return lip_fail(err, LIP_MEMORY, "out of memory for the radius of %zu classes", r->C);
  fill_pairs(r);
  if (has_constants(r)) fill_sizes(r, net->root->n_in);
  if (r->n > 0) fill_parts(r, net->root->n_in);
  return LIP_OK;
}

void lip_c_radius_free(lip_c_radius *r) {
  lip_certifier_free(r->certifier);
  lip_free(r->pair);
  lip_free(r->size);
  lip_free(r->allow);
  lip_free(r->part);
  *r = (lip_c_radius){0};
}

size_t lip_c_radius_bytes(const lip_c_radius *r) {
  return r->n > 0 ? (r->C * r->C + 2 * r->n + (r->parts > 1 ? r->octaves * r->parts : 0)) * sizeof(float) : 0;
}

/* ---- text ---- */

void lip_c_radius_declare(const lip_c_radius *r, const lip_c *c, lip_str *to) {
  lip_c_putf(
      c, to,
      "/* How far x may move, in norm %s, before @_label of what @_run makes of it can change; y is what "
      "@_run has made\n"
      " * of x. Proved, every rounding of this program counted; rounded down. 0: nothing is proved%s. */\n"
      "float @_radius(const float x[$_N], const float y[$_M]);\n",
      lip_p_name(r->p),
      r->n > 0
          ? " (ties, NaN, inputs\n * out of all proportion, double with fewer than 53 bits)"
          : ", as\n * always here: the net has a layer without a finite constant or account of its rounding");
}

/* Constants are named in capitals: these texts are no formats. */
static const char allowance_of_size[] =
    "/* The first size of the table that reaches `size`; $_SIZES: none. */\n"
    "static size_t @_entry(double size)\n"
    "{\n"
    "  size_t k = 0U;\n"
    "  size_t step;\n"
    "  for (step = $_STEP; step > 0U; step /= 2U) {\n"
    "    if ((k + step) <= $_SIZES) {\n"
    "      const double reached = (double)^@_size0[(k + step) - 1U];\n"
    "      if (!(size <= reached)) {\n"
    "        k += step;\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "  return k;\n"
    "}\n\n"
    "/* At least what rounding does to a difference of two outputs, for inputs of norm up to `size`. */\n"
    "static double @_allowance(double size)\n"
    "{\n"
    "  const size_t k = @_entry(size);\n"
    "  double allow = 0x1p+200; /* not known */\n"
    "  if (k < $_SIZES) {\n"
    "    allow = (double)^@_allow0[k];\n"
    "  }\n"
    "  return allow;\n"
    "}\n\n";

static const char allowance_here[] =
    "/* The same at x, whose norm is `size`: numbers that are zero are added without rounding. */\n"
    "static double @_here(const float x[$_N], double size)\n"
    "{\n"
    "  size_t k;\n"
    "  size_t count = 0U;\n"
    "  double part = 1.0;\n"
    "  for (k = 0U; k < $_N; k++) {\n"
    "    if (x[k] != 0.0F) {\n"
    "      count++;\n"
    "    }\n"
    "  }\n"
    "  if (count > 0U) {\n"
    "    count = (count - 1U) / $_WIDTH;\n"
    "  }\n"
    "  k = @_entry(size);\n"
    "  if (k < $_SIZES) {\n"
    "    part = (double)^@_part0[((k / $_PER_OCTAVE) * $_PARTS) + count];\n"
    "  }\n"
    "  return @_allowance(size) * part;\n"
    "}\n\n";

static const char norm_sum[] = "/* At least the norm of x; NaN or infinite where an input is. */\n"
                               "static double @_norm(const float x[$_N])\n"
                               "{\n"
                               "  size_t k;\n"
                               "  double sum = 0.0;\n"
                               "  for (k = 0U; k < $_N; k++) {\n"
                               "    const double v = (double)x[k];\n"
                               "    sum += (v < 0.0) ? -v : v;\n"
                               "  }\n"
                               "  return (sum * 0x1.00001p+0) + 0x1p-100;\n"
                               "}\n\n";

static const char norm_largest[] = "/* At least the norm of x; NaN where an input is NaN or infinite. */\n"
                                   "static double @_norm(const float x[$_N])\n"
                                   "{\n"
                                   "  size_t k;\n"
                                   "  double top = 0.0;\n"
                                   "  double odd = 0.0;\n"
                                   "  for (k = 0U; k < $_N; k++) {\n"
                                   "    const double v = (x[k] < 0.0F) ? -(double)x[k] : (double)x[k];\n"
                                   "    odd += v - v;\n"
                                   "    if (v > top) {\n"
                                   "      top = v;\n"
                                   "    }\n"
                                   "  }\n"
                                   "  return top + odd + 0x1p-100;\n"
                                   "}\n\n";

/* Newton's iteration for the root from a number that is too large: every iterate is. */
static const char norm_root[] =
    "/* At least the norm of x; 2^200 or more where an input is NaN, infinite or out of all proportion. */\n"
    "static double @_norm(const float x[$_N])\n"
    "{\n"
    "  size_t k;\n"
    "  double sum = 0.0;\n"
    "  double root = 0x1p+200;\n"
    "  for (k = 0U; k < $_N; k++) {\n"
    "    const double v = (double)x[k];\n"
    "    sum += v * v;\n"
    "  }\n"
    "  for (k = $_SIZES; k > 0U; k--) { /* the smallest size above the root; it is made smaller then */\n"
    "    const double size = (double)^@_size0[k - 1U];\n"
    "    if (sum <= (size * size)) {\n"
    "      root = size;\n"
    "    }\n"
    "  }\n"
    "  if (root < 0x1p+200) {\n"
    "    for (k = 0U; k < 3U; k++) {\n"
    "      root = (root + (sum / root)) * 0.5;\n"
    "    }\n"
    "  }\n"
    "  return (root * 0x1.00001p+0) + 0x1p-100;\n"
    "}\n\n";

static const char margin_of_two[] =
    "/* Margin of the label over class j, of the outputs 0 and y. */\n"
    "static double @_margin(const float y[$_M], size_t label, size_t j, double more)\n"
    "{\n"
    "  const double v = (j < label) ? (double)y[0] : -(double)y[0];\n"
    "  const double most = (v < 0.0) ? -v : v;\n"
    "  return v + (most * more);\n"
    "}\n\n";

static const char margin_of_many[] =
    "/* Margin of the label over class j, with `more` of what it comes from. */\n"
    "static double @_margin(const float y[$_M], size_t label, size_t j, double more)\n"
    "{\n"
    "  const double a = (double)y[label];\n"
    "  const double b = (double)y[j];\n"
    "  const double most = ((a < 0.0) ? -a : a) + ((b < 0.0) ? -b : b);\n"
    "  return (a - b) + (most * more);\n"
    "}\n\n";

/* Both loops go over all classes j but the label, with their constants. */
#define CLASSES(before)                                                                                      \
  before "for (j = 0U; j < $_CLASSES; j++) {\n" before "  if (j != label) {\n" before                        \
         "    const double slope = (double)^@_pair0[(label * $_CLASSES) + j];\n"

static const char prepare[] =
    "/* Two numbers between which the radius lies that no rounding on the way there would leave; 0 where no "
    "margin is left "
    "at\n * the input itself, else 1. */\n"
    "static int @_reach(const float y[$_M], size_t label, double here, double reach[2])\n"
    "{\n"
    "  size_t j;\n"
    "  int some = 1;\n"
    "  reach[0] = 0x1p+100;\n"
    "  reach[1] = 0x1p+100;\n" CLASSES(
        "  ") "      const double low = @_margin(y, label, j, -0x1p-50) - (here * 2.0);\n"
              "      const double high = @_margin(y, label, j, 0x1p-50) + (here * 2.0);\n"
              "      if ((!(low > (here * 2.0))) || (slope < 0.0)) {\n"
              "        some = 0;\n"
              "      } else if (slope > 0.0) {\n"
              "        const double least = (low / slope) * 0x1.fffffp-1;\n"
              "        const double most = (high / slope) * 0x1.00001p+0;\n"
              "        reach[0] = (least < reach[0]) ? least : reach[0];\n"
              "        reach[1] = (most < reach[1]) ? most : reach[1];\n"
              "      } else {\n"
              "        /* no input changes this difference */\n"
              "      }\n"
              "    }\n"
              "  }\n"
              "  return some;\n"
              "}\n\n";

static const char part[] =
    "/* What is proved on the ball of radius reach[1] where rounding costs `there`: at most reach[0]. */\n"
    "static double @_proved(const float y[$_M], size_t label, double here, double there, const double "
    "reach[2])\n"
    "{\n"
    "  size_t j;\n"
    "  double least = reach[0];\n" CLASSES(
        "  ") "      const double left = @_margin(y, label, j, -0x1p-50) - ((here * 3.0) + there);\n"
              "      if (!(left > 0.0)) {\n"
              "        least = 0.0;\n"
              "      } else if (slope > 0.0) {\n"
              "        const double proved = (left / slope) * 0x1.ffffffffffp-1;\n"
              "        least = (proved < least) ? proved : least;\n"
              "      } else {\n"
              "        /* as far as one likes */\n"
              "      }\n"
              "    }\n"
              "  }\n"
              "  return least;\n"
              "}\n\n";

static const char search_from[] = "float @_radius(const float x[$_N], const float y[$_M])\n"
                                  "{\n"
                                  "  const int label = @_label(y);\n"
                                  "  const double size = @_norm(x);\n";
static const char search[] =
    "  double best = 0.0;\n"
    "  double reach[2];\n"
    "  if (label >= 0) {\n"
    "    if (@_reach(y, (size_t)label, here, reach) != 0) {\n"
    "      size_t k;\n"
    "      for (k = 0U; k <= $_TRIES; k++) { /* smaller and smaller balls, until one is filled by half */\n"
    "        if ((best * 2.0) < reach[0]) {\n"
    "          const double there = @_allowance(size + reach[1]);\n"
    "          const double proved = @_proved(y, (size_t)label, here, there, reach);\n"
    "          best = (proved > best) ? proved : best;\n"
    "          reach[0] *= 0.25;\n"
    "          reach[1] *= 0.25;\n"
    "        }\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "  return (best > 0x1p-100) ? (float)(best * 0x1.fffffdp-1) : 0.0F;\n"
    "}\n";

/* Where the functions are, so that they are left out together. */
static void write_tables(const lip_c_radius *r, lip_c *c, lip_str *to) {
  const lip_str others = c->tables;
  c->tables = *to;
  lip_c_put(
      c, &c->tables,
      "/* Constants of differences of outputs (-1: not known); sizes of inputs, and what rounding costs a "
      "difference up to\n * these. */\n");
  lip_c_floats(c, "pair", 0, r->pair, r->C * r->C);
  lip_c_floats(c, "size", 0, r->size, r->n);
  lip_c_floats(c, "allow", 0, r->allow, r->n);
  if (r->parts > 1) {
    lip_c_put(c, &c->tables,
              "/* What part of that is left, by octaves of sizes and $_WIDTH, twice as many, ... inputs that "
              "are not "
              "zero. */\n");
    lip_c_floats(c, "part", 0, r->part, r->octaves * r->parts);
  }
  lip_str_puts(&c->tables, "\n");
  *to = c->tables;
  c->tables = others;
}

static void write_known(const lip_c_radius *r, lip_c *c, lip_str *to) {
  write_tables(r, c, to);
  lip_c_putf(c, to,
             "#define $_CLASSES %zuU\n#define $_SIZES %zuU\n#define $_STEP %zuU /* the largest power of two "
             "of them */\n#define $_TRIES %dU\n\n",
             r->C, r->n, (size_t)1 << ilogb((double)r->n), TRIES);
  if (r->parts > 1)
    lip_c_putf(c, to, "#define $_PER_OCTAVE %dU\n#define $_PARTS %zuU\n#define $_WIDTH %zuU\n\n", PER_OCTAVE,
               r->parts, r->width);
  lip_c_put(c, to, allowance_of_size);
  if (r->parts > 1) lip_c_put(c, to, allowance_here);
  lip_c_put(c, to, r->p == LIP_P1 ? norm_sum : r->p == LIP_P2 ? norm_root : norm_largest);
  lip_c_put(c, to, c->net->root->n_out == 1 ? margin_of_two : margin_of_many);
  lip_c_put(c, to, prepare);
  lip_c_put(c, to, part);
  lip_c_put(c, to, search_from);
  lip_c_put(c, to,
            r->parts > 1 ? "  const double here = @_here(x, size);\n"
                         : "  const double here = @_allowance(size);\n");
  lip_c_put(c, to, search);
}

void lip_c_radius_write(const lip_c_radius *r, lip_c *c, lip_str *to) {
  static const char nothing[] = "float @_radius(const float x[$_N], const float y[$_M])\n"
                                "{\n  (void)x;\n  (void)y;\n  return 0.0F;\n}\n";
  lip_str_puts(to, "/* ---- how far the input may move ---- */\n\n");
  if (r->n > 0) {
    lip_str_puts(to, "#if (FLT_RADIX == 2) && (DBL_MANT_DIG >= 53) && (DBL_MAX_EXP >= 1024)\n\n");
    write_known(r, c, to);
    lip_str_puts(to, "\n#else /* too few bits to prove anything */\n\n");
  }
  lip_c_put(c, to, nothing);
  lip_str_puts(to, r->n > 0 ? "\n#endif\n\n" : "\n");
}

/* ---- here ---- */

static double allowance_at(const lip_c_radius *r, double size) {
  for (size_t k = 0; k < r->n; k++)
    if (size <= (double)r->size[k]) return (double)r->allow[k];
  return UNKNOWN;
}

static double allowance_here_of(const lip_c_radius *r, const float *x, double size) {
  size_t count = 0;
  for (size_t k = 0; k < r->n_in; k++) count += x[k] != 0;
  for (size_t k = 0; k < r->n; k++)
    if (size <= (double)r->size[k])
      return (double)r->allow[k] *
             (r->parts == 1
                  ? 1
                  : (double)r->part[k / PER_OCTAVE * r->parts + (count > 0 ? count - 1 : 0) / r->width]);
  return UNKNOWN;
}

/* The program's statements for margins that are smaller than those of y by `slack` allowances. */
typedef struct question {
  const lip_c_radius *r;
  const double *y; /* (C) */
  size_t label;
  double here, slack, reach[2];
} question;

static double margin(const question *q, size_t j, double more) {
  const double a = q->y[q->label], b = q->y[j];
  return a - b - q->slack * q->here + (fabs(a) + fabs(b)) * more;
}

static bool find_reach(question *q) {
  bool some = true;
  q->reach[0] = q->reach[1] = LARGEST;
  for (size_t j = 0; j < q->r->C; j++) {
    if (j == q->label) continue;
    const double slope = (double)q->r->pair[q->label * q->r->C + j];
    const double low = margin(q, j, -0x1p-50) - q->here * 2, high = margin(q, j, 0x1p-50) + q->here * 2;
    some = some && low > q->here * 2 && slope >= 0;
    if (!(slope > 0)) continue;
    q->reach[0] = fmin(q->reach[0], low / slope * (1 - 0x1p-20));
    q->reach[1] = fmin(q->reach[1], high / slope * (1 + 0x1p-20));
  }
  return some;
}

static double part_of(const question *q, double there) {
  double least = q->reach[0];
  for (size_t j = 0; j < q->r->C; j++) {
    if (j == q->label) continue;
    const double slope = (double)q->r->pair[q->label * q->r->C + j];
    const double left = margin(q, j, -0x1p-50) - (q->here * 3 + there);
    if (!(left > 0)) return 0;
    if (slope > 0) least = fmin(least, left / slope * (1 - 0x1p-40));
  }
  return least;
}

/* The search itself is left to the program: its first try is one of those that count. y (n_out) is what some pass in float32
 * makes of x. */
static float least_of(const lip_c_radius *r, const float *x, const float *y, double *wide) {
  if (r->n_out == 1) wide[0] = 0;
  for (size_t j = 0; j < r->n_out; j++) wide[r->C - r->n_out + j] = (double)y[j];
  question q = {.r = r, .y = wide, .slack = 2};
  for (size_t j = 1; j < r->C; j++)
    if (wide[j] > wide[q.label]) q.label = j;
  const double size = lip_norm_upper(x, r->n_in, r->p) * (1 + 0x1p-18) + 0x1p-99;
  q.here = allowance_here_of(r, x, size);
  double best = find_reach(&q) ? part_of(&q, allowance_at(r, size + q.reach[1])) : 0;
  best *= 1 - 0x1p-18; /* the rounding there and here */
  return best > 0x1p-99 ? nextafterf((float)best, 0) : 0;
}

lip_status lip_c_radius_bounds(const lip_c_radius *r, const float *x, float bounds[2], lip_err *err) {
  lip_radius found;
  const lip_net *net = r->net;
  lip_status status = lip_certify(r->certifier, x, 1, &found, err);
  double *wide = lip_alloc(r->C, sizeof *wide);
  if (!wide && !status)
    status = lip_fail(err, LIP_MEMORY, "out of memory for the radius of %zu classes", r->C);
  if (!status) {
    const float most = (float)found.radius;
    bounds[0] = least_of(r, x, net->logits, wide);
    bounds[1] = (double)most > found.radius ? nextafterf(most, 0) : most;
  }
  lip_free(wide);
  return status;
}
