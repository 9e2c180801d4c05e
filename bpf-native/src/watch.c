// SPDX-License-Identifier: Apache-2.0
/* Calls a function when a descriptor becomes readable: uv_poll in Node's own loop, for ring buffers and netlink sockets. */
#include "addon.h"

#include <uv.h>

struct watch {
	uv_poll_t poll;
	napi_env env;
	napi_ref callback;
	napi_ref self; /* an open watch is never collected */
	napi_async_context context;
	napi_async_cleanup_hook_handle hook;
	int fd;
	bool closing;
	bool collected;
	bool closed;
};

static const napi_type_tag watch_tag = {0x7761746368000001, 0x7374656e746f7203};

static void watch_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;

	close(watch->fd);
	watch->closed = true;
	if (watch->hook)
		napi_remove_async_cleanup_hook(watch->hook);
	watch->hook = NULL;
	if (watch->collected)
		free(watch);
}

static void watch_stop(struct watch *watch)
{
	watch->closing = true;
	uv_poll_stop(&watch->poll);
	napi_delete_reference(watch->env, watch->callback);
	napi_delete_reference(watch->env, watch->self);
	napi_async_destroy(watch->env, watch->context);
	uv_close((uv_handle_t *)&watch->poll, watch_closed);
}

static void watch_cleanup(napi_async_cleanup_hook_handle hook, void *data)
{
	struct watch *watch = data;

	(void)hook;
	if (!watch->closing)
		watch_stop(watch);
}

static void watch_finalize(napi_env env, void *data, void *hint)
{
	struct watch *watch = data;

	(void)env;
	(void)hint;
	/* Freed by whoever is last: this, or libuv's close callback. */
	watch->collected = true;
	if (watch->closed)
		free(watch);
}

static void watch_ready(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = poll->data;
	napi_value callback, receiver, argument, ignored;
	napi_handle_scope scope;
	napi_env env = watch->env;

	(void)events;
	napi_open_handle_scope(env, &scope);
	napi_get_reference_value(env, watch->callback, &callback);
	napi_get_global(env, &receiver); /* make_callback wants an object */
	napi_create_int32(env, status, &argument);
	if (napi_make_callback(env, watch->context, receiver, callback, 1, &argument, &ignored) == napi_pending_exception) {
		napi_value error;

		napi_get_and_clear_last_exception(env, &error);
		napi_fatal_exception(env, error);
	}
	napi_close_handle_scope(env, scope);
}

/* watchOpen(fd, callback(status)): a watch, or -errno; the callback must read until there is nothing, or it is called again at once */
static napi_value watch_open(napi_env env, napi_callback_info info)
{
	napi_value callback, label = NULL, resource = NULL, out;
	struct watch *watch;
	struct args a;
	uv_loop_t *loop;
	int fd, error;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_function(&a, 1, "callback", &callback))
		return NULL;
	fd = dup_cloexec(fd); /* libuv wants the descriptor to outlive the handle */
	if (fd < 0)
		return make_number(env, fd);
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		abort();
	napi_get_uv_event_loop(env, &loop);
	error = uv_poll_init(loop, &watch->poll, fd);
	if (error) {
		close(fd);
		free(watch);
		return make_number(env, error);
	}
	watch->fd = fd;
	watch->env = env;
	watch->poll.data = watch;
	napi_create_reference(env, callback, 1, &watch->callback);
	napi_create_string_utf8(env, "stentor.watch", NAPI_AUTO_LENGTH, &label);
	napi_create_object(env, &resource);
	napi_async_init(env, resource, label, &watch->context);
	napi_add_async_cleanup_hook(env, watch_cleanup, watch, &watch->hook);
	out = make_opaque(env, &watch_tag, watch, watch_finalize);
	napi_create_reference(env, out, 1, &watch->self);
	uv_poll_start(&watch->poll, UV_READABLE, watch_ready);
	return out;
}

/* watchClose(watch): -EBADF the second time */
static napi_value watch_close(napi_env env, napi_callback_info info)
{
	struct watch *watch;
	struct args a;

	if (!args_read(env, info, 1, &a) || !(watch = arg_opaque(&a, 0, "watch", &watch_tag)))
		return NULL;
	if (watch->closing)
		return make_number(env, -EBADF);
	watch_stop(watch);
	return make_number(env, 0);
}

const struct export watch_exports[] = {
	{"watchOpen", watch_open},
	{"watchClose", watch_close},
	{NULL, NULL},
};
