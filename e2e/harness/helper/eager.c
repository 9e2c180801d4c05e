// SPDX-License-Identifier: Apache-2.0
// eager DURATION_MS INTERVAL_MS IP:PORT…: sends numbered datagrams from the first instant at which the namespace lets it, and says at the end
// which of those that left were answered, with the time (ms since 1970) at which each was sent.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TARGETS_MAX 16
#define PACKETS_MAX 20000

struct target {
	struct sockaddr_in to;
	const char *name;
	int fd;
	int sent;
	double at[PACKETS_MAX];
	char answered[PACKETS_MAX];
};

static double epoch_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct target *target_of(const char *text)
{
	struct target *target = calloc(1, sizeof(*target));
	char *ip = strdup(text), *colon = ip ? strchr(ip, ':') : NULL;

	if (target == NULL || colon == NULL)
		usage("eager DURATION_MS INTERVAL_MS IP:PORT…");
	*colon = '\0';
	target->to = address_of(ip, colon + 1);
	target->name = text;
	target->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (target->fd < 0)
		fail("socket");
	return target;
}

static void send_next(struct target *target)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "#%d", target->sent);
	double at = epoch_ms();

	if (target->sent == PACKETS_MAX || sendto(target->fd, text, n, 0, (struct sockaddr *)&target->to, sizeof(target->to)) != n)
		return;
	target->at[target->sent++] = at;
}

static void take_answers(struct target *target)
{
	char text[MESSAGE_MAX];
	ssize_t n;

	while ((n = recv(target->fd, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		int number = text[0] == '#' ? atoi(text + 1) : -1;
		if (number >= 0 && number < target->sent)
			target->answered[number] = 1;
	}
}

static void take_until(struct target **targets, int count, double until)
{
	struct pollfd fds[TARGETS_MAX];

	for (double left; (left = until - now_ms()) > 0;) {
		for (int i = 0; i < count; i++)
			fds[i] = (struct pollfd){.fd = targets[i]->fd, .events = POLLIN};
		struct timespec wait = {.tv_sec = left / 1000, .tv_nsec = (long)(left * 1e6) % 1000000000};
		if (ppoll(fds, count, &wait, NULL) <= 0)
			return;
		for (int i = 0; i < count; i++)
			take_answers(targets[i]);
	}
}

int command_eager(int argc, char **argv)
{
	struct target *targets[TARGETS_MAX];
	int count = argc - 2;

	if (count < 1 || count > TARGETS_MAX)
		usage("eager DURATION_MS INTERVAL_MS IP:PORT…");
	for (int i = 0; i < count; i++)
		targets[i] = target_of(argv[i + 2]);
	double next = now_ms(), end = next + atof(argv[0]);
	while (next < end) {
		for (int i = 0; i < count; i++)
			send_next(targets[i]);
		next += atof(argv[1]);
		take_until(targets, count, next);
	}
	take_until(targets, count, now_ms() + 300);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < targets[i]->sent; j++)
			printf("{\"target\":\"%s\",\"atMs\":%.3f,\"answered\":%s}\n", targets[i]->name, targets[i]->at[j], targets[i]->answered[j] ? "true" : "false");
	return 0;
}
