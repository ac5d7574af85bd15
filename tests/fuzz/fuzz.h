/* What the harnesses share. A harness is one file, fuzz_NAME.c: LLVMFuzzerTestOneInput hands the bytes to one reader of
 * the engine and stops the program (FUZZ_MUST) when the reader breaks its word. Seeds: seeds.lua. Use: scripts/fuzz. */
#ifndef LIP_TESTS_FUZZ_H
#define LIP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/data/dataset.h"

/* What libFuzzer calls, and what it lends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Stops with a report, as a sanitizer would. */
_Noreturn void fuzz_broken(const char *file, int line, const char *what);
#define FUZZ_MUST(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))

/* An input begins, and is over: nothing may still be held, and memory must have been taken by what could be read, not
 * by what a header says. `bytes`: all that could be read, unpacked; `more`: what may be taken whatever the file is. */
void fuzz_begin(void);
void fuzz_end(size_t bytes, size_t more);

/* A file that holds these bytes, in memory; up to FUZZ_FILES of them at a time. The name is good until the same slot is
 * filled again. */
enum { FUZZ_FILES = 2 };
const char *fuzz_file(int slot, const uint8_t *bytes, size_t n);
/* What a reader can get out of it: its bytes, or what of them could be unpacked. */
size_t fuzz_readable(const char *path);

/* A status that a reader may answer damaged bytes with, and a message: out of memory is none. True: success. */
bool fuzz_answer(lip_status status, const lip_err *err);
/* Everything that a data set promises, and a batch of its first and last sample. Frees it. */
void fuzz_dataset(lip_dataset *d);

/* For safetensors: changes the header, whose length then says so, or the arrays in their place. */
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max, unsigned seed);

#endif
