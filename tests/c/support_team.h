/* A team of threads for tests, each with scratch for products. */
#ifndef LIP_TESTS_SUPPORT_TEAM_H
#define LIP_TESTS_SUPPORT_TEAM_H

#include "core/tensor/team.h"

lip_team new_team(size_t threads); /* fails the test without memory; free_team */
void free_team(lip_team *t);

#endif
