/* The micro-kernel of BLIS (Van Zee, van de Geijn 2015), asked for with its block sizes at run time. BLIS's own sgemm packs
 * both operands on every call through an object layer made for large matrices; the products of a training step
 * are small, and here they ran at 15 to 50 % of the machine. So the packing is done in product.c, into memory its
 * caller owns, and only the kernel is BLIS's. */
#include "core/tensor/kernel.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(LIP_BLIS)
#include <blis.h>
#endif

static struct {
  bool plain;
  lip_kernel kernel;
  char name[96];
#if defined(LIP_BLIS)
  sgemm_ukr_ft run;
  cntx_t *context;
#endif
} found = {.plain = true, .name = "plain loops"};

#if defined(LIP_BLIS)

enum { MAX_MC = 480, MAX_KC = 384, MAX_NC = 768 };

/* BLIS 0.9 tells AVX-512 machines apart by the processor's marketing name and takes AVX2 kernels when it does not
 * know it; the instructions themselves are what matters. A choice of the user stands. */
static bool has_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

static bool has_avx2(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

static size_t round_down(size_t value, size_t multiple, size_t most) {
  size_t v = value < most ? value : most;
  return v < multiple ? multiple : v / multiple * multiple;
}

/* A family that this BLIS was built with, by number or name; -1: no such. BLIS aborts on any other number in
 * BLIS_ARCH_TYPE. */
static int family(const char *text) {
  static const int built[] = {
#ifdef BLIS_CONFIG_SKX
      BLIS_ARCH_SKX,
#endif
#ifdef BLIS_CONFIG_HASWELL
      BLIS_ARCH_HASWELL,
#endif
#ifdef BLIS_CONFIG_SANDYBRIDGE
      BLIS_ARCH_SANDYBRIDGE,
#endif
#ifdef BLIS_CONFIG_PENRYN
      BLIS_ARCH_PENRYN,
#endif
#ifdef BLIS_CONFIG_ZEN3
      BLIS_ARCH_ZEN3,
#endif
#ifdef BLIS_CONFIG_ZEN2
      BLIS_ARCH_ZEN2,
#endif
#ifdef BLIS_CONFIG_ZEN
      BLIS_ARCH_ZEN,
#endif
#ifdef BLIS_CONFIG_GENERIC
      BLIS_ARCH_GENERIC,
#endif
  };
  char *end;
  long id = strtol(text, &end, 10);
  bool number = end != text && *end == '\0';
  for (size_t i = 0; i < sizeof built / sizeof *built; i++)
    if (number ? built[i] == id : strcmp(bli_arch_string((arch_t)built[i]), text) == 0) return built[i];
  return -1;
}

/* Only what this processor has, whatever was asked for. */
static lip_level level_of(arch_t arch) {
  const char *name = bli_arch_string(arch);
  if (strcmp(name, "skx") == 0 && has_avx512()) return LIP_LEVEL_AVX512;
  bool wide = strcmp(name, "haswell") == 0 || strncmp(name, "zen", 3) == 0 || strcmp(name, "skx") == 0;
  return wide && has_avx2() ? LIP_LEVEL_AVX2 : LIP_LEVEL_ANY;
}

static size_t block_size(cntx_t *c, bszid_t which) {
  return (size_t)bli_cntx_get_blksz_def_dt(BLIS_FLOAT, which, c);
}

/* Whether all of tile (i, j) of the block stands above the diagonal; rs == 1: j counts rows of C. */
static bool above(const lip_block *b, size_t i, size_t mi, size_t j, size_t nj) {
  return b->rs == 1 ? b->col + i > b->row + j + nj - 1 : b->col + j > b->row + i + mi - 1;
}

/* The block's tiles, those at the edge through a buffer with the same arithmetic. */
static void multiply(const lip_block *b) {
  const size_t mr = found.kernel.mr, nr = found.kernel.nr;
  float alpha = b->alpha, beta = b->beta, zero = 0; /* BLIS knows no const */
  auxinfo_t aux;
  memset(&aux, 0, sizeof aux);
  size_t tile_rs = b->rs == 1 ? 1 : nr, tile_cs = b->rs == 1 ? mr : 1;
  float *first = (float *)(uintptr_t)b->p, *q = (float *)(uintptr_t)b->q;
  for (size_t j = 0; j < b->n; j += nr, q += b->q_step) {
    float *p = first;
    for (size_t i = 0; i < b->m; i += mr, p += b->p_step) {
      float *c = b->C + i * b->rs + j * b->cs;
      size_t mi = b->m - i < mr ? b->m - i : mr, nj = b->n - j < nr ? b->n - j : nr;
      if (b->lower && above(b, i, mi, j, nj)) continue;
      aux.a_next = i + mr < b->m ? p + b->p_step : first;
      aux.b_next = i + mr < b->m ? q : q + b->q_step;
      if (mi == mr && nj == nr) {
        found.run((dim_t)mr, (dim_t)nr, (dim_t)b->k, &alpha, p, q, &beta, c, (inc_t)b->rs, (inc_t)b->cs, &aux,
                  found.context);
        continue;
      }
      found.run((dim_t)mr, (dim_t)nr, (dim_t)b->k, &alpha, p, q, &zero, b->tile, (inc_t)tile_rs,
                (inc_t)tile_cs, &aux, found.context);
      for (size_t jj = 0; jj < nj; jj++)
        for (size_t ii = 0; ii < mi; ii++) {
          float t = b->tile[ii * tile_rs + jj * tile_cs];
          c[ii * b->rs + jj * b->cs] = beta == 0 ? t : c[ii * b->rs + jj * b->cs] + t;
        }
    }
  }
}

/* BLIS chooses its kernels once, in bli_init, and listens to BLIS_ARCH_TYPE alone. */
static arch_t init_blis(int id) {
  char number[16], given[16];
  const char *before = getenv("BLIS_ARCH_TYPE");
  bool keep = before && family(before) >= 0;
  if (keep) snprintf(given, sizeof given, "%s", before);
  snprintf(number, sizeof number, "%d", id);
  if (id >= 0)
    setenv("BLIS_ARCH_TYPE", number, 1);
  else
    unsetenv("BLIS_ARCH_TYPE");
  bli_init(); /* before any query: the family is looked up in tables that this fills */
  found.context = bli_gks_query_cntx();
  arch_t arch = bli_arch_query_id();
  if (keep)
    setenv("BLIS_ARCH_TYPE", given, 1);
  else
    unsetenv("BLIS_ARCH_TYPE");
  return arch;
}

static void start_blis(void) {
  const char *name = getenv("LIPWB_KERNELS") ? "LIPWB_KERNELS" : "BLIS_ARCH_TYPE", *wish = getenv(name);
  int id = wish ? family(wish) : -1;
  bool refused = wish && id < 0;
  if (id < 0 && has_avx512()) id = BLIS_ARCH_SKX;
  arch_t arch = init_blis(id);
  cntx_t *c = found.context;
  void *run = bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, c);
  memcpy(&found.run, &run, sizeof run); /* ISO C has no cast from object to function pointer */
  size_t mr = block_size(c, BLIS_MR), nr = block_size(c, BLIS_NR);
  found.kernel =
      (lip_kernel){.level = level_of(arch),
                   .mr = mr,
                   .nr = nr,
                   .mc = round_down(block_size(c, BLIS_MC), mr, MAX_MC),
                   .nc = round_down(MAX_NC, nr, MAX_NC),
                   .kc = round_down(block_size(c, BLIS_KC), 1, MAX_KC),
                   .by_columns = !bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, c),
                   .multiply = multiply};
  found.plain = false;
  snprintf(found.name, sizeof found.name, "blis %s %s%s%s%s", bli_info_get_version_str(),
           bli_arch_string(arch), refused ? " (" : "", refused ? name : "", refused ? " ignored)" : "");
}

#endif

static void start(void) {
#if defined(LIP_BLIS)
  const char *wish = getenv("LIPWB_KERNELS");
  if (!wish || strcmp(wish, "plain") != 0) start_blis();
#endif
}

static void ready(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start);
}

const lip_kernel *lip_kernel_get(void) {
  ready();
  return found.plain ? NULL : &found.kernel;
}

const char *lip_kernel_name(void) {
  ready();
  return found.name;
}
