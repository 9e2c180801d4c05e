// SPDX-License-Identifier: Apache-2.0
// Probes that are new flows, each from a socket of its own, at a steady rate and towards many: what is asked of something that must never be open.
#include "lab-helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITING_MAX 4096

struct target {
	struct place place;
	unsigned long sent, answered, refused;
};

struct waiting {
	struct target *target;
	double since;
};

static volatile sig_atomic_t ended;

static void on_end(int signal)
{
	(void)signal;
	ended = 1;
}

static void print_targets(const char *state, const struct target *targets, int count)
{
	printf("{\"state\":\"%s\",\"targets\":[", state);
	for (int i = 0; i < count; i++)
		printf("%s{\"sent\":%lu,\"answered\":%lu,\"refused\":%lu}", i == 0 ? "" : ",", targets[i].sent, targets[i].answered,
		       targets[i].refused);
	puts("]}");
}

/* Takes what has come, forgets what is too old; returns how many are waited for. */
static int settle(struct pollfd *polls, struct waiting *waits, int count, double timeout)
{
	double now = now_ms();
	char answer[MESSAGE_MAX];
	int kept = 0;

	for (int i = 0; i < count; i++) {
		ssize_t n = polls[i].revents ? recv(polls[i].fd, answer, sizeof(answer), MSG_DONTWAIT) : -1;
		int failed = polls[i].revents && n < 0 && errno != EAGAIN;

		if (n >= 0)
			waits[i].target->answered++;
		else if (failed)
			waits[i].target->refused++;
		if (n >= 0 || failed || now - waits[i].since >= timeout) {
			close(polls[i].fd);
			continue;
		}
		polls[kept] = polls[i];
		waits[kept++] = waits[i];
	}
	return kept;
}

static int shoot(struct target *target, struct pollfd *poll, struct waiting *wait)
{
	int fd = socket(target->place.any.sa_family, SOCK_DGRAM, 0);

	if (fd < 0)
		fail("socket");
	target->sent++;
	if (connect(fd, &target->place.any, target->place.size) < 0 || send(fd, "volley", 6, 0) < 0) {
		target->refused++;
		close(fd);
		return 0;
	}
	*poll = (struct pollfd){.fd = fd, .events = POLLIN};
	*wait = (struct waiting){.target = target, .since = now_ms()};
	return 1;
}

/* volley PER_SECOND TIMEOUT_MS IP,PORT…: datagrams to each in turn, until SIGTERM; a JSON line five times a second and at the end. */
int command_volley(int argc, char **argv)
{
	static struct pollfd polls[WAITING_MAX];
	static struct waiting waits[WAITING_MAX];
	int count = argc - 2, waiting = 0, turn = 0;
	double interval, timeout, next, next_line;
	struct target *targets;

	if (argc < 3)
		usage("volley PER_SECOND TIMEOUT_MS IP,PORT…");
	signal(SIGTERM, on_end);
	signal(SIGINT, on_end);
	targets = calloc(count, sizeof(*targets));
	if (targets == NULL)
		fail("calloc");
	for (int i = 0; i < count; i++) {
		char *rest = argv[i + 2];
		const char *ip = strsep(&rest, ",");

		if (rest == NULL)
			usage("volley: a target is IP,PORT");
		targets[i].place = place_of(ip, rest);
	}
	interval = 1000 / atof(argv[0]);
	timeout = atof(argv[1]);
	next = next_line = now_ms();
	for (double end = 0; end == 0 || (waiting > 0 && now_ms() < end);) {
		double now = now_ms();

		if (ended && end == 0)
			end = now + timeout;
		if (end == 0 && now >= next && waiting < WAITING_MAX) {
			waiting += shoot(&targets[turn++ % count], &polls[waiting], &waits[waiting]);
			next += interval;
		}
		if (poll(polls, waiting, end == 0 && next > now_ms() ? (int)(next - now_ms()) + 1 : 1) < 0 && errno != EINTR)
			fail("poll");
		waiting = settle(polls, waits, waiting, timeout);
		if (now >= next_line) {
			print_targets("running", targets, count);
			next_line += 200;
		}
	}
	print_targets("done", targets, count);
	return 0;
}
