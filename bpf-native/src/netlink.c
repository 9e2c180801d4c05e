// SPDX-License-Identifier: Apache-2.0
/* AF_NETLINK sockets inside any namespace, and setns. Messages are encoded and decoded in TypeScript. */
#include "addon.h"

#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ANSWER_LIMIT (256u << 20)
#define TIMEOUT_SECONDS 10

static int open_socket(int protocol, uint32_t groups)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	int fd, one = 1, size = 4 << 20;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	/* Best effort: reasons in words, strict dump filters, room for bursts, no wait without end. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return fd;
}

/* netlinkOpen(netnsFd | -1, protocol, groups): a descriptor */
static napi_value netlink_open(napi_env env, napi_callback_info info)
{
	int netns, protocol, back, fd;
	uint32_t groups;
	struct args a;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "netnsFd", &netns) ||
	    !arg_int(&a, 1, "protocol", &protocol) || !arg_u32(&a, 2, "groups", &groups))
		return NULL;
	fd = netns_enter(netns, &back);
	if (fd == 0) {
		fd = open_socket(protocol, groups);
		netns_leave(back);
	}
	return make_number(env, fd);
}

/* Counts the last messages of answers: one NLMSG_ERROR or NLMSG_DONE per request with NLM_F_ACK or NLM_F_DUMP. */
static uint32_t count_ends(uint8_t *data, size_t length)
{
	uint32_t ends = 0;

	for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, length); m = NLMSG_NEXT(m, length)) {
		if (m->nlmsg_type == NLMSG_ERROR || m->nlmsg_type == NLMSG_DONE)
			ends++;
	}
	return ends;
}

struct exchange_job {
	struct job job;
	int fd;
	uint8_t *request, *answer;
	size_t request_length, answer_length, answer_room;
	uint32_t requests;
};

static int receive_more(struct exchange_job *x)
{
	ssize_t size = recv(x->fd, NULL, 0, MSG_PEEK | MSG_TRUNC);

	if (size < 0)
		return -errno;
	if (x->answer_length + size > ANSWER_LIMIT)
		return -EFBIG;
	if (x->answer_length + size > x->answer_room) {
		x->answer_room = 2 * (x->answer_length + size);
		x->answer = realloc(x->answer, x->answer_room);
		if (!x->answer)
			abort();
	}
	size = recv(x->fd, x->answer + x->answer_length, x->answer_room - x->answer_length, 0);
	return size < 0 ? -errno : (int)size;
}

static void exchange_run(struct job *job)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct exchange_job *x = (struct exchange_job *)job;
	uint32_t ends = 0;

	if (sendto(x->fd, x->request, x->request_length, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		job->result = -errno;
		return;
	}
	while (ends < x->requests) {
		int size = receive_more(x);

		if (size < 0) {
			if (size == -EINTR)
				continue;
			job->result = size;
			return;
		}
		ends += count_ends(x->answer + x->answer_length, size);
		x->answer_length += size;
	}
	job->result = 0;
}

static napi_value exchange_finish(napi_env env, struct job *job)
{
	struct exchange_job *x = (struct exchange_job *)job;

	return job->result < 0 ? NULL : make_bytes(env, x->answer, x->answer_length);
}

static void exchange_release(struct job *job)
{
	struct exchange_job *x = (struct exchange_job *)job;

	close(x->fd);
	free(x->request);
	free(x->answer);
}

/* netlinkExchange(fd, messages, requests): all answers as bytes, or -errno; one exchange per socket at a time */
static napi_value netlink_exchange(napi_env env, napi_callback_info info)
{
	struct exchange_job *x;
	struct bytes messages;
	uint32_t requests;
	struct args a;
	int fd;

	if (!args_read(env, info, 3, &a) || !arg_int(&a, 0, "fd", &fd) ||
	    !arg_bytes(&a, 1, "messages", sizeof(struct nlmsghdr), &messages) || !arg_u32(&a, 2, "requests", &requests))
		return NULL;
	x = calloc(1, sizeof(*x));
	if (!x || !(x->request = malloc(messages.length)))
		abort();
	memcpy(x->request, messages.data, messages.length);
	x->request_length = messages.length;
	x->requests = requests;
	x->fd = dup_cloexec(fd);
	x->job.run = exchange_run;
	x->job.finish = exchange_finish;
	x->job.release = exchange_release;
	return job_start(env, &x->job, "netlinkExchange");
}

/* netlinkReceive(fd, out): bytes, without waiting; -EAGAIN = nothing there, -ENOBUFS = messages were lost */
static napi_value netlink_receive(napi_env env, napi_callback_info info)
{
	struct bytes out;
	struct args a;
	ssize_t size;
	int fd;

	if (!args_read(env, info, 2, &a) || !arg_int(&a, 0, "fd", &fd) || !arg_bytes(&a, 1, "out", 1, &out))
		return NULL;
	size = recv(fd, out.data, out.length, MSG_DONTWAIT);
	return make_number(env, size < 0 ? -errno : size);
}

/* setns(fd): moves the calling thread to another network namespace */
static napi_value set_netns(napi_env env, napi_callback_info info)
{
	struct args a;
	int fd;

	if (!args_read(env, info, 1, &a) || !arg_int(&a, 0, "fd", &fd))
		return NULL;
	return make_number(env, setns(fd, CLONE_NEWNET) == 0 ? 0 : -errno);
}

const struct export netlink_exports[] = {
	{"netlinkOpen", netlink_open},
	{"netlinkExchange", netlink_exchange},
	{"netlinkReceive", netlink_receive},
	{"setns", set_netns},
	{NULL, NULL},
};
