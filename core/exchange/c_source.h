/* A net as C source for small devices: NAME.h, NAME.c and NAME_test.c, C99 without allocation, recursion or libraries
 * (but sqrtf of <math.h> where a root is taken). What is written carries out the steps of layer/emit.h in float32, in a
 * fixed order, so that every statement about the net as executed holds for it too. */
#ifndef LIP_EXCHANGE_C_SOURCE_H
#define LIP_EXCHANGE_C_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/net/net.h"

/* Longest name: NAME_selftest and the like stay within the 31 characters that C99 promises to tell apart. */
#define LIP_C_NAME 20

/* Most bytes of constants in program memory: pointers have 16 bits, and vectors come first. */
#define LIP_C_PROGMEM 65000

/* Rows of which some are taken for the self-test where none are given. */
#define LIP_C_SAMPLES 64

typedef struct lip_c_conf {
  const char *folder;  /* made if it is not there; the folder around it is */
  const char *name;    /* a C identifier that starts all others, and the files' names */
  bool progmem;        /* constants in the program memory of AVR processors, read through <avr/pgmspace.h> */
  size_t n_sample;     /* inputs of the self-test; 0: a few that are made up */
  const float *sample; /* (n_sample, n_in) */
  /* (C, C) constants of differences of two classes (net.h) from the norm of the input, proved elsewhere; NULL: products */
  const double *pairs;
  const char *method;      /* what the constants come from, for people to read; NULL: "product" */
  const char *certificate; /* SHA-256 of the file they stand in, or NULL */
} lip_c_conf;

/* Writes the three files: a full disk leaves those that were there, all three of them (only who is killed between two
 * renames leaves old beside new). Runs the net (its buffers grow, what the last pass has left is gone). LIP_OPTION: a name that C cannot have; LIP_UNSUPPORTED names the layer that cannot be written, or says
 * that program memory is too small; LIP_NOT_FINITE:
 * some weight is NaN or infinite; LIP_IO, LIP_NOT_FOUND, LIP_MEMORY. */
lip_status lip_c_write(lip_net *net, const lip_c_conf *conf, lip_err *err);

/* Whether `name` can start the identifiers of C source; else LIP_OPTION and why not. */
lip_status lip_c_name(const char *name, lip_err *err);

#endif
