/* What process.c and self.c share. */
#ifndef LIP_SYSTEM_PROCESS_H
#define LIP_SYSTEM_PROCESS_H

#include <stdbool.h>
#include <sys/resource.h>

#include <lua.h>

/* The variable that names the parent of a child that should not outlive it. */
#define LIP_PARENT "LIPWB_PARENT"

/* State letter and start time of a process (proc(5), stat, fields 3 and 22); false when there is none. */
bool lipL_processstat(long pid, char *state, unsigned long long *start);
/* Seconds of processor time. */
double lipL_processtime(const struct rusage *use);
/* nil, message, code: no file descriptors are left to wait with. */
int lipL_nodescriptors(lua_State *L);
/* Adds the functions about this process to the table on top. */
void lipL_open_self(lua_State *L);

#endif
