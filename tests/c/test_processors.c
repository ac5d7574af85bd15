/* How many processors a process may use: made-up control groups of both versions, affinity, environment. */
#define _GNU_SOURCE
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/processors.h"
#include "core/base/thread.h"

static void only_whole_numbers(void **state) {
  (void)state;
  static const char *const bad[] = {"", "0", "abc", "4,2", "4.0", " 4", "4 ", "+4", "-4", "0x4", "4e0", "4;"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(lip_whole(bad[i]), 0);
  assert_int_equal(lip_whole("1"), 1);
  assert_int_equal(lip_whole("0064"), 64);
  assert_true(lip_whole("99999999999999999999999999") > 1000);
}

/* ---- control groups ---- */

typedef struct groups {
  char root[256], self[288];
} groups;

static void write_text(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static void make(groups *g) {
  const char *base = getenv("TMPDIR");
  snprintf(g->root, sizeof g->root, "%.200s/lipwb-test-XXXXXX", base && *base ? base : "/tmp");
  assert_non_null(mkdtemp(g->root));
  snprintf(g->self, sizeof g->self, "%s/self", g->root);
}

/* A file of a group, the folders above it made as needed. */
static void put(const groups *g, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", g->root, name);
  for (char *at = path + strlen(g->root) + 1; (at = strchr(at, '/')); *at++ = '/') {
    *at = '\0';
    mkdir(path, 0700);
  }
  write_text(path, text);
}

static size_t limit(const groups *g, const char *self) {
  write_text(g->self, self);
  return lip_cgroup_processors(g->self, g->root);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
  (void)info, (void)kind, (void)place;
  return remove(path);
}

static void unmake(const groups *g) {
  assert_int_equal(nftw(g->root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void quotas_of_version_2(void **state) {
  (void)state;
  groups g;
  make(&g);
  assert_int_equal(lip_cgroup_processors("/nonexistent", g.root), 0);
  assert_int_equal(limit(&g, "0::/a/b\n"), 0);
  put(&g, "a/cpu.max", "300000 100000\n");
  put(&g, "a/b/cpu.max", "max 100000\n");
  assert_int_equal(limit(&g, "0::/a/b\n"), 3); /* the group above */
  assert_int_equal(limit(&g, "0::/a\n"), 3);
  assert_int_equal(limit(&g, "0::/\n"), 0);
  put(&g, "a/b/cpu.max", "250000 100000\n");
  assert_int_equal(limit(&g, "0::/a/b\n"), 2); /* rounded down */
  put(&g, "a/b/cpu.max", "5000 100000\n");
  assert_int_equal(limit(&g, "0::/a/b\n"), 1); /* but never to nothing */
  put(&g, "cpu.max", "700000 100000\n");
  assert_int_equal(limit(&g, "0::/not/to/be/seen/from/here\n"), 7);
  assert_int_equal(limit(&g, "0::/../../elsewhere\n"), 7);
  static const char *const odd[] = {"",    "max",       "0 100000", "100000",
                                    "x y", "-1 100000", "100000 0", "nan nan"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    put(&g, "cpu.max", odd[i]);
    assert_int_equal(limit(&g, "0::/\n"), 0);
  }
  static const char *const lines[] = {
      "", "\n", "0", "0:", "0::", "::", "0::\n", "garbage", "0:cpu", "0:::::/a/b"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_int_equal(limit(&g, lines[i]), 0);
  unmake(&g);
}

static void quotas_of_version_1(void **state) {
  (void)state;
  groups g;
  make(&g);
  static const char self[] = "5:memory:/m\n4:cpuset:/m\n3:cpu,cpuacct:/x/y\n0::/u\n";
  put(&g, "memory/m/cpu.cfs_quota_us", "100000\n");
  put(&g, "memory/m/cpu.cfs_period_us", "100000\n");
  put(&g, "cpuset/m/cpu.cfs_quota_us", "100000\n");
  put(&g, "cpuset/m/cpu.cfs_period_us", "100000\n");
  assert_int_equal(limit(&g, self), 0);
  put(&g, "cpu,cpuacct/x/cpu.cfs_quota_us", "1200000\n");
  put(&g, "cpu,cpuacct/x/cpu.cfs_period_us", "200000\n");
  put(&g, "cpu,cpuacct/x/y/cpu.cfs_quota_us", "-1\n");
  put(&g, "cpu,cpuacct/x/y/cpu.cfs_period_us", "200000\n");
  assert_int_equal(limit(&g, self), 6);
  put(&g, "cpu/x/y/cpu.cfs_quota_us", "400000\n");
  put(&g, "cpu/x/y/cpu.cfs_period_us", "100000\n");
  assert_int_equal(limit(&g, self), 4);
  put(&g, "unified/u/cpu.max", "200000 100000\n"); /* both versions side by side */
  assert_int_equal(limit(&g, self), 2);
  unmake(&g);
}

/* ---- the process ---- */

static void affinity_and_environment(void **state) {
  (void)state;
  unsetenv("SLURM_CPUS_PER_TASK");
  unsetenv("LIPWB_THREADS");
  cpu_set_t before, one;
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  size_t all = lip_processors();
  assert_true(all >= 1 && all <= (size_t)CPU_COUNT(&before));
  setenv("SLURM_CPUS_PER_TASK", "1", 1);
  assert_int_equal(lip_processors(), 1);
  setenv("SLURM_CPUS_PER_TASK", "1000000", 1); /* no more than there are */
  assert_int_equal(lip_processors(), all);
  setenv("SLURM_CPUS_PER_TASK", "", 1);
  assert_int_equal(lip_processors(), all);
  unsetenv("SLURM_CPUS_PER_TASK");
  CPU_ZERO(&one);
  for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
  assert_int_equal(lip_processors(), 1);
  assert_int_equal(lip_default_threads(NULL), 1);
  assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
  setenv("LIPWB_THREADS", "3", 1);
  assert_int_equal(lip_default_threads(NULL), 3);
  setenv("LIPWB_THREADS", "1000", 1);
  assert_int_equal(lip_default_threads(NULL), LIP_MAX_THREADS);
  setenv("LIPWB_THREADS", "", 1);
  assert_int_equal(lip_default_threads(NULL), all < LIP_MAX_THREADS ? all : LIP_MAX_THREADS);
  static const char *const bad[] = {"abc", "4,2", "0", "-1", "2.5", "2 "};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    lip_err err = {0};
    setenv("LIPWB_THREADS", bad[i], 1);
    assert_int_equal(lip_default_threads(&err), 0);
    assert_int_equal(err.code, LIP_ARGUMENT);
    assert_non_null(strstr(err.msg, "LIPWB_THREADS"));
    assert_non_null(strstr(err.msg, bad[i]));
    assert_null(lip_pool_new(0, &err));
    lip_pool *pool = lip_pool_new(2, &err); /* nobody asked */
    assert_non_null(pool);
    lip_pool_free(pool);
  }
  unsetenv("LIPWB_THREADS");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_whole_numbers),
      cmocka_unit_test(quotas_of_version_2),
      cmocka_unit_test(quotas_of_version_1),
      cmocka_unit_test(affinity_and_environment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
