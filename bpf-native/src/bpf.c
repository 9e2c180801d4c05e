// SPDX-License-Identifier: Apache-2.0
/* Maps, pins and information: one function per bpf(2) command. Lengths are the caller's: it knows the map. */
#include "addon.h"

#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>

static int sys_bpf(int cmd, union bpf_attr *attr)
{
	long result = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

static uint64_t address(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

/* mapCreate(type, keySize, valueSize, maxEntries, flags, innerFd | -1, name) */
static napi_value map_create(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct args a;
	uint32_t n[5];
	int inner;

	if (!args_read(env, info, 7, &a) || !arg_u32(&a, 0, "type", &n[0]) || !arg_u32(&a, 1, "keySize", &n[1]) ||
	    !arg_u32(&a, 2, "valueSize", &n[2]) || !arg_u32(&a, 3, "maxEntries", &n[3]) ||
	    !arg_u32(&a, 4, "flags", &n[4]) || !arg_int(&a, 5, "innerFd", &inner) ||
	    !arg_string(&a, 6, "name", attr.map_name, sizeof(attr.map_name)))
		return NULL;
	attr.map_type = n[0];
	attr.key_size = n[1];
	attr.value_size = n[2];
	attr.max_entries = n[3];
	attr.map_flags = n[4];
	if (inner >= 0)
		attr.inner_map_fd = inner;
	return make_number(env, sys_bpf(BPF_MAP_CREATE, &attr));
}

/* mapLookup(fd, key, value) */
static napi_value map_lookup(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes key, value;
	struct args a;
	int fd;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "key", 1, &key) ||
	    !arg_bytes(&a, 2, "value", 1, &value))
		return NULL;
	attr.map_fd = fd;
	attr.key = address(key.data);
	attr.value = address(value.data);
	return make_number(env, sys_bpf(BPF_MAP_LOOKUP_ELEM, &attr));
}

/* mapUpdate(fd, key, value, flags) */
static napi_value map_update(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes key, value;
	struct args a;
	uint32_t flags;
	int fd;

	if (!args_read(env, info, 4, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "key", 1, &key) ||
	    !arg_bytes(&a, 2, "value", 1, &value) || !arg_u32(&a, 3, "flags", &flags))
		return NULL;
	attr.map_fd = fd;
	attr.key = address(key.data);
	attr.value = address(value.data);
	attr.flags = flags;
	return make_number(env, sys_bpf(BPF_MAP_UPDATE_ELEM, &attr));
}

/* mapDelete(fd, key) */
static napi_value map_delete(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes key;
	struct args a;
	int fd;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "key", 1, &key))
		return NULL;
	attr.map_fd = fd;
	attr.key = address(key.data);
	return make_number(env, sys_bpf(BPF_MAP_DELETE_ELEM, &attr));
}

/* mapNextKey(fd, key | null, next) */
static napi_value map_next_key(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes key, next;
	struct args a;
	int fd;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes_or_null(&a, 1, "key", 1, &key) ||
	    !arg_bytes(&a, 2, "next", 1, &next))
		return NULL;
	attr.map_fd = fd;
	attr.key = address(key.data);
	attr.next_key = address(next.data);
	return make_number(env, sys_bpf(BPF_MAP_GET_NEXT_KEY, &attr));
}

static void store_u32(struct bytes *at, uint32_t value)
{
	memcpy(at->data, &value, sizeof(value));
}

static uint32_t load_u32(const struct bytes *at)
{
	uint32_t value;

	memcpy(&value, at->data, sizeof(value));
	return value;
}

/* mapLookupBatch(fd, cursorIn | null, cursorOut, keys, values, count: u32 in and out); -ENOENT = this was the last part */
static napi_value map_lookup_batch(napi_env env, napi_callback_info info)
{
	struct bytes in, out, keys, values, count;
	union bpf_attr attr = {};
	struct args a;
	int fd, result;

	if (!args_read(env, info, 6, &a) || !arg_int(&a, 0, "fd", &fd) ||
	    !arg_bytes_or_null(&a, 1, "cursorIn", 4, &in) || !arg_bytes(&a, 2, "cursorOut", 4, &out) ||
	    !arg_bytes(&a, 3, "keys", 1, &keys) || !arg_bytes(&a, 4, "values", 1, &values) ||
	    !arg_bytes(&a, 5, "count", 4, &count))
		return NULL;
	attr.batch.map_fd = fd;
	attr.batch.in_batch = address(in.data);
	attr.batch.out_batch = address(out.data);
	attr.batch.keys = address(keys.data);
	attr.batch.values = address(values.data);
	attr.batch.count = load_u32(&count);
	result = sys_bpf(BPF_MAP_LOOKUP_BATCH, &attr);
	/* A call that was refused before it began leaves count as it was. */
	store_u32(&count, result == 0 || result == -ENOENT ? attr.batch.count : 0);
	return make_number(env, result);
}

/* A call that failed did fewer than asked; one that was refused before it began leaves count as it was. */
static uint32_t done_of(const union bpf_attr *attr, uint32_t asked, int result)
{
	return result < 0 && attr->batch.count == asked ? 0 : attr->batch.count;
}

/* mapUpdateBatch(fd, keys, values, count: u32 in, done out, flags) */
static napi_value map_update_batch(napi_env env, napi_callback_info info)
{
	struct bytes keys, values, count;
	union bpf_attr attr = {};
	uint32_t flags;
	struct args a;
	int fd, result;

	if (!args_read(env, info, 5, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "keys", 1, &keys) ||
	    !arg_bytes(&a, 2, "values", 1, &values) || !arg_bytes(&a, 3, "count", 4, &count) ||
	    !arg_u32(&a, 4, "flags", &flags))
		return NULL;
	attr.batch.map_fd = fd;
	attr.batch.keys = address(keys.data);
	attr.batch.values = address(values.data);
	attr.batch.count = load_u32(&count);
	attr.batch.elem_flags = flags;
	result = sys_bpf(BPF_MAP_UPDATE_BATCH, &attr);
	store_u32(&count, done_of(&attr, load_u32(&count), result));
	return make_number(env, result);
}

/* mapDeleteBatch(fd, keys, count: u32 in, done out) */
static napi_value map_delete_batch(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes keys, count;
	struct args a;
	int fd, result;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "keys", 1, &keys) ||
	    !arg_bytes(&a, 2, "count", 4, &count))
		return NULL;
	attr.batch.map_fd = fd;
	attr.batch.keys = address(keys.data);
	attr.batch.count = load_u32(&count);
	result = sys_bpf(BPF_MAP_DELETE_BATCH, &attr);
	store_u32(&count, done_of(&attr, load_u32(&count), result));
	return make_number(env, result);
}

struct update_job {
	struct job job;
	union bpf_attr attr;
	int fd;
	uint8_t *keys, *values;
};

static void update_job_run(struct job *job)
{
	struct update_job *update = (struct update_job *)job;

	job->result = sys_bpf(BPF_MAP_UPDATE_BATCH, &update->attr);
	if (job->result == 0)
		job->result = update->attr.batch.count;
}

static void update_job_release(struct job *job)
{
	struct update_job *update = (struct update_job *)job;

	close(update->fd);
	free(update->keys);
	free(update->values);
}

static uint8_t *copy_of(const struct bytes *bytes)
{
	uint8_t *copy = malloc(bytes->length);

	if (copy)
		memcpy(copy, bytes->data, bytes->length);
	return copy;
}

/* mapUpdateBatchAsync(fd, keys, values, count, flags): the number written, or -errno; copies what it is given */
static napi_value map_update_batch_async(napi_env env, napi_callback_info info)
{
	struct bytes keys, values;
	struct update_job *update;
	uint32_t count, flags;
	struct args a;
	int fd;

	if (!args_read(env, info, 5, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "keys", 1, &keys) ||
	    !arg_bytes(&a, 2, "values", 1, &values) || !arg_u32(&a, 3, "count", &count) ||
	    !arg_u32(&a, 4, "flags", &flags))
		return NULL;
	update = calloc(1, sizeof(*update));
	if (!update)
		abort();
	update->job.run = update_job_run;
	update->job.release = update_job_release;
	update->keys = copy_of(&keys);
	update->values = copy_of(&values);
	if (!update->keys || !update->values)
		abort();
	update->fd = dup_cloexec(fd);
	update->attr.batch.map_fd = update->fd;
	update->attr.batch.keys = address(update->keys);
	update->attr.batch.values = address(update->values);
	update->attr.batch.count = count;
	update->attr.batch.elem_flags = flags;
	return job_start(env, &update->job, "mapUpdateBatchAsync");
}

struct delete_job {
	struct job job;
	union bpf_attr attr;
	int fd;
	uint8_t *key;
};

static void delete_job_run(struct job *job)
{
	job->result = sys_bpf(BPF_MAP_DELETE_ELEM, &((struct delete_job *)job)->attr);
}

static void delete_job_release(struct job *job)
{
	struct delete_job *delete = (struct delete_job *)job;

	close(delete->fd);
	free(delete->key);
}

/* mapDeleteAsync(fd, key) */
static napi_value map_delete_async(napi_env env, napi_callback_info info)
{
	struct delete_job *delete;
	struct bytes key;
	struct args a;
	int fd;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "key", 1, &key))
		return NULL;
	delete = calloc(1, sizeof(*delete));
	if (!delete || !(delete->key = copy_of(&key)))
		abort();
	delete->job.run = delete_job_run;
	delete->job.release = delete_job_release;
	delete->fd = dup_cloexec(fd);
	delete->attr.map_fd = delete->fd;
	delete->attr.key = address(delete->key);
	return job_start(env, &delete->job, "mapDeleteAsync");
}

/* objPin(fd, path) */
static napi_value obj_pin(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct args a;
	char path[4096];
	int fd;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_string(&a, 1, "path", path, sizeof(path)))
		return NULL;
	attr.pathname = address(path);
	attr.bpf_fd = fd;
	return make_number(env, sys_bpf(BPF_OBJ_PIN, &attr));
}

/* objGet(path) */
static napi_value obj_get(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct args a;
	char path[4096];

	if (!args_read(env, info, 1, &a) || !arg_string(&a, 0, "path", path, sizeof(path)))
		return NULL;
	attr.pathname = address(path);
	return make_number(env, sys_bpf(BPF_OBJ_GET, &attr));
}

/* objInfo(fd, out): bytes filled, as struct bpf_{map,prog,link}_info */
static napi_value obj_info(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct bytes out;
	struct args a;
	int fd, result;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "out", 1, &out))
		return NULL;
	memset(out.data, 0, out.length); /* non-zero input means pointers to the kernel */
	attr.info.bpf_fd = fd;
	attr.info.info = address(out.data);
	attr.info.info_len = out.length;
	result = sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	return make_number(env, result < 0 ? result : (int)attr.info.info_len);
}

/* fdById(kind: 0 program, 1 map, 2 link; id) */
static napi_value fd_by_id(napi_env env, napi_callback_info info)
{
	static const int commands[] = {BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID};
	union bpf_attr attr = {};
	uint32_t kind, id;
	struct args a;

	if (!args_read(env, info, 2, &a) || !arg_u32(&a, 0, "kind", &kind) || !arg_u32(&a, 1, "id", &id))
		return NULL;
	if (kind >= sizeof(commands) / sizeof(commands[0]))
		return throw_type(env, "kind must be 0, 1 or 2");
	attr.prog_id = id;
	return make_number(env, sys_bpf(commands[kind], &attr));
}

/* A signal that arrives while the verifier works ends it with EAGAIN; libbpf tries as often for whole objects. */
#define PROGRAM_LOAD_ATTEMPTS 5

/* programLoad(type, expectedAttachType, instructions, license, name): no log, for probes and tests */
static napi_value program_load(napi_env env, napi_callback_info info)
{
	struct bytes instructions;
	union bpf_attr attr = {};
	char license[32];
	uint32_t type, expected;
	struct args a;
	int result;

	if (!args_read(env, info, 5, &a) || !arg_u32(&a, 0, "type", &type) || !arg_u32(&a, 1, "expectedAttachType", &expected) ||
	    !arg_bytes(&a, 2, "instructions", 8, &instructions) || !arg_string(&a, 3, "license", license, sizeof(license)) ||
	    !arg_string(&a, 4, "name", attr.prog_name, sizeof(attr.prog_name)))
		return NULL;
	attr.prog_type = type;
	attr.expected_attach_type = expected;
	attr.insns = address(instructions.data);
	attr.insn_cnt = instructions.length / 8;
	attr.license = address(license);
	for (int attempt = 0; attempt < PROGRAM_LOAD_ATTEMPTS; attempt++) {
		result = sys_bpf(BPF_PROG_LOAD, &attr);
		if (result != -EAGAIN)
			break;
	}
	return make_number(env, result);
}

/* programTestRun(fd, data, dataOut | null, context | null, contextOut | null, repeat, result: u32 × 4) */
static napi_value program_test_run(napi_env env, napi_callback_info info)
{
	struct bytes data, data_out, context, context_out, out;
	union bpf_attr attr = {};
	uint32_t repeat, result[4];
	struct args a;
	int fd, error;

	if (!args_read(env, info, 7, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "data", 1, &data) ||
	    !arg_bytes_or_null(&a, 2, "dataOut", 1, &data_out) || !arg_bytes_or_null(&a, 3, "context", 1, &context) ||
	    !arg_bytes_or_null(&a, 4, "contextOut", 1, &context_out) || !arg_u32(&a, 5, "repeat", &repeat) ||
	    !arg_bytes(&a, 6, "result", sizeof(result), &out))
		return NULL;
	attr.test.prog_fd = fd;
	attr.test.repeat = repeat;
	attr.test.data_in = address(data.data);
	attr.test.data_size_in = data.length;
	attr.test.data_out = address(data_out.data);
	attr.test.data_size_out = data_out.length;
	attr.test.ctx_in = address(context.data);
	attr.test.ctx_size_in = context.length;
	attr.test.ctx_out = address(context_out.data);
	attr.test.ctx_size_out = context_out.length;
	error = sys_bpf(BPF_PROG_TEST_RUN, &attr);
	result[0] = attr.test.retval;
	result[1] = attr.test.duration;
	result[2] = attr.test.data_size_out;
	result[3] = attr.test.ctx_size_out;
	memcpy(out.data, result, sizeof(result));
	return make_number(env, error);
}

/* possibleCpus(): how many values a per-CPU map has */
static napi_value possible_cpus(napi_env env, napi_callback_info info)
{
	struct args a;

	if (!args_read(env, info, 0, &a))
		return NULL;
	return make_number(env, libbpf_num_possible_cpus());
}

const struct export bpf_exports[] = {
	{"mapCreate", map_create},
	{"mapLookup", map_lookup},
	{"mapUpdate", map_update},
	{"mapDelete", map_delete},
	{"mapNextKey", map_next_key},
	{"mapLookupBatch", map_lookup_batch},
	{"mapUpdateBatch", map_update_batch},
	{"mapDeleteBatch", map_delete_batch},
	{"mapUpdateBatchAsync", map_update_batch_async},
	{"mapDeleteAsync", map_delete_async},
	{"objPin", obj_pin},
	{"objGet", obj_get},
	{"objInfo", obj_info},
	{"fdById", fd_by_id},
	{"programLoad", program_load},
	{"programTestRun", program_test_run},
	{"possibleCpus", possible_cpus},
	{NULL, NULL},
};
