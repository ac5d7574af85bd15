/* How many processors this process may use, which is not how many the machine has. */
#ifndef LIP_BASE_PROCESSORS_H
#define LIP_BASE_PROCESSORS_H

#include <stddef.h>

/* At least 1: those of the process's affinity mask (taskset, cpusets, containers), not more than the quota of its control
 * groups and than SLURM_CPUS_PER_TASK. Asks the system at each call (a few files are read). */
size_t lip_processors(void);

/* The smallest quota of processor time among a process's control groups and those above, in whole processors: rounded
 * down, at least 1; 0: none. Of both versions. `self`: its /proc/PID/cgroup; `root`: where the groups are mounted. */
size_t lip_cgroup_processors(const char *self, const char *root);

/* The whole number > 0 that a text holds, with nothing around it; 0: it holds none. */
size_t lip_whole(const char *text);

#endif
