/* Shared by the two files of the program lipwb. */
#ifndef LIP_PROGRAM_H
#define LIP_PROGRAM_H

#include <lua.h>

/* Calls the function below its narg arguments with a traceback added to errors; results as lua_pcall. */
int lipL_docall(lua_State *L, int narg, int results);
/* Writes the error on top of the stack to stderr and pops it. */
void lipL_report(lua_State *L);
/* Reads, runs and prints until the end of the input. */
void lipL_repl(lua_State *L);

#endif
