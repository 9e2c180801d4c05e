// SPDX-License-Identifier: Apache-2.0
/* BPF links (tcx and others) by bpf(2): libbpf 1.1 has no tcx. Creation waits for RTNL and RCU, so it has an async form. */
#include "addon.h"

#include <linux/bpf.h>
#include <sys/syscall.h>

static int sys_bpf(int cmd, union bpf_attr *attr)
{
	long result = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

/* The interface index is looked up in the caller's namespace. */
static int bpf_in(int netns, int cmd, union bpf_attr *attr)
{
	int back, result;

	result = netns_enter(netns, &back);
	if (result)
		return result;
	result = sys_bpf(cmd, attr);
	netns_leave(back);
	return result;
}

struct link_args {
	int program, netns;
	uint32_t target, attach_type;
};

static bool read_link_args(napi_env env, napi_callback_info info, struct link_args *out)
{
	struct args a;

	return args_read(env, info, 4, &a) && arg_int(&a, 0, "programFd", &out->program) &&
	       arg_u32(&a, 1, "target", &out->target) && arg_u32(&a, 2, "attachType", &out->attach_type) &&
	       arg_int(&a, 3, "netnsFd", &out->netns);
}

/* linkCreate(programFd, target: ifindex or fd, attachType, netnsFd | -1) */
static napi_value link_create(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct link_args in;

	if (!read_link_args(env, info, &in))
		return NULL;
	attr.link_create.prog_fd = in.program;
	attr.link_create.target_ifindex = in.target;
	attr.link_create.attach_type = in.attach_type;
	return make_number(env, bpf_in(in.netns, BPF_LINK_CREATE, &attr));
}

struct link_job {
	struct job job;
	union bpf_attr attr;
	int program, netns;
};

static void link_job_run(struct job *job)
{
	struct link_job *link = (struct link_job *)job;

	job->result = bpf_in(link->netns, BPF_LINK_CREATE, &link->attr);
}

static void link_job_release(struct job *job)
{
	struct link_job *link = (struct link_job *)job;

	close(link->program);
	if (link->netns >= 0)
		close(link->netns);
}

/* linkCreateAsync(programFd, target, attachType, netnsFd | -1) */
static napi_value link_create_async(napi_env env, napi_callback_info info)
{
	struct link_args in;
	struct link_job *job;

	if (!read_link_args(env, info, &in))
		return NULL;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->job.run = link_job_run;
	job->job.release = link_job_release;
	job->program = dup_cloexec(in.program);
	job->netns = in.netns < 0 ? -1 : dup_cloexec(in.netns);
	job->attr.link_create.prog_fd = job->program;
	job->attr.link_create.target_ifindex = in.target;
	job->attr.link_create.attach_type = in.attach_type;
	return job_start(env, &job->job, "linkCreateAsync");
}

/* linkUpdate(linkFd, programFd, oldProgramFd | -1): atomic; with an old program, only if that one is attached */
static napi_value link_update(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	int link, program, old;
	struct args a;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "linkFd", &link) ||
	    !arg_int(&a, 1, "programFd", &program) || !arg_int(&a, 2, "oldProgramFd", &old))
		return NULL;
	attr.link_update.link_fd = link;
	attr.link_update.new_prog_fd = program;
	if (old >= 0) {
		attr.link_update.old_prog_fd = old;
		attr.link_update.flags = BPF_F_REPLACE;
	}
	return make_number(env, sys_bpf(BPF_LINK_UPDATE, &attr));
}

/* linkDetach(linkFd) */
static napi_value link_detach(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	struct args a;
	int link;

	if (!args_read(env, info, 1, &a) || !arg_int(&a, 0, "linkFd", &link))
		return NULL;
	attr.link_detach.link_fd = link;
	return make_number(env, sys_bpf(BPF_LINK_DETACH, &attr));
}

/* programQuery(target: ifindex or fd, attachType, netnsFd | -1, programIds: u32 × n): how many are attached */
static napi_value program_query(napi_env env, napi_callback_info info)
{
	uint32_t target, attach_type;
	union bpf_attr attr = {};
	struct bytes ids;
	struct args a;
	int netns, error;

	if (!args_read(env, info, 4, &a) || !arg_u32(&a, 0, "target", &target) ||
	    !arg_u32(&a, 1, "attachType", &attach_type) || !arg_int(&a, 2, "netnsFd", &netns) ||
	    !arg_bytes(&a, 3, "programIds", 4, &ids))
		return NULL;
	attr.query.target_fd = target;
	attr.query.attach_type = attach_type;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids.data;
	attr.query.prog_cnt = ids.length / 4;
	error = bpf_in(netns, BPF_PROG_QUERY, &attr);
	return make_number(env, error < 0 ? error : (int64_t)attr.query.prog_cnt);
}

const struct export link_exports[] = {
	{"linkCreate", link_create},
	{"linkCreateAsync", link_create_async},
	{"linkUpdate", link_update},
	{"linkDetach", link_detach},
	{"programQuery", program_query},
	{NULL, NULL},
};
