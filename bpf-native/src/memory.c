/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's allocator: what a mostly idle process keeps of the memory that it has freed. */
#include "addon.h"
#include <malloc.h>

/*
 * mallocSettings(arenas, trim): at most so many arenas (threads share them), and free memory at the top beyond `trim` bytes goes back.
 * -EINVAL for less than one arena or a negative size.
 */
static napi_value malloc_settings(napi_env env, napi_callback_info info)
{
	struct args a;
	int arenas, trim;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "arenas", &arenas) || !arg_int(&a, 1, "trim", &trim))
		return NULL;
	if (arenas < 1 || trim < 0)
		return make_number(env, -EINVAL);
	return make_number(env, mallopt(M_ARENA_MAX, arenas) && mallopt(M_TRIM_THRESHOLD, trim) ? 0 : -EINVAL);
}

/* mallocTrim(): 1 = something went back to the kernel */
static napi_value trim_free(napi_env env, napi_callback_info info)
{
	struct args a;

	if (!args_read(env, info, 0, &a))
		return NULL;
	return make_number(env, malloc_trim(0));
}

const struct export memory_exports[] = {
	{"mallocSettings", malloc_settings},
	{"mallocTrim", trim_free},
	{NULL, NULL},
};
