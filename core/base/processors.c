#define _GNU_SOURCE
#include "core/base/processors.h"

#include <ctype.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, MOST = 1 << 20 };

size_t lip_whole(const char *text) {
  if (!isdigit((unsigned char)*text)) return 0; /* strtoul takes blanks and signs */
  char *end;
  unsigned long n = strtoul(text, &end, 10);
  if (*end) return 0;
  return n < MOST ? n : MOST;
}

/* ---- affinity ---- */

static size_t smaller(size_t limit, size_t n) {
  return limit == 0 || (n > 0 && n < limit) ? n : limit;
}

/* The kernel refuses a mask that is shorter than its own. 0: it says nothing. */
static size_t in_mask(void) {
  for (size_t cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    size_t size = CPU_ALLOC_SIZE(cpus);
    if (!set) return 0;
    int bad = sched_getaffinity(0, size, set);
    size_t n = bad ? 0 : (size_t)CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (!bad) return n;
  }
  return 0;
}

/* ---- control groups ---- */

/* The first line of a file, "" when there is none. */
static void first_line(const char *path, char *line, int size) {
  line[0] = '\0';
  FILE *file = fopen(path, "r");
  if (!file) return;
  if (!fgets(line, size, file)) line[0] = '\0';
  fclose(file);
}

static size_t quotient(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return 0; /* -1: none */
  double n = quota / period;
  return n < 1 ? 1 : n < MOST ? (size_t)n : MOST;
}

/* What one group says: version 2 in a file, version 1 in two. */
static size_t quota_of(const char *group) {
  char path[PATH_SIZE + 32], line[128];
  char *end;
  snprintf(path, sizeof path, "%s/cpu.max", group);
  first_line(path, line, sizeof line);
  if (line[0]) {
    double quota = strtod(line, &end);
    return end == line ? 0 : quotient(quota, strtod(end, NULL)); /* "max 100000" */
  }
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", group);
  first_line(path, line, sizeof line);
  double quota = strtod(line, NULL);
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", group);
  first_line(path, line, sizeof line);
  return quotient(quota, strtod(line, NULL));
}

/* The group at `path` below a mount point, and all above it up to there: in a container the path may be that of the host,
 * and then only the last of these is to be seen. */
static size_t quota_along(const char *mount, const char *path) {
  char group[PATH_SIZE];
  size_t base = strlen(mount), limit = 0;
  bool outside = strstr(path, "/..") != NULL; /* of this process's view */
  int n = snprintf(group, sizeof group, "%s%s", mount, outside ? "" : path);
  if (n < 0 || (size_t)n >= sizeof group) return 0;
  for (;;) {
    limit = smaller(limit, quota_of(group));
    char *slash = strrchr(group, '/');
    if (!slash || (size_t)(slash - group) < base) return limit;
    *slash = '\0';
  }
}

static bool lists_cpu(const char *controllers) {
  for (const char *at = controllers; (at = strstr(at, "cpu")); at += 3)
    if ((at == controllers || at[-1] == ',') && (at[3] == '\0' || at[3] == ',')) return true;
  return false;
}

/* A line is "number:controllers:path"; version 2 has number 0 and no controllers. */
static size_t quota_of_line(char *line, const char *root) {
  char mount[PATH_SIZE];
  line[strcspn(line, "\n")] = '\0';
  char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!path || strlen(root) + (size_t)(path - controllers) + 16 > sizeof mount) return 0;
  controllers++;
  *path++ = '\0';
  if (*controllers == '\0') {
    size_t limit = quota_along(root, path);
    snprintf(mount, sizeof mount, "%s/unified", root); /* beside groups of version 1 */
    return smaller(limit, quota_along(mount, path));
  }
  if (!lists_cpu(controllers)) return 0;
  snprintf(mount, sizeof mount, "%s/%s", root, controllers);
  size_t limit = quota_along(mount, path);
  snprintf(mount, sizeof mount, "%s/cpu", root);
  return smaller(limit, quota_along(mount, path));
}

size_t lip_cgroup_processors(const char *self, const char *root) {
  char line[PATH_SIZE];
  size_t limit = 0;
  FILE *file = fopen(self, "r");
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) limit = smaller(limit, quota_of_line(line, root));
  fclose(file);
  return limit;
}

/* ---- all of it ---- */

size_t lip_processors(void) {
  size_t n = in_mask();
  if (n == 0) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    n = online > 0 ? (size_t)online : 1;
  }
  n = smaller(n, lip_cgroup_processors("/proc/self/cgroup", "/sys/fs/cgroup"));
  const char *slurm = getenv("SLURM_CPUS_PER_TASK");
  return smaller(n, slurm ? lip_whole(slurm) : 0);
}
