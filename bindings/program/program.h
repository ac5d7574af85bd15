/* Shared by the files of the program lipwb. */
#ifndef LIP_PROGRAM_H
#define LIP_PROGRAM_H

#include <stddef.h>

#include <lua.h>

/* Calls the function below its narg arguments with a traceback added to errors; results as lua_pcall. */
int lipL_docall(lua_State *L, int narg, int results);
/* Writes a text to stderr; what comes from elsewhere (a script's words, names of files) moves no cursor. */
void lipL_tell(const char *text, size_t n);
/* Writes the error on top of the stack to stderr and pops it. */
void lipL_report(lua_State *L);
/* Reads, runs and prints until the end of the input. */
void lipL_repl(lua_State *L);

/* Where the lines of a session come from. */
typedef struct lipL_lines lipL_lines;
typedef enum lipL_line { LIPL_LINE, LIPL_END, LIPL_BREAK } lipL_line;

lipL_lines *lipL_lines_open(lua_State *L); /* NULL: no memory. Owned: lipL_lines_close */
void lipL_lines_close(lipL_lines *lines);  /* accepts NULL */
/* LIPL_LINE pushes the next line without its end; LIPL_END is the end of the input, LIPL_BREAK Ctrl-C. */
lipL_line lipL_lines_read(lipL_lines *lines, const char *prompt);

#endif
