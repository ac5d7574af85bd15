/* The loops of dist.c for one family of instructions, included once for each. It has been told TARGET, V (the vector), L
 * (its lanes), ROWS and COLS of a tile, GROUP (vectors that are passed over together), FN(name), and the operations
 *   LOAD, STORE, ZERO, ONE, SUB, ADD, MUL, FMA, ABS
 *   HOLD(v)         the number is in a register
 *   TOP(a, b)       the larger of two vectors of bits that are not negative
 *   KEEP(t, f)      t where it is not below f, else 0        ANY(t, f)    whether some lane is not below f
 *   SIGNED(v, d)    v with the sign of d turned over
 *   SAME(t, f)      bits of lanes that are alike             MORE(t, f)   where t is above f
 * All of them are forgotten at the end. */

/* Up to L numbers in front of zeros. */
TARGET static inline V FN(part)(const float *p, size_t n) {
  float v[L] = {0};
  if (n >= L) return LOAD(p);
  for (size_t i = 0; i < n; i++) v[i] = p[i];
  return LOAD(v);
}

TARGET static inline float FN(top)(V v) {
  float f[L];
  int32_t b[L], most = 0;
  STORE(f, v);
  memcpy(b, f, sizeof b);
  for (size_t i = 0; i < L; i++) most = b[i] > most ? b[i] : most;
  memcpy(f, &most, sizeof most);
  return f[0];
}

TARGET static inline float FN(total)(V v) {
  float f[L];
  STORE(f, v);
  for (size_t half = L / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; i++) f[i] += f[i + half];
  return f[0];
}

/* One tile of the largest differences: `rows` of x, `cols` of w, at most ROWS and COLS; the last ones stand in for others. */
TARGET static void FN(tile)(size_t n, const float *x0, size_t rows, const float *w0, size_t cols, float *y,
                            size_t ldy) {
  V acc[ROWS][COLS];
  const float *x[ROWS], *w[COLS];
  UNROLL for (size_t r = 0; r < ROWS; r++) x[r] = x0 + (r < rows ? r : rows - 1) * n;
  UNROLL for (size_t c = 0; c < COLS; c++) w[c] = w0 + (c < cols ? c : cols - 1) * n;
  UNROLL for (size_t r = 0; r < ROWS; r++) UNROLL for (size_t c = 0; c < COLS; c++) acc[r][c] = ZERO;
  for (size_t i = 0; i + L <= n; i += L) {
    V b[COLS];
    UNROLL for (size_t c = 0; c < COLS; c++) b[c] = LOAD(w[c] + i);
    UNROLL for (size_t r = 0; r < ROWS; r++) {
      const V a = LOAD(x[r] + i);
      UNROLL for (size_t c = 0; c < COLS; c++) {
        acc[r][c] = TOP(acc[r][c], ABS(SUB(a, b[c])));
        HOLD(acc[r][c]); /* all differences at once would not fit */
      }
    }
  }
  if (n % L) {
    const size_t i = n / L * L;
    V b[COLS];
    UNROLL for (size_t c = 0; c < COLS; c++) b[c] = FN(part)(w[c] + i, n - i);
    UNROLL for (size_t r = 0; r < ROWS; r++) {
      const V a = FN(part)(x[r] + i, n - i);
      UNROLL for (size_t c = 0; c < COLS; c++) acc[r][c] = TOP(acc[r][c], ABS(SUB(a, b[c])));
    }
  }
  float top[ROWS][COLS];
  UNROLL for (size_t r = 0; r < ROWS; r++) UNROLL for (size_t c = 0; c < COLS; c++) top[r][c] =
      FN(top)(acc[r][c]);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) y[r * ldy + c] = top[r][c];
}

TARGET static uint32_t FN(place)(size_t n, const float *x, const float *w, float most) {
  const V m = ONE(&most);
  size_t i = 0;
  for (; i + L <= n; i += L) {
    const uint32_t same = SAME(ABS(SUB(LOAD(x + i), LOAD(w + i))), m);
    if (same) return (uint32_t)i + (uint32_t)__builtin_ctz(same);
  }
  for (; i < n; i++)
    if (fabsf(x[i] - w[i]) == most) return (uint32_t)i;
  return 0;
}

/* The first i in [from, n) with |x_i - w_i| > least; n: there is none. */
TARGET static size_t FN(above)(size_t from, size_t n, const float *x, const float *w, float least) {
  const V m = ONE(&least);
  size_t i = from;
  for (; i + L <= n; i += L) {
    const uint32_t more = MORE(ABS(SUB(LOAD(x + i), LOAD(w + i))), m);
    if (more) return i + (size_t)__builtin_ctz(more);
  }
  while (i < n && !(fabsf(x[i] - w[i]) > least)) i++;
  return i;
}

/* t^p, p = 2^k. */
TARGET static inline V FN(power)(V t, int k) {
  for (int i = 0; i < k; i++) t = MUL(t, t);
  return t;
}

/* t^(p - 1) */
TARGET static inline V FN(slope)(V t, int k) {
  V s = t;
  for (int i = 1; i < k; i++) s = MUL(MUL(s, s), t);
  return s;
}

/* |x - w| at i, of GROUP vectors. */
TARGET static inline void FN(differences)(const float *x, const float *w, V *d) {
  UNROLL for (size_t v = 0; v < GROUP; v++) d[v] = ABS(SUB(LOAD(x + v * L), LOAD(w + v * L)));
}

TARGET static inline V FN(most)(const V *d) {
  V m = TOP(d[0], d[1]);
  UNROLL for (size_t v = 2; v < GROUP; v++) m = TOP(m, d[v]);
  return m;
}

/* sum of (|x - w| inv)^p over those |x - w| that are not below `least`. */
TARGET static float FN(sum)(size_t n, const float *x, const float *w, float inv, float least, int k) {
  const V by = ONE(&inv), floor = ONE(&least);
  V acc[GROUP], d[GROUP];
  UNROLL for (size_t v = 0; v < GROUP; v++) acc[v] = ZERO;
  size_t i = 0;
  for (; i + GROUP * L <= n; i += GROUP * L) {
    FN(differences)(x + i, w + i, d);
    if (k >= SPARSE && !ANY(FN(most)(d), floor)) continue;
    UNROLL for (size_t v = 0; v < GROUP; v++) {
      const V s = FN(power)(MUL(KEEP(d[v], floor), by), k - 1);
      acc[v] = FMA(s, s, acc[v]);
    }
  }
  for (; i < n; i += L) {
    d[0] = ABS(SUB(FN(part)(x + i, n - i), FN(part)(w + i, n - i)));
    if (k >= SPARSE && !ANY(d[0], floor)) continue;
    const V s = FN(power)(MUL(KEEP(d[0], floor), by), k - 1);
    acc[0] = FMA(s, s, acc[0]);
  }
  UNROLL for (size_t v = 1; v < GROUP; v++) acc[0] = ADD(acc[0], acc[v]);
  return FN(total)(acc[0]);
}

/* Item i of the terms, for `vectors` vectors of columns with differences d, GROUP or 1. */
TARGET static inline void FN(add_item)(const lip_dist_terms *t, size_t i, int k, float least, const V *d,
                                       V *acc, size_t vectors) {
  const float edge = least * t->dist[i];
  const V floor = ONE(&edge), by = ONE(t->inv + i), coef = ONE(t->coef + i);
  V s[GROUP];
  UNROLL for (size_t v = 0; v < vectors; v++) s[v] = ABS(d[v]);
  if (k >= SPARSE && !ANY(vectors == GROUP ? FN(most)(s) : s[0], floor)) return;
  UNROLL for (size_t v = 0; v < vectors; v++) acc[v] =
      FMA(coef, SIGNED(FN(slope)(MUL(KEEP(s[v], floor), by), k), d[v]), acc[v]);
}

/* GROUP L columns. */
TARGET static void FN(spread)(const lip_dist_terms *t, int k, const float *a0, float least, float *acc0) {
  V a[GROUP], acc[GROUP], d[GROUP];
  UNROLL for (size_t v = 0; v < GROUP; v++) {
    a[v] = LOAD(a0 + v * L);
    acc[v] = LOAD(acc0 + v * L);
  }
  for (size_t i = 0; i < t->m; i++) {
    const float *b = t->b + i * t->ld;
    UNROLL for (size_t v = 0; v < GROUP; v++) d[v] = SUB(a[v], LOAD(b + v * L));
    FN(add_item)(t, i, k, least, d, acc, GROUP);
  }
  UNROLL for (size_t v = 0; v < GROUP; v++) STORE(acc0 + v * L, acc[v]);
}

/* L columns, or fewer. */
TARGET static void FN(spread_rest)(const lip_dist_terms *t, int k, size_t n, const float *a0, float least,
                                   float *acc0) {
  const V a = FN(part)(a0, n);
  V acc = FN(part)(acc0, n), d;
  float out[L];
  for (size_t i = 0; i < t->m; i++) {
    d = SUB(a, FN(part)(t->b + i * t->ld, n));
    FN(add_item)(t, i, k, least, &d, &acc, 1);
  }
  STORE(out, acc);
  for (size_t i = 0; i < n && i < L; i++) acc0[i] = out[i];
}

static const family FN(family) = {ROWS,      COLS,      GROUP *L, L,          FN(tile),
                                  FN(place), FN(above), FN(sum),  FN(spread), FN(spread_rest)};

#undef TARGET
#undef V
#undef L
#undef ROWS
#undef COLS
#undef GROUP
#undef FN
#undef LOAD
#undef STORE
#undef ZERO
#undef ONE
#undef SUB
#undef ADD
#undef MUL
#undef FMA
#undef HOLD
#undef ABS
#undef TOP
#undef KEEP
#undef ANY
#undef SIGNED
#undef SAME
#undef MORE
