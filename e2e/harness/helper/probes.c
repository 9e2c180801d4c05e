// SPDX-License-Identifier: Apache-2.0
// Many probes from one place at once: one attempt for each target, and all wait together.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { HANDSHAKE, STREAM, DATAGRAM, ECHO };

struct probe {
	enum kind kind;
	const char *result; /* NULL = still waiting */
	double start, ms;
	char reply[64];
	size_t length;
	uint16_t sequence;
};

static const char QUESTION[] = "who";

static void finish(struct probe *probe, struct pollfd *poll, const char *result)
{
	probe->result = result;
	probe->ms = now_ms() - probe->start;
	close(poll->fd);
	poll->fd = -1;
}

static uint16_t checksum(const void *data, size_t length)
{
	const uint16_t *word = data;
	uint32_t sum = 0;

	for (; length > 1; length -= 2)
		sum += *word++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static int send_echo(int fd, uint16_t sequence)
{
	struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {.id = htons(getpid()), .sequence = htons(sequence)}};

	echo.checksum = checksum(&echo, sizeof(echo));
	return send(fd, &echo, sizeof(echo), 0);
}

/* A raw socket hears what others on this host are answered as well. */
static int is_own_reply(const struct probe *probe, const char *packet, size_t length)
{
	size_t header = length > 0 ? (packet[0] & 0x0f) * 4 : 0;
	struct icmphdr reply;

	if (header < sizeof(struct iphdr) || length < header + sizeof(reply))
		return 0;
	memcpy(&reply, packet + header, sizeof(reply));
	return reply.type == ICMP_ECHOREPLY && reply.un.echo.id == htons(getpid()) && reply.un.echo.sequence == htons(probe->sequence);
}

static int open_socket(enum kind kind)
{
	static const struct icmp_filter replies = {.data = ~(1U << ICMP_ECHOREPLY)};
	int fd, on = 1;

	switch (kind) {
	case DATAGRAM:
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		break;
	case ECHO:
		fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP);
		break;
	default:
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	}
	/* With it every ICMP error is told: a drop sends none. */
	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) < 0)
		fail("socket");
	if (kind == ECHO && setsockopt(fd, SOL_RAW, ICMP_FILTER, &replies, sizeof(replies)) < 0)
		fail("ICMP_FILTER");
	return fd;
}

static void start(struct probe *probe, struct pollfd *poll, const struct sockaddr_in *to)
{
	int error = 0;

	probe->start = now_ms();
	poll->fd = open_socket(probe->kind);
	poll->events = probe->kind == HANDSHAKE || probe->kind == STREAM ? POLLOUT : POLLIN;
	if (connect(poll->fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS)
		error = errno;
	else if (probe->kind == DATAGRAM && send(poll->fd, QUESTION, strlen(QUESTION), 0) < 0)
		error = errno;
	else if (probe->kind == ECHO && send_echo(poll->fd, probe->sequence) < 0)
		error = errno;
	/* This host's own drop on the way out, which others are not told: nothing was sent. */
	if (error == ENOBUFS)
		error = 0;
	if (error != 0)
		finish(probe, poll, failure_name(error));
}

static void take_answer(struct probe *probe, struct pollfd *poll)
{
	char answer[MESSAGE_MAX];
	ssize_t n = recv(poll->fd, answer, sizeof(answer), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0 || (n == 0 && probe->kind == STREAM)) {
		finish(probe, poll, n < 0 ? failure_name(errno) : "reset");
		return;
	}
	if (probe->kind == ECHO) {
		if (is_own_reply(probe, answer, n))
			finish(probe, poll, "ok");
		return;
	}
	probe->length = (size_t)n < sizeof(probe->reply) ? (size_t)n : sizeof(probe->reply);
	memcpy(probe->reply, answer, probe->length);
	finish(probe, poll, "ok");
}

static void step(struct probe *probe, struct pollfd *poll)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll->events == POLLIN && !(poll->revents & POLLERR)) {
		take_answer(probe, poll);
		return;
	}
	getsockopt(poll->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error != 0) {
		finish(probe, poll, failure_name(error));
	} else if (probe->kind == HANDSHAKE) {
		finish(probe, poll, "ok");
	} else if (probe->kind == STREAM && poll->events == POLLOUT) {
		poll->events = POLLIN;
		if (send(poll->fd, QUESTION, strlen(QUESTION), MSG_NOSIGNAL) < 0)
			finish(probe, poll, failure_name(errno));
	}
}

static enum kind kind_of(const char *name)
{
	if (strcmp(name, "handshake") == 0)
		return HANDSHAKE;
	if (strcmp(name, "tcp") == 0)
		return STREAM;
	if (strcmp(name, "udp") == 0)
		return DATAGRAM;
	if (strcmp(name, "icmp") == 0)
		return ECHO;
	usage("probes: a target is handshake|tcp|udp|icmp:IP:PORT");
}

static void start_target(struct probe *probe, struct pollfd *poll, char *target)
{
	char *rest = target;
	const char *kind = strsep(&rest, ":"), *ip = strsep(&rest, ":");
	struct sockaddr_in to;

	probe->kind = kind_of(kind);
	if (ip == NULL || rest == NULL)
		usage("probes: a target is handshake|tcp|udp|icmp:IP:PORT");
	/* The port of a raw socket is nothing. */
	to = address_of(ip, probe->kind == ECHO ? "0" : rest);
	start(probe, poll, &to);
}

/* probes TIMEOUT_MS TARGET…: handshake|tcp|udp|icmp:IP:PORT; a line for each, in the order given, when all have ended. */
int command_probes(int argc, char **argv)
{
	int count = argc - 1;
	struct probe *probes;
	struct pollfd *polls;
	double timeout;

	if (argc < 2)
		usage("probes TIMEOUT_MS TARGET…");
	timeout = atof(argv[0]);
	probes = calloc(count, sizeof(*probes));
	polls = calloc(count, sizeof(*polls));
	if (probes == NULL || polls == NULL)
		fail("calloc");
	for (int i = 0; i < count; i++) {
		probes[i].sequence = i;
		start_target(&probes[i], &polls[i], argv[i + 1]);
	}
	for (;;) {
		double now = now_ms(), next = timeout;
		int waiting = 0;

		for (int i = 0; i < count; i++) {
			if (probes[i].result != NULL)
				continue;
			if (now - probes[i].start >= timeout) {
				finish(&probes[i], &polls[i], "timeout");
				continue;
			}
			waiting++;
			if (probes[i].start + timeout - now < next)
				next = probes[i].start + timeout - now;
		}
		if (waiting == 0)
			break;
		if (poll(polls, count, (int)next + 1) < 0 && errno != EINTR)
			fail("poll");
		for (int i = 0; i < count; i++)
			if (polls[i].fd >= 0 && polls[i].revents)
				step(&probes[i], &polls[i]);
	}
	for (int i = 0; i < count; i++)
		print_result(probes[i].result, probes[i].ms, probes[i].reply, probes[i].length);
	return 0;
}
