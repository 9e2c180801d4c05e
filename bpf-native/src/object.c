// SPDX-License-Identifier: Apache-2.0
/* ELF objects through libbpf: open from bytes, set .rodata, reuse maps, load. What libbpf says goes to the object's log. */
#include "addon.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_SIZE (1 << 20)

struct object {
	struct bpf_object *bpf; /* NULL once closed */
	bool busy;		/* a worker is loading it */
	char *log;
	size_t log_length;
};

static const napi_type_tag object_tag = {0x6f626a6563740001, 0x7374656e746f7201};

/* libbpf's print function is one per process; the object in whose name a thread works is the thread's. */
static __thread struct object *log_owner;

static int log_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	struct object *object = log_owner;
	int room, length;

	if (!object || level == LIBBPF_DEBUG)
		return 0;
	room = LOG_SIZE - (int)object->log_length;
	if (room <= 1)
		return 0;
	length = vsnprintf(object->log + object->log_length, room, format, arguments);
	if (length > 0)
		object->log_length += length < room ? length : room - 1;
	return 0;
}

static void object_free(struct object *object)
{
	if (object->bpf)
		bpf_object__close(object->bpf);
	free(object->log);
	free(object);
}

static void object_finalize(napi_env env, void *data, void *hint)
{
	struct object *object = data;

	(void)env;
	(void)hint;
	if (object->bpf)
		fprintf(stderr, "stentor: a BPF object was not closed\n");
	object_free(object);
}

/* Throws on a wrong argument; a closed or busy object is an errno. */
static struct object *arg_object(struct args *args)
{
	return arg_opaque(args, 0, "object", &object_tag);
}

static int usable(const struct object *object)
{
	if (!object->bpf)
		return -EBADF;
	return object->busy ? -EBUSY : 0;
}

/* objectOpen(bytes, name): an object, or -errno. Pin paths of the object are dropped: where maps are pinned is the caller's. */
static napi_value object_open(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct object *object;
	struct bpf_map *map;
	struct bytes bytes;
	struct args a;
	char name[64];
	int error;

	if (!args_read(env, info, 2, &a) || !arg_bytes(&a, 0, "bytes", 1, &bytes) ||
	    !arg_string(&a, 1, "name", name, sizeof(name)))
		return NULL;
	object = calloc(1, sizeof(*object));
	if (!object || !(object->log = calloc(1, LOG_SIZE)))
		abort();
	libbpf_set_print(log_print);
	options.object_name = name;
	log_owner = object;
	object->bpf = bpf_object__open_mem(bytes.data, bytes.length, &options);
	error = object->bpf ? 0 : -errno;
	if (object->bpf) {
		bpf_object__for_each_map(map, object->bpf)
			bpf_map__set_pin_path(map, NULL);
	}
	log_owner = NULL;
	if (error) {
		object_free(object);
		return make_number(env, error);
	}
	return make_opaque(env, &object_tag, object, object_finalize);
}

struct variable {
	struct bpf_map *map;
	uint32_t offset, size;
};

static struct bpf_map *section_map(struct bpf_object *bpf, const char *section)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, bpf) {
		const char *name = bpf_map__name(map);
		size_t name_length = strlen(name), length = strlen(section);

		if (bpf_map__is_internal(map) && name_length >= length && strcmp(name + name_length - length, section) == 0)
			return map;
	}
	return NULL;
}

/* The variable `name` of a .rodata section, by the object's BTF. */
static int find_variable(struct bpf_object *bpf, const char *name, struct variable *out)
{
	const struct btf *btf = bpf_object__btf(bpf);
	uint32_t types = btf ? btf__type_cnt(btf) : 0;

	for (uint32_t id = 1; id < types; id++) {
		const struct btf_type *section = btf__type_by_id(btf, id);
		const char *section_name = btf__name_by_offset(btf, section->name_off);
		const struct btf_var_secinfo *member = btf_var_secinfos(section);

		if (!btf_is_datasec(section) || strncmp(section_name, ".rodata", 7) != 0)
			continue;
		for (int i = 0; i < btf_vlen(section); i++, member++) {
			const struct btf_type *variable = btf__type_by_id(btf, member->type);

			if (strcmp(btf__name_by_offset(btf, variable->name_off), name) != 0)
				continue;
			out->map = section_map(bpf, section_name);
			out->offset = member->offset;
			out->size = member->size;
			return out->map ? 0 : -ENOENT;
		}
	}
	return -ENOENT;
}

/* objectVariableSize(object, name): bytes, or -ENOENT */
static napi_value object_variable_size(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct variable found;
	struct args a;
	char name[256];
	int error;

	if (!args_read(env, info, 2, &a) || !(object = arg_object(&a)) || !arg_string(&a, 1, "name", name, sizeof(name)))
		return NULL;
	error = usable(object);
	if (!error)
		error = find_variable(object->bpf, name, &found);
	return make_number(env, error ? error : (int64_t)found.size);
}

/* objectSetVariable(object, name, value): before load; -EINVAL on another length */
static napi_value object_set_variable(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct variable found;
	struct bytes value;
	struct args a;
	char name[256];
	uint8_t *data;
	size_t size;
	int error;

	if (!args_read(env, info, 3, &a) || !(object = arg_object(&a)) ||
	    !arg_string(&a, 1, "name", name, sizeof(name)) || !arg_bytes(&a, 2, "value", 1, &value))
		return NULL;
	error = usable(object);
	if (!error)
		error = find_variable(object->bpf, name, &found);
	if (error)
		return make_number(env, error);
	data = (uint8_t *)bpf_map__initial_value(found.map, &size);
	if (!data)
		return make_number(env, -EBUSY);
	if (value.length != found.size || found.offset + found.size > size)
		return make_number(env, -EINVAL);
	memcpy(data + found.offset, value.data, value.length);
	return make_number(env, 0);
}

static int find_map(struct object *object, const char *name, struct bpf_map **map)
{
	int error = usable(object);

	if (error)
		return error;
	*map = bpf_object__find_map_by_name(object->bpf, name);
	return *map ? 0 : -ENOENT;
}

/* objectMapSpec(object, map, out: u32 × 5): type, key size, value size, max entries, flags */
static napi_value object_map_spec(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct bpf_map *map;
	uint32_t spec[5];
	struct bytes out;
	struct args a;
	char name[64];
	int error;

	if (!args_read(env, info, 3, &a) || !(object = arg_object(&a)) ||
	    !arg_string(&a, 1, "map", name, sizeof(name)) || !arg_bytes(&a, 2, "out", sizeof(spec), &out))
		return NULL;
	error = find_map(object, name, &map);
	if (!error) {
		spec[0] = bpf_map__type(map);
		spec[1] = bpf_map__key_size(map);
		spec[2] = bpf_map__value_size(map);
		spec[3] = bpf_map__max_entries(map);
		spec[4] = bpf_map__map_flags(map);
		memcpy(out.data, spec, sizeof(spec));
	}
	return make_number(env, error);
}

/* objectReuseMap(object, map, fd): the object uses this map instead of creating one; libbpf keeps its own descriptor */
static napi_value object_reuse_map(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct bpf_map *map;
	struct args a;
	char name[64];
	int fd, error;

	if (!args_read(env, info, 3, &a) || !(object = arg_object(&a)) ||
	    !arg_string(&a, 1, "map", name, sizeof(name)) || !arg_int(&a, 2, "fd", &fd))
		return NULL;
	error = find_map(object, name, &map);
	if (!error)
		error = bpf_map__reuse_fd(map, fd);
	return make_number(env, error);
}

static int find_program(struct object *object, const char *name, struct bpf_program **program)
{
	int error = usable(object);

	if (error)
		return error;
	*program = bpf_object__find_program_by_name(object->bpf, name);
	return *program ? 0 : -ENOENT;
}

/* objectSetAutoload(object, program, autoload) */
static napi_value object_set_autoload(napi_env env, napi_callback_info info)
{
	struct bpf_program *program;
	struct object *object;
	struct args a;
	char name[128];
	bool autoload;
	int error;

	if (!args_read(env, info, 3, &a) || !(object = arg_object(&a)) ||
	    !arg_string(&a, 1, "program", name, sizeof(name)) || !arg_bool(&a, 2, "autoload", &autoload))
		return NULL;
	error = find_program(object, name, &program);
	if (!error)
		error = bpf_program__set_autoload(program, autoload);
	return make_number(env, error);
}

static int load(struct object *object)
{
	int error;

	object->log_length = 0;
	log_owner = object;
	error = bpf_object__load(object->bpf);
	log_owner = NULL;
	return error;
}

/* objectLoad(object) */
static napi_value object_load(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct args a;
	int error;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	error = usable(object);
	return make_number(env, error ? error : load(object));
}

struct load_job {
	struct job job;
	struct object *object;
	napi_env env;
	napi_ref keep; /* the JavaScript object must outlive the worker */
};

static void load_job_run(struct job *job)
{
	job->result = load(((struct load_job *)job)->object);
}

static void load_job_release(struct job *job)
{
	struct load_job *load = (struct load_job *)job;

	load->object->busy = false;
	napi_delete_reference(load->env, load->keep);
}

/* objectLoadAsync(object) */
static napi_value object_load_async(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct load_job *job;
	struct args a;
	int error;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	error = usable(object);
	if (error) {
		napi_deferred deferred;
		napi_value promise = NULL;

		napi_create_promise(env, &deferred, &promise);
		napi_resolve_deferred(env, deferred, make_number(env, error));
		return promise;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->job.run = load_job_run;
	job->job.release = load_job_release;
	job->object = object;
	job->env = env;
	napi_create_reference(env, a.v[0], 1, &job->keep);
	object->busy = true;
	return job_start(env, &job->job, "objectLoadAsync");
}

/* objectLog(object): what libbpf and the verifier said at the last load, or -errno */
static napi_value object_log(napi_env env, napi_callback_info info)
{
	struct object *object;
	napi_value out = NULL;
	struct args a;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	if (object->busy)
		return make_number(env, -EBUSY);
	napi_create_string_utf8(env, object->log, object->log_length, &out);
	return out;
}

static void push(napi_env env, napi_value array, uint32_t *length, const char *text)
{
	napi_value value = NULL;

	napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
	napi_set_element(env, array, (*length)++, value);
}

/* objectPrograms(object): names */
static napi_value object_programs(napi_env env, napi_callback_info info)
{
	struct bpf_program *program;
	struct object *object;
	napi_value out = NULL;
	uint32_t length = 0;
	struct args a;
	int error;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	error = usable(object);
	if (error)
		return make_number(env, error);
	napi_create_array(env, &out);
	bpf_object__for_each_program(program, object->bpf)
		push(env, out, &length, bpf_program__name(program));
	return out;
}

/* objectMaps(object): names, without libbpf's internal ones (.rodata, .bss, …) */
static napi_value object_maps(napi_env env, napi_callback_info info)
{
	struct object *object;
	napi_value out = NULL;
	uint32_t length = 0;
	struct bpf_map *map;
	struct args a;
	int error;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	error = usable(object);
	if (error)
		return make_number(env, error);
	napi_create_array(env, &out);
	bpf_object__for_each_map(map, object->bpf) {
		if (!bpf_map__is_internal(map))
			push(env, out, &length, bpf_map__name(map));
	}
	return out;
}

/* objectProgramFd(object, program): a descriptor of the caller's own; -ENOENT before load */
static napi_value object_program_fd(napi_env env, napi_callback_info info)
{
	struct bpf_program *program;
	struct object *object;
	struct args a;
	char name[128];
	int error, fd;

	if (!args_read(env, info, 2, &a) || !(object = arg_object(&a)) || !arg_string(&a, 1, "program", name, sizeof(name)))
		return NULL;
	error = find_program(object, name, &program);
	if (error)
		return make_number(env, error);
	fd = bpf_program__fd(program);
	return make_number(env, fd < 0 ? -ENOENT : dup_cloexec(fd));
}

/* objectMapFd(object, map): a descriptor of the caller's own; -ENOENT before load */
static napi_value object_map_fd(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct bpf_map *map;
	struct args a;
	char name[64];
	int error, fd;

	if (!args_read(env, info, 2, &a) || !(object = arg_object(&a)) || !arg_string(&a, 1, "map", name, sizeof(name)))
		return NULL;
	error = find_map(object, name, &map);
	if (error)
		return make_number(env, error);
	fd = bpf_map__fd(map);
	return make_number(env, fd < 0 ? -ENOENT : dup_cloexec(fd));
}

/* objectClose(object): -EBADF the second time */
static napi_value object_close(napi_env env, napi_callback_info info)
{
	struct object *object;
	struct args a;
	int error;

	if (!args_read(env, info, 1, &a) || !(object = arg_object(&a)))
		return NULL;
	error = usable(object);
	if (!error) {
		bpf_object__close(object->bpf);
		object->bpf = NULL;
	}
	return make_number(env, error);
}

const struct export object_exports[] = {
	{"objectOpen", object_open},
	{"objectVariableSize", object_variable_size},
	{"objectSetVariable", object_set_variable},
	{"objectMapSpec", object_map_spec},
	{"objectReuseMap", object_reuse_map},
	{"objectSetAutoload", object_set_autoload},
	{"objectLoad", object_load},
	{"objectLoadAsync", object_load_async},
	{"objectLog", object_log},
	{"objectPrograms", object_programs},
	{"objectMaps", object_maps},
	{"objectProgramFd", object_program_fd},
	{"objectMapFd", object_map_fd},
	{"objectClose", object_close},
	{NULL, NULL},
};
