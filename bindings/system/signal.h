/* Signals, and sleeping until one comes: for the program and for the files about processes. */
#ifndef LIP_SYSTEM_SIGNAL_H
#define LIP_SYSTEM_SIGNAL_H

#include <stdbool.h>

#include <lua.h>

/* ---- Ctrl-C: for the program; the module in a stock lua5.4 leaves signals alone ---- */

/* From now on SIGINT stops what the state `L` runs: C code sees the cancel flag, Lua code (in any coroutine) an
 * error "interrupted". A second SIGINT before lipL_sigint_rearm ends the process with exit code 130. L is the main
 * thread; its coroutine.resume and coroutine.wrap are replaced by versions that tell who is running. */
void lipL_sigint_install(lua_State *L);
/* Forgets earlier interrupts: a session goes on. */
void lipL_sigint_rearm(void);
/* True when SIGINT came since the last rearm. */
bool lipL_sigint_seen(void);
/* The error of an interrupt has been caught inside of a C function called by L: the flag is raised again, and L stops where
 * that function returns, as if the signal had come while it ran. */
void lipL_interrupt(lua_State *L);
/* lip.process.signals: what SIGINT, SIGTERM, SIGHUP and SIGUSR1 do; the word stands at idx. */
void lipL_signals(lua_State *L, int idx);
/* Pushes how many were held and the name of the last; returns how many values. */
int lipL_pending(lua_State *L);
/* "TERM" for 15, NULL when it has no name here; and back (with or without SIG), -1. */
const char *lipL_signalname(int number);
int lipL_signalnumber(const char *name);
/* Sleeping calls end early: a signal came that no one has asked about, or the state is being stopped. */
bool lipL_called(void);
/* Before lipL_doze. False: no file descriptors left. */
bool lipL_wake_open(void);
/* Sleeps until that time of lip_seconds at most; the end of a child and any handled signal wake it, and so may a
 * second gone by. */
void lipL_doze(double until);
/* The state is about to be closed: from here on SIGINT ends the process. */
void lipL_sigint_uninstall(void);

#endif
