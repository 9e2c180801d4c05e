// SPDX-License-Identifier: Apache-2.0
/* The export table, argument readers and jobs. Names and order are those of native.d.ts. */
#include "addon.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>

napi_value throw_type(napi_env env, const char *message)
{
	napi_throw_type_error(env, "ERR_INVALID_ARG", message);
	return NULL;
}

static bool bad_argument(struct args *args, const char *name, const char *wanted)
{
	char message[128];

	snprintf(message, sizeof(message), "%s must be %s", name, wanted);
	throw_type(args->env, message);
	return false;
}

bool args_read(napi_env env, napi_callback_info info, size_t count, struct args *args)
{
	size_t given = MAX_ARGS;
	char message[64];

	args->env = env;
	if (napi_get_cb_info(env, info, &given, args->v, NULL, NULL) != napi_ok) {
		throw_type(env, "arguments cannot be read");
		return false;
	}
	if (given != count) {
		snprintf(message, sizeof(message), "%zu arguments wanted, %zu given", count, given);
		throw_type(env, message);
		return false;
	}
	return true;
}

static bool arg_whole(struct args *args, int i, double least, double most, double *out)
{
	if (napi_get_value_double(args->env, args->v[i], out) != napi_ok)
		return false;
	return *out >= least && *out <= most && *out == (double)(int64_t)*out;
}

bool arg_int(struct args *args, int i, const char *name, int *out)
{
	double value;

	if (!arg_whole(args, i, INT32_MIN, INT32_MAX, &value))
		return bad_argument(args, name, "a 32-bit integer");
	*out = (int)value;
	return true;
}

bool arg_u32(struct args *args, int i, const char *name, uint32_t *out)
{
	double value;

	if (!arg_whole(args, i, 0, UINT32_MAX, &value))
		return bad_argument(args, name, "an unsigned 32-bit integer");
	*out = (uint32_t)value;
	return true;
}

bool arg_u64(struct args *args, int i, const char *name, uint64_t *out)
{
	double value;

	if (!arg_whole(args, i, 0, 9007199254740991.0, &value))
		return bad_argument(args, name, "an unsigned safe integer");
	*out = (uint64_t)value;
	return true;
}

bool arg_bool(struct args *args, int i, const char *name, bool *out)
{
	if (napi_get_value_bool(args->env, args->v[i], out) != napi_ok)
		return bad_argument(args, name, "a boolean");
	return true;
}

bool arg_bytes(struct args *args, int i, const char *name, size_t least, struct bytes *out)
{
	napi_typedarray_type type;
	char wanted[48];
	void *data;

	if (napi_get_typedarray_info(args->env, args->v[i], &type, &out->length, &data, NULL, NULL) != napi_ok ||
	    type != napi_uint8_array)
		return bad_argument(args, name, "a Uint8Array");
	if (out->length < least) {
		snprintf(wanted, sizeof(wanted), "at least %zu bytes long", least);
		return bad_argument(args, name, wanted);
	}
	out->data = data;
	return true;
}

bool arg_bytes_or_null(struct args *args, int i, const char *name, size_t least, struct bytes *out)
{
	napi_valuetype type;

	if (napi_typeof(args->env, args->v[i], &type) == napi_ok && type == napi_null) {
		out->data = NULL;
		out->length = 0;
		return true;
	}
	return arg_bytes(args, i, name, least, out);
}

bool arg_string(struct args *args, int i, const char *name, char *out, size_t size)
{
	char wanted[64];
	size_t length;

	if (napi_get_value_string_utf8(args->env, args->v[i], NULL, 0, &length) != napi_ok)
		return bad_argument(args, name, "a string");
	if (length >= size) {
		snprintf(wanted, sizeof(wanted), "shorter than %zu bytes", size);
		return bad_argument(args, name, wanted);
	}
	napi_get_value_string_utf8(args->env, args->v[i], out, size, &length);
	if (strlen(out) != length)
		return bad_argument(args, name, "without NUL");
	return true;
}

bool arg_function(struct args *args, int i, const char *name, napi_value *out)
{
	napi_valuetype type;

	if (napi_typeof(args->env, args->v[i], &type) != napi_ok || type != napi_function)
		return bad_argument(args, name, "a function");
	*out = args->v[i];
	return true;
}

napi_value make_number(napi_env env, int64_t value)
{
	napi_value out = NULL;

	napi_create_int64(env, value, &out);
	return out;
}

napi_value make_bytes(napi_env env, const void *data, size_t length)
{
	napi_value buffer = NULL, out = NULL;
	void *copy;

	if (napi_create_arraybuffer(env, length, &copy, &buffer) != napi_ok)
		return NULL;
	if (length > 0)
		memcpy(copy, data, length);
	napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &out);
	return out;
}

napi_value make_opaque(napi_env env, const napi_type_tag *tag, void *pointer, napi_finalize finalize)
{
	napi_value out = NULL;

	if (napi_create_object(env, &out) != napi_ok ||
	    napi_wrap(env, out, pointer, finalize, NULL, NULL) != napi_ok ||
	    napi_type_tag_object(env, out, tag) != napi_ok)
		return NULL;
	return out;
}

void *arg_opaque(struct args *args, int i, const char *name, const napi_type_tag *tag)
{
	bool matches = false;
	void *pointer = NULL;

	if (napi_check_object_type_tag(args->env, args->v[i], tag, &matches) != napi_ok || !matches ||
	    napi_unwrap(args->env, args->v[i], &pointer) != napi_ok) {
		bool pending = false;
		napi_value ignored;

		napi_is_exception_pending(args->env, &pending);
		if (pending)
			napi_get_and_clear_last_exception(args->env, &ignored);
		bad_argument(args, name, "what its open call returned");
		return NULL;
	}
	return pointer;
}

static void job_run(napi_env env, void *data)
{
	struct job *job = data;

	(void)env;
	job->run(job);
}

static void job_complete(napi_env env, napi_status status, void *data)
{
	struct job *job = data;
	napi_value value = NULL;

	if (status == napi_cancelled)
		job->result = -ECANCELED;
	if (job->finish && status == napi_ok)
		value = job->finish(env, job);
	if (!value)
		value = make_number(env, job->result);
	napi_resolve_deferred(env, job->deferred, value);
	napi_delete_async_work(env, job->work);
	if (job->release)
		job->release(job);
	free(job);
}

napi_value job_start(napi_env env, struct job *job, const char *name)
{
	napi_value promise = NULL, label = NULL;

	if (napi_create_promise(env, &job->deferred, &promise) != napi_ok)
		goto failed;
	napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label);
	if (napi_create_async_work(env, NULL, label, job_run, job_complete, job, &job->work) != napi_ok ||
	    napi_queue_async_work(env, job->work) != napi_ok)
		goto failed;
	return promise;
failed:
	if (job->release)
		job->release(job);
	free(job);
	napi_throw_error(env, "ERR_WORKER", "a worker could not be asked");
	return NULL;
}

int netns_enter(int fd, int *back)
{
	int error;

	*back = -1;
	if (fd < 0)
		return 0;
	*back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*back < 0)
		return -errno;
	if (setns(fd, CLONE_NEWNET) == 0)
		return 0;
	error = -errno;
	close(*back);
	*back = -1;
	return error;
}

/* A thread that is stuck in another namespace would configure the wrong node: there is no safe way on. */
void netns_leave(int back)
{
	int error = errno;

	if (back < 0)
		return;
	if (setns(back, CLONE_NEWNET) != 0) {
		fprintf(stderr, "stentor: cannot return to the own network namespace: %s\n", strerror(errno));
		abort();
	}
	close(back);
	errno = error;
}

int dup_cloexec(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? -errno : copy;
}

static void define_exports(napi_env env, napi_value exports, const struct export *table)
{
	for (const struct export *e = table; e->name; e++) {
		napi_value fn = NULL;

		napi_create_function(env, e->name, NAPI_AUTO_LENGTH, e->fn, NULL, &fn);
		napi_set_named_property(env, exports, e->name, fn);
	}
}

NAPI_MODULE_INIT()
{
	define_exports(env, exports, bpf_exports);
	define_exports(env, exports, object_exports);
	define_exports(env, exports, link_exports);
	define_exports(env, exports, ring_exports);
	define_exports(env, exports, netlink_exports);
	define_exports(env, exports, watch_exports);
	define_exports(env, exports, memory_exports);
	define_exports(env, exports, cpus_exports);
	return exports;
}
