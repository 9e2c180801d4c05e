/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by all parts of the addon: argument readers that throw, jobs for libuv workers, namespaces. */
#ifndef STENTOR_ADDON_H
#define STENTOR_ADDON_H

#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <node_api.h>

#define MAX_ARGS 10

struct args {
	napi_env env;
	napi_value v[MAX_ARGS];
};

struct bytes {
	uint8_t *data;
	size_t length;
};

/* Each reader throws a TypeError that names the argument, and returns false. */
bool args_read(napi_env env, napi_callback_info info, size_t count, struct args *args);
bool arg_int(struct args *args, int i, const char *name, int *out);
bool arg_u32(struct args *args, int i, const char *name, uint32_t *out);
bool arg_u64(struct args *args, int i, const char *name, uint64_t *out);
bool arg_bool(struct args *args, int i, const char *name, bool *out);
bool arg_bytes(struct args *args, int i, const char *name, size_t least, struct bytes *out);
/* null gives {NULL, 0}. */
bool arg_bytes_or_null(struct args *args, int i, const char *name, size_t least, struct bytes *out);
bool arg_string(struct args *args, int i, const char *name, char *out, size_t size);
bool arg_function(struct args *args, int i, const char *name, napi_value *out);

napi_value throw_type(napi_env env, const char *message);
napi_value make_number(napi_env env, int64_t value);
napi_value make_bytes(napi_env env, const void *data, size_t length);

/* Opaque objects: a tagged JavaScript object around a pointer. */
napi_value make_opaque(napi_env env, const napi_type_tag *tag, void *pointer, napi_finalize finalize);
void *arg_opaque(struct args *args, int i, const char *name, const napi_type_tag *tag);

/*
 * A call that waits for RCU or RTNL runs in a libuv worker. `run` must use only what the job owns; `finish` makes the
 * value of the promise (a number from `result` when NULL); `release` frees what the job owns, not the job itself.
 */
struct job {
	napi_async_work work;
	napi_deferred deferred;
	int64_t result;
	void (*run)(struct job *job);
	napi_value (*finish)(napi_env env, struct job *job);
	void (*release)(struct job *job);
};
napi_value job_start(napi_env env, struct job *job, const char *name);

/* Runs between enter and leave are in the namespace `fd`; -1 = stay. leave() aborts when the way back is gone. */
int netns_enter(int fd, int *back);
void netns_leave(int back);

int dup_cloexec(int fd);

typedef napi_value (*export_fn)(napi_env env, napi_callback_info info);
struct export {
	const char *name;
	export_fn fn;
};
extern const struct export bpf_exports[];
extern const struct export object_exports[];
extern const struct export link_exports[];
extern const struct export ring_exports[];
extern const struct export netlink_exports[];
extern const struct export watch_exports[];
extern const struct export memory_exports[];
extern const struct export cpus_exports[];

#endif
